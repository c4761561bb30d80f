"""``vtool graph``."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from vtool.cli.common import prepare_arguments
from vtool.cli.views import add_view, write_text
from vtool.diagnostics import board_failed, not_installed
from vtool.diagnostics.codes import declare
from vtool.report.graph import dot_lines, make_graph, mermaid_lines

_DEADLINE_S = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_view(parser, "vtool graph topology/examples/kvm-pool.yaml -o kvm-pool.svg")
    parser.add_argument("--format", choices=("svg", "mermaid", "dot"), default="svg", help="default: svg")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write here instead of to stdout")


def run(arguments: argparse.Namespace) -> int:
    """Draw the topology; graphviz makes the picture."""
    prepared = prepare_arguments(arguments)
    graph = make_graph(prepared.topology, prepared.plan)
    lines = mermaid_lines(graph) if arguments.format == "mermaid" else dot_lines(graph)
    text = "".join(f"{line}\n" for line in lines)
    write_text(_drawn(text) if arguments.format == "svg" else text, arguments.output)
    return 0


declare(
    "VT440",
    what="graphviz does not draw the graph",
    why="vtool graph leaves the layout to graphviz; its own words are shown.",
    example="a dot program that was killed",
    fix="Use --format dot or --format mermaid, which need no other program.",
)


def _drawn(dot: str) -> str:
    try:
        done = subprocess.run(
            ["dot", "-Tsvg"], input=dot, capture_output=True, check=False, timeout=_DEADLINE_S, encoding="utf-8"
        )
    except FileNotFoundError:
        raise not_installed("dot") from None
    except subprocess.TimeoutExpired:
        raise board_failed("VT440", f"'dot' did not end within {_DEADLINE_S} s", hints=("use --format dot",)) from None
    if done.returncode != 0:
        detail = done.stderr.splitlines()[-10:]
        raise board_failed("VT440", "'dot' refuses the graph", hints=("use --format dot",), detail=detail)
    return done.stdout
