"""``vtool verify``."""

from __future__ import annotations

import argparse

from vtool.cli.common import add_format, add_topology, boards_of, prepare_arguments, print_json, print_lines
from vtool.cli.deploy_verb import show_proof
from vtool.cli.show import ShownProgress
from vtool.deploy.deployment import Report, domain_tails, verify
from vtool.diagnostics import ExitCode
from vtool.report.summary import rows_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology(parser)
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prove every row again; exit code 3 and the consoles' tails when one is not."""
    prepared = prepare_arguments(arguments)
    reports: list[Report] = []
    for plan, board in boards_of(prepared, arguments.inventory):
        with board.hold():
            report = verify(prepared.topology.name, plan, board, ShownProgress())
            tails = [] if report.proven or arguments.format == "json" else domain_tails(plan, board)
        reports.append(report)
        if arguments.format == "text":
            show_proof(report)
            print_lines(tails)
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
    proven = all(report.proven for report in reports)
    return ExitCode.OK.value if proven else ExitCode.BOARD_FAILED.value
