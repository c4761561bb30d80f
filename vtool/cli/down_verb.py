"""``vtool down``."""

from __future__ import annotations

import argparse

from vtool.cli.arguments import add_limit, add_topology
from vtool.cli.output import print_lines
from vtool.cli.show import ShownProgress
from vtool.deploy.play import playing
from vtool.diagnostics import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology(parser)
    add_limit(parser)


def run(arguments: argparse.Namespace) -> int:
    """Stop domains and backends, remove vtool's files and disks, boot the board's own system."""
    with playing("teardown", ShownProgress()) as play:
        from vtool.cli.common import prepare_arguments, targets_of
        from vtool.cli.reports import show_failure

        prepared = prepare_arguments(arguments)
        targets = targets_of(prepared, arguments)
        for plan, board in targets:
            if not board.exists():
                print(f"board '{plan.name}' was never made: nothing to do")
        reports = play.on(prepared.topology.name, [target for target in targets if target[1].exists()])
    for report in reports:
        show_failure(report)
        if report.failure is None:
            print_lines(report.notes)
            print(f"board '{report.board.name}' is clean ({sum(report.seconds.values()):.1f} s)")
    return ExitCode.OK.value if all(report.failure is None for report in reports) else ExitCode.BOARD_FAILED.value
