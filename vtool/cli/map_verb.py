"""``vtool map``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vtool.cli.common import prepare_arguments
from vtool.cli.views import add_selection, add_view, check_selection, write_text
from vtool.report.memory_map import maps_data, memory_maps
from vtool.report.memory_map_text import map_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_view(parser, "vtool map topology/examples/kvm-pool.yaml --format html -o map.html")
    parser.add_argument("--format", choices=("text", "svg", "html", "json"), default="text", help="default: text")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write here instead of to stdout")
    add_selection(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show what lies where, on each board and in each guest."""
    prepared = prepare_arguments(arguments)
    plan = prepared.plan
    check_selection(arguments, plan, prepared.topology.domains)
    control = {board.control.name: board.name for board in plan.boards}
    maps = [
        found
        for found in memory_maps(plan, prepared.topology.regions)
        if arguments.board in (None, found.board)
        # The control domain sees the board's own addresses.
        and (
            arguments.domain in (None, found.domain)
            or (found.domain is None and control.get(arguments.domain) == found.board)
        )
    ]
    if arguments.format == "json":
        text = json.dumps(maps_data(plan, maps), indent=2, sort_keys=True) + "\n"
    elif arguments.format == "text":
        text = "".join(f"{line}\n" for line in map_lines(maps))
    else:
        from vtool.report.memory_map_picture import map_html, map_svg

        text = map_svg(maps) if arguments.format == "svg" else map_html(plan.name, maps)
    write_text(text, arguments.output)
    return 0
