"""``vtool dt``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vtool.cli.common import add_base_tree, check_base_trees, prepare_arguments
from vtool.cli.views import add_selection, add_view, check_selection, write_text
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError
from vtool.render.fragments import fragments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_view(parser, "vtool dt topology/examples/kvm-pool.yaml --domain fe0 > fe0.dts")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="write one file a fragment into this folder")
    add_selection(parser)
    add_base_tree(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the fragments that are asked for: one to stdout, or all of them into a folder."""
    prepared = prepare_arguments(arguments)
    check_selection(arguments, prepared.plan, prepared.topology.domains)
    check_base_trees(arguments, prepared.plan)
    found = [
        fragment
        for board in prepared.plan.boards
        for fragment in fragments(board)
        if arguments.board in (None, fragment.board) and arguments.domain in (None, fragment.domain)
    ]
    if arguments.output is None:
        if len(found) > 1:
            named = ", ".join(f"--domain {fragment.domain}" for fragment in found)
            message = f"{len(found)} fragments do not fit into one output"
            raise VtoolError(Diagnostic("VT442", message, hints=(f"give -o DIR, or one of: {named}",)), ExitCode.USAGE)
        for fragment in found:
            write_text(fragment.text, None)
    else:
        _write_all({fragment.file_name: fragment.text for fragment in found}, arguments.output)
    if not found:
        print("no device tree needs a change", file=sys.stderr)
    return 0


def _write_all(files: dict[str, str], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise VtoolError(Diagnostic("VT100", f"cannot make the folder '{folder}': {reason}")) from None
    for name, text in files.items():
        write_text(text, folder / name)
        print(folder / name, file=sys.stderr)
