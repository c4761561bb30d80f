"""``vtool generations``."""

from __future__ import annotations

import argparse
from typing import Any

from vtool.board.protocols import Board
from vtool.board.shell import open_shell
from vtool.cli.arguments import add_limit, add_topology
from vtool.cli.common import failures_data, prepare_arguments, print_failures, targets_of
from vtool.cli.output import add_format, print_json, print_lines
from vtool.deploy.asking import ask, each_board
from vtool.diagnostics import ExitCode
from vtool.plan.types import BoardPlan
from vtool.report.summary import table

_ROLES = {"good": "boots", "last": "boots if that fails", "trial": "boots once, next"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_topology(parser)
    add_limit(parser)
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """List what a board could run, and what happened on it."""
    prepared = prepare_arguments(arguments)
    told, failed = each_board(targets_of(prepared, arguments), _told)
    if arguments.format == "json":
        print_json({name: said for name, (said, _) in told.items()} | failures_data(failed))
    else:
        for name, (said, there) in told.items():
            print_lines(_lines(name, said, there=there))
    print_failures(failed)
    return ExitCode.BOARD_FAILED.value if failed else ExitCode.OK.value


def _told(_: BoardPlan, board: Board) -> tuple[dict[str, Any], bool]:
    """Return what the board says of its generations, and whether it is there to be asked."""
    nothing: dict[str, Any] = {"generations": [], "history": []}
    with board.hold():
        if not (board.exists() and board.power.is_on()):
            return nothing, False
        with open_shell(board) as shell:
            return ask(shell, "generations") or nothing, True


def _lines(name: str, told: dict[str, Any], *, there: bool) -> list[str]:
    if not told["generations"]:
        return [f"board {name}: " + ("no generation of vtool" if there else "off or not made")]
    rows = []
    for item in told["generations"]:
        words = ["runs"] if item["running"] else []
        words += [_ROLES[role] for role in item["roles"]]
        words += [f"damaged: {', '.join(item['damaged'])}"] if item["damaged"] else []
        rows.append((item["generation"], item["topology"], ", ".join(words) or "kept"))
    history = [
        (line["at"] or "at boot", line["event"], line["generation"], line["topology"], line["reason"] or line["by"])
        for line in told["history"]
    ]
    return [f"board {name}:", *table(rows), "history:", *table(history)]
