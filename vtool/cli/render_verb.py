"""``vtool render``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vtool.cli.arguments import add_base_tree, add_topology_file
from vtool.cli.common import prepare_arguments, with_base_trees
from vtool.diagnostics import Diagnostic, VtoolError
from vtool.render import render
from vtool.render.ansible import FILE_NAME, render_inventory
from vtool.render.artifacts import Kind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology_file(parser)
    add_base_tree(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write into")


def run(arguments: argparse.Namespace) -> int:
    """Write all rendered text, board by board, and an inventory for Ansible; images are listed, not copied."""
    prepared = prepare_arguments(arguments)
    plan = with_base_trees(arguments, prepared.plan)
    count = 1
    try:
        for board in plan.boards:
            folder = arguments.output / board.name
            images = []
            for artifact in render(board).artifacts:
                if artifact.kind in (Kind.IMAGE, Kind.DISK):
                    images.append(f"{artifact.place.value}/{artifact.name}: {artifact.content}\n")
                    continue
                target = folder / artifact.place.value / artifact.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(artifact.content)
                count += 1
            (folder / "images.txt").write_text("".join(images))
        (arguments.output / FILE_NAME).write_text(render_inventory(prepared.topology, plan))
    except OSError as error:
        raise VtoolError(Diagnostic("VT100", f"cannot write into '{arguments.output}': {error}")) from None
    print(f"{count} files in {arguments.output}", file=sys.stderr)
    return 0
