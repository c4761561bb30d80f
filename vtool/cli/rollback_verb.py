"""``vtool rollback``."""

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
    parser.add_argument(
        "--to", default="", metavar="GENERATION", help="one that `vtool generations` lists (default: the one before)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="if a row is not proven, leave it running unconfirmed instead of going back"
    )


def run(arguments: argparse.Namespace) -> int:
    """Go back to an earlier generation, on trial until it is proven; exit code 3 when a row is not."""
    asked = {"keep": arguments.keep, "generation": arguments.to}
    with playing("rollback", ShownProgress(), asked) as play:
        from vtool.cli.common import prepare_arguments, targets_of
        from vtool.cli.reports import now_runs, show_failure, show_proof

        prepared = prepare_arguments(arguments)
        reports = play.on(prepared.topology.name, targets_of(prepared, arguments))
    for report in reports:
        print_lines(report.notes)
        if report.rows:
            show_proof(report)
        show_failure(report)
        if report.failure is None and report.went_back_to is None:
            how = "rebooted" if report.rebooted else f"restarted {', '.join(report.restarted) or 'nothing'}"
            print(f"board '{report.board.name}' runs {now_runs(report)} of '{report.topology}' again, {how}")
    return ExitCode.OK.value if all(report.proven for report in reports) else ExitCode.BOARD_FAILED.value
