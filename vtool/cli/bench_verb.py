"""``vtool bench``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vtool.cli.arguments import add_inventory, add_use, whole_number
from vtool.cli.common import image_paths, prepare_to_deploy, print_diagnostics
from vtool.cli.output import add_format, print_json, print_lines
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vtool.base.progress import Progress
    from vtool.bench.cells import Planned
    from vtool.bench.lanes import Lane
    from vtool.bench.matrix import LoadedMatrix
    from vtool.board.inventory import Inventory
    from vtool.model.topology import Topology
    from vtool.results.records import Variant
    from vtool.results.run_folder import RunRead


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("topologies", type=Path, nargs="*", metavar="TOPOLOGY", help="the topology files")
    parser.add_argument(
        "--matrix",
        type=Path,
        metavar="FILE",
        help="what varies, and what is measured (default: every deployed path of the hypervisor against shared RAM)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="the run folder: a new one, or one to go on in"
    )
    parser.add_argument("--plan", action="store_true", help="show what would be measured, and measure nothing")
    parser.add_argument(
        "--print-matrix",
        action="store_true",
        help="print the default matrix of the topology, to change it and name it by --matrix; measure nothing",
    )
    parser.add_argument(
        "--at-most",
        type=whole_number(1),
        default=1000,
        metavar="CELLS",
        help="refuse a matrix of more cells (default: 1000)",
    )
    own = parser.add_argument_group("of the default matrix alone")
    own.add_argument(
        "--seconds", type=whole_number(1, 3600), metavar="N", help="how long each repetition runs (default: 10)"
    )
    own.add_argument(
        "--repetitions", type=whole_number(1, 1000), metavar="N", help="how often each cell is measured (default: 3)"
    )
    add_inventory(parser)
    add_use(parser)
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Plan or measure; exit code 3 when a cell that can be was not measured as often as it should be."""
    from vtool.bench.lanes import boards_of, lanes_of
    from vtool.board.inventory import Inventory

    if usage := _misused(arguments):
        print(f"usage: {usage}", file=sys.stderr)
        return ExitCode.USAGE.value
    if arguments.print_matrix:
        print(_default_text(arguments), end="")
        return ExitCode.OK.value
    planned = _planned(arguments)
    inventory = Inventory(arguments.inventory, arguments.use)
    lanes = lanes_of(boards_of(planned), inventory.standing_for)
    if arguments.plan:
        _show_plan(planned, lanes, _was(arguments.output), arguments.format)
        return ExitCode.OK.value
    return _measure(planned, inventory, lanes, arguments)


def _misused(arguments: argparse.Namespace) -> str:
    """Return how the verb is used, where it is not used so."""
    if arguments.matrix is not None and (arguments.seconds or arguments.repetitions):
        return "--seconds and --repetitions are of the default matrix; a file says both itself"
    if arguments.matrix is not None and arguments.print_matrix:
        return "--print-matrix prints the default matrix of a topology; what --matrix names is there already"
    if arguments.matrix is None and not arguments.topologies:
        return "vtool bench TOPOLOGY, or vtool bench --matrix FILE: what is to be measured"
    if arguments.output is None and not (arguments.plan or arguments.print_matrix):
        return "vtool bench -o DIR, the run folder; or --plan, to see what would be measured"
    return ""


def _planned(arguments: argparse.Namespace) -> Planned:
    """Plan the matrix; where something is wrong with the default one, say how it is seen."""
    from vtool.bench.cells import plan_matrix
    from vtool.bench.default_matrix import DEFAULT_FILE

    try:
        return plan_matrix(_matrix(arguments), prepare_to_deploy, arguments.at_most)
    except VtoolError as error:
        hint = f"vtool bench --print-matrix {' '.join(map(str, arguments.topologies))} prints it, to correct it"
        found = [replace(one, hints=(*one.hints, hint)) if one.span and one.span.path == DEFAULT_FILE else one
                 for one in error.diagnostics]  # fmt: skip
        raise VtoolError(found, error.exit_code) from None


