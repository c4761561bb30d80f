"""``vtool deploy``."""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path

from vtool.cli.arguments import add_limit, add_topology
from vtool.cli.from_bundle import add_bundle_options, unpacked
from vtool.cli.output import add_format
from vtool.cli.show import ShownProgress
from vtool.deploy.play import playing
from vtool.diagnostics import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology(parser, "the topology file, or a bundle of one")
    add_limit(parser)
    parser.add_argument(
        "--rolling",
        type=_number_of_boards,
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
    add_bundle_options(parser)


def _number_of_boards(text: str) -> int:
    """Read ``--rolling``."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of boards, such as 1")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Deploy to every board of the topology; exit code 3 when one failed or a row is not proven."""
    begin = time.monotonic()
    progress = ShownProgress()
    with contextlib.ExitStack() as stack:
        play = saved = None
        bundle = stack.enter_context(unpacked(arguments))
        if arguments.plan:
            from vtool.deploy.difference import saved_plan

            saved = saved_plan(arguments.plan)
        if not arguments.dry_run:
            asked = {"keep": arguments.keep, "rolling": arguments.rolling}
            play = stack.enter_context(playing("deploy", progress, asked))
        # Ansible starts while these are read.
        from vtool.cli.common import image_paths, prepare_arguments, require_deployable, targets_of
        from vtool.cli.difference import show_differences
        from vtool.cli.reports import show_reports
        from vtool.deploy.difference import differences, require_as_saved
        from vtool.deploy.this_machine import require_tools

        prepared = prepare_arguments(arguments)
        require_deployable(prepared)
        targets = targets_of(prepared, arguments)
        require_tools(plan for plan, _ in targets)
        given = bundle.images if bundle else {}
        image_path = image_paths(prepared, [plan for plan, _ in targets], progress, given)
        images_s = round(time.monotonic() - begin, 1)
        if bundle:
            bundle.require_same(prepared, targets, image_path, accept=arguments.accept_differences)
        name = prepared.topology.name
        if arguments.dry_run or saved:
            found = differences(name, targets, image_path)
            if saved:
                require_as_saved(saved, name, found)
        if play is None:
            show_differences(prepared.document, found, arguments.format)
            return ExitCode.OK.value
        reports = play.on(name, targets, image_path)
    for report in reports:
        report.seconds = {"images": images_s, **report.seconds, "all": round(time.monotonic() - begin, 1)}
    show_reports(prepared, reports, [plan.name for plan, _ in targets], arguments.format)
    all_proven = len(reports) == len(targets) and all(report.proven for report in reports)
    return ExitCode.OK.value if all_proven else ExitCode.BOARD_FAILED.value
