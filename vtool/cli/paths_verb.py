"""``vtool paths``."""

from __future__ import annotations

import argparse

from vtool.cli.views import add_example
from vtool.data_paths import HYPERVISORS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_example(parser, "vtool paths --hypervisor kvm")
    parser.add_argument("--hypervisor", choices=HYPERVISORS, help="only this one (default: both)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def run(arguments: argparse.Namespace) -> int:
    """Show the table of data paths."""
    from vtool.cli.output import print_json, print_lines
    from vtool.report.paths import paths_data, paths_lines

    hypervisors = (arguments.hypervisor,) if arguments.hypervisor else HYPERVISORS
    if arguments.format == "json":
        print_json(paths_data(hypervisors))
    else:
        print_lines(paths_lines(hypervisors))
    return 0
