"""``vtool graph``."""

from __future__ import annotations

import argparse
from pathlib import Path

from vtool.cli.common import prepare_arguments
from vtool.cli.graphviz import drawn
from vtool.cli.views import add_view, write_text
from vtool.report.graph import dot_lines, make_graph, mermaid_lines


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
    write_text(drawn(text) if arguments.format == "svg" else text, arguments.output)
    return 0
