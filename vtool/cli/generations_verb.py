"""``vtool generations``."""

from __future__ import annotations

import argparse
from typing import Any

from vtool.cli.common import add_format, add_limit, add_topology, prepare_arguments, print_json, print_lines, targets_of
from vtool.deploy.asking import ask
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
    told: dict[str, Any] = {}
    for plan, board in targets_of(prepared, arguments):
        with board.hold():
            there = board.exists() and board.power.is_on()
            told[plan.name] = (ask(board, "generations") if there else None) or {"generations": [], "history": []}
        if arguments.format == "text":
            print_lines(_lines(plan.name, told[plan.name], there=there))
    if arguments.format == "json":
        print_json(told)
    return 0


def _lines(name: str, told: dict[str, Any], *, there: bool) -> list[str]:
    if not told["generations"]:
        return [f"board {name}: " + ("no generation of vtool's" if there else "off, or not made")]
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
