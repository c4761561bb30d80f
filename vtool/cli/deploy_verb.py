"""``vtool deploy``."""

from __future__ import annotations

import argparse
import time

from vtool.check.deployable import not_deployable
from vtool.cli.common import (
    add_format,
    add_topology,
    boards_of,
    image_paths,
    prepare_arguments,
    print_json,
    print_lines,
    require_boot,
)
from vtool.cli.show import ShownProgress
from vtool.deploy.deployment import Report, deploy
from vtool.diagnostics import ExitCode, VtoolError
from vtool.plan.types import Plan
from vtool.report.summary import plan_data, plan_lines, proof_lines, rows_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology(parser)
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Deploy to every board of the topology; exit code 3 when a row is not proven."""
    begin = time.monotonic()
    progress = ShownProgress()
    prepared = prepare_arguments(arguments)
    refused = not_deployable(prepared.document, prepared.topology)
    if refused:
        raise VtoolError(refused)
    require_boot(prepared)
    proven = True
    for plan, board in boards_of(prepared, arguments.inventory):
        images_begin = time.monotonic()
        image_path = image_paths(prepared, plan, progress)
        images = round(time.monotonic() - images_begin, 1)
        with board.hold():
            report = deploy(prepared.topology.name, plan, board, image_path, progress)
        report.seconds = {"images": images, **report.seconds, "all": round(time.monotonic() - begin, 1)}
        show(prepared.topology.name, report, arguments.format)
        proven = proven and report.proven
    return ExitCode.OK.value if proven else ExitCode.BOARD_FAILED.value


def show(topology: str, report: Report, output: str) -> None:
    """Print the summary: plan, proof, what changed, times."""
    if output == "json":
        print_json(
            {
                "board": report.board.name,
                "generation": report.generation,
                "changed": report.changed,
                "rebooted": report.rebooted,
                "restarted": report.restarted,
                "proven": report.proven,
                "rows": rows_data(report.rows),
                "seconds": report.seconds,
                "plan": plan_data(report.board),
            }
        )
        return
    print_lines(plan_lines(Plan(topology, (report.board,))))
    show_proof(report)
    what = "deployed" if report.changed else "unchanged"
    reboot = ", rebooted" if report.rebooted else ""
    restarted = f", restarted {', '.join(report.restarted)}" if report.restarted else ""
    print(f"{what}: '{topology}' on {report.board.name}, generation {report.generation}{reboot}{restarted}")
    print("seconds: " + ", ".join(f"{phase} {seconds}" for phase, seconds in report.seconds.items()))


def show_proof(report: Report) -> None:
    """Print the proof's rows, the words of failures, and the verdict."""
    print(f"proof on {report.board.name}:")
    print_lines(proof_lines(report.rows))
    for row in report.rows:
        if not row.proven and row.detail:
            print(f"  {row.subject}, {row.what}:")
            print_lines(f"    | {line}" for line in row.detail)
    failed = sum(not row.proven for row in report.rows)
    print(f"{len(report.rows) - failed} of {len(report.rows)} rows proven" + (", NOT PROVEN" if failed else ""))