def _measure(planned: Planned, inventory: Inventory, lanes: Sequence[Lane], arguments: argparse.Namespace) -> int:
    from importlib.metadata import version

    from vtool.bench.field import Boards
    from vtool.bench.run_folder import open_run
    from vtool.bench.runner import run_of
    from vtool.bench.side_by_side import measure, spread_over
    from vtool.cli.show import ShownProgress

    vtool, command, progress = version("vtool"), ("vtool", *sys.argv[1:]), ShownProgress()

    def boards(lane: Lane, shown: Progress) -> Boards:
        return Boards(
            lambda plan: inventory.stand_in(lane.stands[plan.name], plan.facts),
            lambda ready, plans: image_paths(ready, plans, shown),
            shown,
            vtool,
        )

    here = os.path.relpath(Path.cwd(), arguments.output.resolve())
    with open_run(arguments.output, run_of(planned, vtool, command, here)) as folder:
        print_diagnostics(folder.was.warnings)
        print(spread_over(planned, lanes, folder.was).words, file=sys.stderr)
        outcome = measure(planned, folder, lanes, boards, progress, vtool, command)
    for words in outcome.told:
        print(words, file=sys.stderr)
    for cell, why in dict.fromkeys(one for one in outcome.void if one[0] in outcome.without):
        print(f"does not count: {cell}: {why}", file=sys.stderr)
    print(f"measured {outcome.measured} repetitions into {arguments.output}, {outcome.missing} are missing")
    for board, variant in outcome.running.items():
        words = _words_of(next(one for one in planned.variants if one.id == variant), arguments, _use(lanes, board))
        print(f"board '{board}' runs variant '{variant}'; this cleans it: vtool down {words}", file=sys.stderr)
    if outcome.interrupted:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return ExitCode.INTERRUPTED.value
    return ExitCode.OK.value if not outcome.missing else ExitCode.BOARD_FAILED.value


def _use(lanes: Sequence[Lane], board: str) -> list[str]:
    """Return the option by which a verb reaches a board that stands for another."""
    stands = next(((name, its) for lane in lanes for name, its in lane.stands.items() if its == board), (board, board))
    return ["--use", "=".join(stands)] if stands[0] != stands[1] else []


def _words_of(variant: Variant, arguments: argparse.Namespace, use: Sequence[str]) -> str:
    overlays = [word for file in variant.overlays for word in ("--overlay", file)]
    settings = [word for setting in variant.settings for word in ("--set", setting)]
    inventory = ["--inventory", str(arguments.inventory)] if arguments.inventory else []
    return shlex.join([variant.topology, *overlays, *settings, *inventory, *use])


def _matrix(arguments: argparse.Namespace) -> LoadedMatrix:
    from vtool.bench.default_matrix import default_matrix
    from vtool.bench.matrix import load_matrix

    if arguments.matrix is not None:
        return load_matrix(arguments.matrix, tuple(arguments.topologies))
    return default_matrix(*_of_default(arguments))


def _default_text(arguments: argparse.Namespace) -> str:
    from vtool.bench.default_matrix import matrix_text

    return matrix_text(*_of_default(arguments))


def _of_default(arguments: argparse.Namespace) -> tuple[Path, Topology, int, int]:
    """Return what the default matrix is of: a topology, seconds, repetitions. VtoolError VT940 of several."""
    first, *others = arguments.topologies
    if others:
        message = f"the default matrix is of one topology, and {1 + len(others)} are named"
        hint = "of several topologies a matrix says what is measured: --matrix FILE"
        raise VtoolError(Diagnostic("VT940", message, hints=(hint,)), ExitCode.USAGE)
    topology = prepare_to_deploy(first).topology
    return first, topology, arguments.seconds or 10, arguments.repetitions or 3


def _was(folder: Path | None) -> RunRead | None:
    from vtool.results.run_folder import RECORDS, read_run

    return read_run(folder) if folder is not None and (folder / RECORDS).exists() else None


def _show_plan(planned: Planned, lanes: Sequence[Lane], was: RunRead | None, output: str) -> None:
    from vtool.bench.plan_text import plan_data, plan_lines
    from vtool.bench.side_by_side import spread_over

    told = spread_over(planned, lanes, was)
    if output == "json":
        print_json(plan_data(planned, told))
    else:
        print_lines(plan_lines(planned, told))
