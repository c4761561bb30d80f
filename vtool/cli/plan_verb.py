"""``vtool plan``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vtool.cli.common import add_format, prepare, print_json, print_lines
from vtool.plan.lock import format_lock, lock_path
from vtool.report.summary import plan_data, plan_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("topology", type=Path, help="the topology file")
    parser.add_argument(
        "--lock", action="store_true", help="choose anew and write TOPOLOGY.lock, which later plans keep to"
    )
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show what vtool decides."""
    plan = prepare(arguments.topology, keep=not arguments.lock).plan
    if arguments.lock:
        path = lock_path(arguments.topology)
        path.write_text(format_lock(plan))
        print(f"wrote {path}", file=sys.stderr)
    if arguments.format == "json":
        print_json(plan_data(plan))
    else:
        print_lines(plan_lines(plan))
    return 0
