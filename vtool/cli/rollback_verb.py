"""``vtool rollback``."""

from __future__ import annotations

import argparse

from vtool.cli.common import add_limit, add_topology, prepare_arguments, targets_of
from vtool.cli.deploy_verb import show_failure
from vtool.cli.show import ShownProgress
from vtool.deploy.deployment import rollback
from vtool.diagnostics import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology(parser)
    add_limit(parser)
    parser.add_argument(
        "--to", default="", metavar="GENERATION", help="as `vtool generations` lists it (default: the one before)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Make an earlier generation run again, on trial until its domains are ready; then it is the one that boots."""
    prepared = prepare_arguments(arguments)
    reports = rollback(targets_of(prepared, arguments), arguments.to, ShownProgress())
    for report in reports:
        show_failure(report)
        if report.failure is None:
            how = "rebooted" if report.rebooted else f"restarted {', '.join(report.restarted) or 'nothing'}"
            print(
                f"board '{report.board.name}' runs generation {report.generation} of '{report.topology}' again, {how}"
            )
    return ExitCode.OK.value if all(report.failure is None for report in reports) else ExitCode.BOARD_FAILED.value
