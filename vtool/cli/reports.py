"""What verbs print that change boards: what came of each, its proof, its failure."""

from __future__ import annotations

import sys

from vtool.cli.common import Prepared, print_diagnostics
from vtool.cli.output import print_json, print_lines
from vtool.deploy.job import Report
from vtool.plan.types import Plan
from vtool.report.outcome import fault_of, outcome_lines
from vtool.report.summary import plan_data, plan_lines, proof_lines, rows_data


def show_reports(prepared: Prepared, reports: list[Report], wanted: list[str], output: str) -> None:
    """Print what came of every board: plan, proof, what changed, times; failures with their words."""
    if output == "json":
        print_json([_data(report) for report in reports])
    for report in reports:
        if output == "text" and (report.rows or report.failure is None):
            print_lines(plan_lines(Plan(prepared.topology.name, (report.board,))))
            show_proof(report)
            print(_told(prepared.topology.name, report))
            print_lines(report.notes)
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
        "notes": report.notes,
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
