"""``vtool plan``."""

from __future__ import annotations

import argparse
import sys

from vtool.cli.common import add_format, add_topology_file, prepare_arguments, print_json, print_lines
from vtool.cli.views import write_text
from vtool.plan.lock import format_lock, lock_path
from vtool.report.summary import account_lines, plan_data, plan_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology_file(parser)
    parser.add_argument(
        "--lock", action="store_true", help="choose anew and write TOPOLOGY.lock, which later plans keep to"
    )
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show what vtool decides."""
    prepared = prepare_arguments(arguments, keep=not arguments.lock)
    plan = prepared.plan
    if arguments.lock:
        path = lock_path(arguments.topology)
        write_text(format_lock(plan), path)
        print(f"wrote {path}", file=sys.stderr)
    if arguments.format == "json":
        print_json(plan_data(plan))
    else:
        print_lines(plan_lines(plan))
        print_lines(account_lines(prepared.topology, plan))
    return 0
