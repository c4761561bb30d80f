"""``vtool plan``."""

from __future__ import annotations

import argparse

from vtool.cli.common import add_format, add_topology_file, prepare_arguments, print_json, print_lines
from vtool.report.summary import plan_data, plan_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology_file(parser)
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show what vtool decides."""
    plan = prepare_arguments(arguments).plan
    if arguments.format == "json":
        print_json(plan_data(plan))
    else:
        print_lines(plan_lines(plan))
    return 0
