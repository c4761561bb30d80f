"""``vtool plan``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vtool.cli.arguments import add_limit, add_topology
from vtool.cli.common import Prepared, prepare_arguments
from vtool.cli.output import add_format, print_json, print_lines
from vtool.cli.views import write_text
from vtool.plan.lock import format_lock, lock_path
from vtool.report.summary import account_lines, plan_data, plan_lines

CHANGES = 2
"""The exit code of ``--against-board`` when there is something to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology(parser)
    add_limit(parser)
    parser.add_argument(
        "--lock",
        action="store_true",
        help="choose all numbers again and write TOPOLOGY.lock, which later plans keep to",
    )
    parser.add_argument(
        "--against-board",
        action="store_true",
        help="show what a deploy would change on the boards; exit code 0 if nothing, 2 if something",
    )
    parser.add_argument(
        "--save", type=Path, metavar="FILE", help="with --against-board: save it for `vtool deploy --plan FILE`"
    )
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show what vtool decides, or what that would change."""
    if arguments.save and not arguments.against_board:
        print("usage: vtool plan TOPOLOGY --against-board --save FILE", file=sys.stderr)
        return 2
    prepared = prepare_arguments(arguments, keep=not arguments.lock)
    if arguments.lock:
        path = lock_path(arguments.topology)
        write_text(format_lock(prepared.plan), path)
        print(f"wrote {path}", file=sys.stderr)
    if arguments.against_board:
        return _against_board(arguments, prepared)
    if arguments.format == "json":
        print_json(plan_data(prepared.plan))
    else:
        print_lines(plan_lines(prepared.plan))
        print_lines(account_lines(prepared.topology, prepared.plan))
    return 0


def _against_board(arguments: argparse.Namespace, prepared: Prepared) -> int:
    from vtool.cli.common import image_paths, require_boot, targets_of
    from vtool.cli.difference import show_differences
    from vtool.cli.show import ShownProgress
    from vtool.deploy.difference import differences, format_saved

    require_boot(prepared)
    targets = targets_of(prepared, arguments)
    image_path = image_paths(prepared, [plan for plan, _ in targets], ShownProgress())
    found = differences(prepared.topology.name, targets, image_path)
    show_differences(prepared.document, found, arguments.format)
    if arguments.save:
        write_text(format_saved(prepared.topology.name, found), arguments.save)
        print(f"wrote {arguments.save}", file=sys.stderr)
    return 0 if all(item.empty for item in found) else CHANGES
