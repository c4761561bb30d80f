"""``vtool verify``."""

from __future__ import annotations

import argparse

from vtool.cli.arguments import add_limit, add_topology
from vtool.cli.output import add_format, print_json, print_lines
from vtool.cli.show import ShownProgress
from vtool.deploy.play import playing
from vtool.diagnostics import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology(parser)
    add_limit(parser)
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prove every row again; exit code 3 and the consoles' tails when one is not."""
    with playing("verify", ShownProgress()) as play:
        from vtool.cli.common import prepare_arguments, targets_of
        from vtool.cli.reports import show_failure, show_proof
        from vtool.deploy.asking import domain_tails
        from vtool.report.summary import rows_data

        prepared = prepare_arguments(arguments)
        targets = targets_of(prepared, arguments)
        reports = play.on(prepared.topology.name, targets)
    boards = {plan.name: board for plan, board in targets}
    for report in reports:  # of those that Ansible came to
        show_failure(report)
        if arguments.format == "text" and report.failure is None:
            show_proof(report)
            if not report.proven:
                board = boards[report.board.name]
                with board.hold():
                    print_lines(domain_tails(report.board, board))
            print("seconds: " + ", ".join(f"{phase} {seconds}" for phase, seconds in report.seconds.items()))
    if arguments.format == "json":
        print_json(
            [
                {
                    "board": report.board.name,
                    "proven": report.proven,
                    "rows": rows_data(report.rows),
                    "seconds": report.seconds,
                }
                for report in reports
            ]
        )
    return ExitCode.OK.value if all(report.proven for report in reports) else ExitCode.BOARD_FAILED.value
