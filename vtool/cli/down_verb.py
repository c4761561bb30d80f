"""``vtool down``."""

from __future__ import annotations

import argparse

from vtool.cli.common import add_topology, boards_of, prepare_arguments
from vtool.cli.show import ShownProgress
from vtool.deploy.deployment import tear_down


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology(parser)


def run(arguments: argparse.Namespace) -> int:
    """Stop domains and backends, remove vtool's files and disks, boot the board's own system."""
    prepared = prepare_arguments(arguments)
    for plan, board in boards_of(prepared, arguments.inventory):
        if not board.exists():
            print(f"board '{plan.name}' was never made: nothing to do")
            continue
        with board.hold():
            seconds = tear_down(board, ShownProgress())
        print(f"board '{plan.name}' is clean ({seconds['tear down']} s)")
    return 0
