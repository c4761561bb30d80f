"""``vtool dt``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vtool.board.dts import read_blob_and_tree, whole
from vtool.cli.arguments import add_base_tree
from vtool.cli.common import prepare_arguments, print_diagnostics, with_base_trees
from vtool.cli.views import add_selection, add_view, check_selection, write_bytes, write_text
from vtool.deploy.base_tree import fitted, refused, refused_in_guest
from vtool.deploy.merge import decompile, merge_guest, merge_host
from vtool.deploy.merged_tree import as_booted, new_faults
from vtool.diagnostics import Diagnostic, ExitCode, Severity, VtoolError
from vtool.diagnostics.codes import declare
from vtool.model.facts_import import ignored_reservations
from vtool.plan.types import BoardPlan
from vtool.platform.devicetree import read_blob
from vtool.render.fragments import Fragment, fragments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_view(parser, "vtool dt topology/examples/kvm-pool.yaml --domain fe0 > fe0.dts")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PATH",
        help="write each fragment to a file in this folder; with --base: write this .dts or .dtb",
    )
    parser.add_argument(
        "--base", type=Path, metavar="FILE", help="merge the fragment into this tree, .dtb or .dts, and write that"
    )
    add_selection(parser)
    add_base_tree(parser)


declare(
    "VT442",
    what="several device-tree fragments for one output",
    why="Two fragments in one file are not valid device-tree source.",
    example="vtool dt without -o, for a topology with a region of the host and a pool of a guest",
    fix="Give -o DIR, or choose one with --board and --domain.",
)


def run(arguments: argparse.Namespace) -> int:
    """Write the fragments that are asked for: one to stdout, all of them into a folder, or one merged."""
    prepared = prepare_arguments(arguments)
    check_selection(arguments, prepared.plan, prepared.topology.domains)
    plan = with_base_trees(arguments, prepared.plan)
    base = _Base(arguments.base) if arguments.base else None
    boards = [base.fitted(board) if base else board for board in plan.boards]
    found = [
        (board, fragment)
        for board in boards
        for fragment in fragments(board, board.facts.device_tree if base else None)
        if arguments.board in (None, fragment.board) and arguments.domain in (None, fragment.domain)
    ]
    if len(found) > 1 and (base or arguments.output is None):
        named = ", ".join(f"--domain {fragment.domain}" for _, fragment in found)
        message = f"{len(found)} fragments do not fit into one {'base tree' if base else 'output'}"
        hint = f"give {'' if base else '-o DIR, or '}one of: {named}"
        raise VtoolError(Diagnostic("VT442", message, hints=(hint,)), ExitCode.USAGE)
    if base:
        base.write(found, arguments.output)
    elif arguments.output is None:
        for _, fragment in found:
            write_text(fragment.text, None)
    else:
        _write_all({fragment.file_name: fragment.text for _, fragment in found}, arguments.output)
    if not found:
        print("no device tree needs a change", file=sys.stderr)
    return 0


_AS_BEFORE = (
    "the plan needs nothing of that node and leaves it so: `vtool lint` says VT840 of this tree, and of the merged"
)


declare(
    "VT443",
    what="the name of a merged device tree does not tell its format",
    why="It can be written as source or as binary, and the end of the name chooses.",
    example="vtool dt kvm-pool.yaml --domain fe0 --base qemu.dtb -o merged",
    fix="End the name in .dts or .dtb.",
)


class _Base:
    """A base tree: what it is like, and what it becomes with a fragment merged into it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blob, tree = read_blob_and_tree(path)
        self._tree = whole(tree, path)

    def fitted(self, board: BoardPlan) -> BoardPlan:
        """Return the board's plan in the cells of this tree."""
        return fitted(board, self._tree, f"'{self._path}'")

    def write(self, found: Sequence[tuple[BoardPlan, Fragment]], output: Path | None) -> None:
        """Write the tree with the fragment merged into it, or as it is without one."""
        if output is not None and output.suffix not in (".dts", ".dtb"):
            message = f"'{output}' says neither .dts nor .dtb"
            raise VtoolError(Diagnostic("VT443", message), ExitCode.USAGE)
        with tempfile.TemporaryDirectory(prefix="vtool-dt-") as folder:
            base = Path(folder) / "base.dtb"
            base.write_bytes(self._blob)
            merged = Path(folder) / "merged.dtb"
            merged.write_bytes(self._merged(base, *found[0]) if found else self._blob)
            if output is not None and output.suffix == ".dtb":
                write_bytes(merged.read_bytes(), output)
            else:
                write_text(decompile(merged), output)

    def _merged(self, base: Path, board: BoardPlan, fragment: Fragment) -> bytes:
        guest = next((guest for guest in board.kvm_guests if guest.name == fragment.domain), None)
        said = refused_in_guest(guest, self._tree) if guest else refused(board, self._tree)
        if any(finding.severity is Severity.ERROR for finding in said):
            raise VtoolError(said)
        # What a plan does not touch may be ignored as it was.
        ignored = [replace(finding, hints=(_AS_BEFORE,)) for finding in ignored_reservations(self._tree.root)]
        print_diagnostics([*ignored, *said])
        source = base.with_name(fragment.file_name)
        source.write_text(fragment.text)
        try:
            merged = merge_guest(base, source, guest) if guest else merge_host(base, source, board)
        except VtoolError as error:
            # The same findings as of a deploy, but no board has failed.
            raise VtoolError(error.diagnostics) from None
        booted = merged if guest else as_booted(merged, board, None)
        found = new_faults(self._tree, read_blob(booted), None if guest else board.xen_release)
        if any(finding.severity is Severity.ERROR for finding in found):
            raise VtoolError(found)
        print_diagnostics(found)
        return merged


def _write_all(files: dict[str, str], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise VtoolError(Diagnostic("VT100", f"cannot make the folder '{folder}': {reason}")) from None
    for name, text in files.items():
        write_text(text, folder / name)
        print(folder / name, file=sys.stderr)
