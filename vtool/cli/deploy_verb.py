"""``vtool deploy``."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

from vtool.check.deployable import not_deployable
from vtool.cli.common import (
    Prepared,
    add_limit,
    add_topology,
    image_paths,
    prepare_arguments,
    print_diagnostics,
    require_boot,
    targets_of,
)
from vtool.cli.output import add_format, print_json, print_lines
from vtool.cli.show import ShownProgress
from vtool.deploy.deployment import playing
from vtool.deploy.job import Report
from vtool.diagnostics import ExitCode, VtoolError
from vtool.plan.types import Plan
from vtool.report.outcome import fault_of, outcome_lines
from vtool.report.summary import plan_data, plan_lines, proof_lines, rows_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology(parser)
    add_limit(parser)
    parser.add_argument(
        "--rolling",
        type=int,
        metavar="N",
        help="deploy to N boards at a time, and stop at the first failure (default: all at once)",
    )
    parser.add_argument(
        "--keep", action="store_true", help="if a row is not proven, leave it running unconfirmed instead of going back"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    parser.add_argument(
        "--plan", type=Path, metavar="FILE", help="deploy only if everything is still as in this saved plan"
    )
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Deploy to every board of the topology; exit code 3 when one failed or a row is not proven."""
    from vtool.cli.difference import show_differences
    from vtool.deploy.difference import differences, require_as_saved

    begin = time.monotonic()
    progress = ShownProgress()
    with contextlib.ExitStack() as stack:
        play = None
        if not arguments.dry_run:
            asked = {"keep": arguments.keep, "rolling": arguments.rolling}
            play = stack.enter_context(playing("deploy", progress, asked))
        prepared = prepare_arguments(arguments)
        require_deployable(prepared)
        targets = targets_of(prepared, arguments)
        image_path = image_paths(prepared, [plan for plan, _ in targets], progress)
        images_s = round(time.monotonic() - begin, 1)
        name = prepared.topology.name
        if arguments.dry_run or arguments.plan:
            found = differences(name, targets, image_path)
            if arguments.plan:
                require_as_saved(arguments.plan, name, found)
        if play is None:
            show_differences(prepared.document, found, arguments.format)
            return ExitCode.OK.value
        reports = play.on(name, targets, image_path)
    for report in reports:
        report.seconds = {"images": images_s, **report.seconds, "all": round(time.monotonic() - begin, 1)}
    show_reports(prepared, reports, [plan.name for plan, _ in targets], arguments.format)
    well = len(reports) == len(targets) and all(report.proven for report in reports)
    return ExitCode.OK.value if well else ExitCode.BOARD_FAILED.value


def require_deployable(prepared: Prepared) -> None:
    """Refuse what this version does not deploy."""
    refused = not_deployable(prepared.document, prepared.topology)
    if refused:
        raise VtoolError(refused)
    require_boot(prepared)


def show_reports(prepared: Prepared, reports: list[Report], wanted: list[str], output: str) -> None:
    """Print what came of every board: plan, proof, what changed, times; failures with their words."""
    if output == "json":
        print_json([_data(report) for report in reports])
    for report in reports:
        if output == "text" and (report.rows or report.failure is None):
            print_lines(plan_lines(Plan(prepared.topology.name, (report.board,))))
            show_proof(report)
            print(_told(prepared.topology.name, report))
            print("seconds: " + ", ".join(f"{phase} {seconds}" for phase, seconds in report.seconds.items()))
        show_failure(report)
    if output == "text" and len(wanted) > 1:
        rows = {report.board.name: _row(report) for report in reports}
        left_out = ("left out", "", "as before")
        print_lines(outcome_lines([(name, *rows.get(name, left_out)) for name in wanted]))


def show_failure(report: Report) -> None:
    """Print on stderr what ended a report early, and what the board runs now."""
    print_diagnostics(report.failure.diagnostics if report.failure else ())
    if report.went_back_to is not None:
        print(f"board '{report.board.name}' went back to {now_runs(report)}", file=sys.stderr)


def now_runs(report: Report) -> str:
    """Say which generation a board runs after a verb."""
    if report.went_back_to is not None:
        return f"generation {report.went_back_to}" if report.went_back_to else "the system it came with"
    if not report.generation:
        return "as before"
    return f"generation {report.generation}" + ("" if report.confirmed else ", unconfirmed")


def _row(report: Report) -> tuple[str, str, str]:
    outcome = "proven" if report.proven else "failed"
    return outcome, fault_of(report.failure, proven=report.proven), now_runs(report)


def _data(report: Report) -> dict[str, object]:
    return {
        "board": report.board.name,
        "generation": report.generation,
        "changed": report.changed,
        "rebooted": report.rebooted,
        "restarted": report.restarted,
        "proven": report.proven,
        "confirmed": report.confirmed,
        "went_back_to": report.went_back_to,
        "fault": fault_of(report.failure, proven=report.proven),
        "failure": [plan_data(diagnostic) for diagnostic in report.failure.diagnostics] if report.failure else [],
        "rows": rows_data(report.rows),
        "seconds": report.seconds,
        "plan": plan_data(report.board),
    }


def _told(topology: str, report: Report) -> str:
    what = "deployed" if report.changed else "unchanged"
    if not report.proven:
        what = "taken back" if report.went_back_to is not None else "left unconfirmed"
    reboot = ", rebooted" if report.rebooted else ""
    restarted = f", restarted {', '.join(report.restarted)}" if report.restarted else ""
    return f"{what}: '{topology}' on {report.board.name}, generation {report.generation}{reboot}{restarted}"


def show_proof(report: Report) -> None:
    """Print the proof's rows, the words of failures, and the verdict."""
    print(f"proof on {report.board.name}:")
    print_lines(proof_lines(report.rows))
    for row in report.rows:
        if row.failed and row.detail:
            print(f"  {row.subject}, {row.what}:")
            print_lines(f"    | {line}" for line in row.detail)
    noted, failed = sum(row.noted for row in report.rows), any(row.failed for row in report.rows)
    proven = f"{sum(row.proven for row in report.rows)} of {len(report.rows)} rows proven"
    print(proven + (f", {noted} noted" if noted else "") + (", NOT PROVEN" if failed else ""))
