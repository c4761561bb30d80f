"""``vtool validate``."""

from __future__ import annotations

import argparse

from vtool.cli.arguments import add_topology_file
from vtool.cli.common import prepare_arguments
from vtool.cli.output import add_format, print_json
from vtool.diagnostics import VtoolError, said_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology_file(parser)
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check a topology; exit code 1 when anything is wrong with it."""
    try:
        prepared = prepare_arguments(arguments)
    except VtoolError as error:
        if arguments.format == "json":
            print_json({"diagnostics": [d.to_json() for d in error.diagnostics]})
            return error.exit_code.value
        raise
    if arguments.format == "json":
        print_json({"diagnostics": [d.to_json() for d in prepared.warnings]})
    else:
        print(f"{arguments.topology}: {said_of(prepared.warnings)}")
    return 0
