"""``vtool report``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vtool.cli.arguments import whole_number
from vtool.cli.common import prepare_to_deploy, print_diagnostics
from vtool.cli.graphviz import drawn
from vtool.cli.views import add_example, replaced, write_text
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError
from vtool.diagnostics.codes import declare

if TYPE_CHECKING:
    from vtool.report.measured.topologies import TopologyShown
    from vtool.results.records import Variant
    from vtool.results.run_folder import RunRead

_MOST_PICTURES_BYTES = 1 << 20
"""Of topologies, in one page: some forty maps with their graphs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="the run folders, as vtool bench -o wrote them"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the page: one HTML file that needs no other")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the data: a row for each number of each repetition")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="the same rows as Apache Parquet")
    parser.add_argument(
        "--most-plots",
        type=whole_number(0),
        default=40,
        metavar="N",
        help="draw at most this many; the others are tables (default: 40)",
    )
    add_example(parser, "vtool report run-kvm run-xen -o report.html --csv data.csv")


def run(arguments: argparse.Namespace) -> int:
    """Write the page, the data, or all of them."""
    from vtool.results.failures import require_libraries
    from vtool.results.run_folder import read_run

    if not (arguments.output or arguments.csv or arguments.parquet):
        print("usage: vtool report RUN -o report.html; or --csv FILE, --parquet FILE", file=sys.stderr)
        return ExitCode.USAGE.value
    require_libraries("matplotlib", "numpy", "pyarrow", "scipy")
    runs = [read_run(folder) for folder in arguments.runs]
    _require_different(runs)
    for one in runs:
        print_diagnostics(one.warnings)
    _write_data(runs, arguments)
    if arguments.output:
        from vtool.report.measured.page import page

        write_text(page(runs, topologies_of(runs), arguments.most_plots), arguments.output)
    return ExitCode.OK.value


def _write_data(runs: Sequence[RunRead], arguments: argparse.Namespace) -> None:
    if arguments.csv is not None:
        from vtool.report.measured.data import write_csv

        with replaced(arguments.csv) as new:
            write_csv(runs, new)
    if arguments.parquet is not None:
        from vtool.report.measured.parquet import write_parquet

        with replaced(arguments.parquet) as new:
            write_parquet(runs, new)


declare(
    "VT939",
    what="a run is named twice",
    why="Its repetitions would be shown as those of two runs.",
    example="vtool report run1 copy-of-run1",
    fix="Name each run once.",
)


def _require_different(runs: Sequence[RunRead]) -> None:
    """Raise VtoolError VT939 for a run that is there twice."""
    first: dict[str, RunRead] = {}
    found = [
        Diagnostic("VT939", f"'{one.folder}' and '{first[one.run.id].folder}' are the same run, {one.run.id}")
        for one in runs
        if first.setdefault(one.run.id, one) is not one
    ]
    if found:
        raise VtoolError(found, ExitCode.USAGE)


# -- topologies


def topologies_of(runs: Sequence[RunRead]) -> list[TopologyShown]:
    """Return each different topology of the runs, planned from its files; or why it is not shown."""
    from vtool.report.measured.topologies import graph_of_page

    by_digest: dict[str, list[tuple[RunRead, Variant]]] = {}
    for run in runs:
        for variant in run.run.variants:
            by_digest.setdefault(variant.digest or f"{run.run.id} {variant.id}", []).append((run, variant))
    planned = [_planned(found, several=len(runs) > 1) for found in by_digest.values()]
    try:
        # A process for each: of several graphs in one, graphviz 2.43 writes clusters in another order each time.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            graphs, why = [*threads.map(lambda dot: dot and drawn(dot), [dot for _, dot in planned])], ""
    except VtoolError as error:
        graphs, why = [""] * len(planned), f"There is no graph: {error.diagnostics[0].message}."
    shown: list[TopologyShown] = []
    left = _MOST_PICTURES_BYTES
    for (one, dot), graph in zip(planned, graphs, strict=True):
        whole = replace(one, graph=graph_of_page(graph) if graph else "", why=one.why or (why if dot else ""))
        left -= whole.bytes
        is_full = left < 0 and (whole.graph or whole.maps)
        words = "There is no room for its pictures in this page."
        shown.append(replace(whole, graph="", maps=(), edges=(), why=words) if is_full else whole)
    return shown


def _planned(found: Sequence[tuple[RunRead, Variant]], *, several: bool) -> tuple[TopologyShown, str]:
    """Return a topology without its graph, and the graph for graphviz; empty when it cannot be planned as it was."""
    from vtool.bench.cells import plan_digests
    from vtool.bench.matrix import digest_of
    from vtool.report.graph import dot_lines, make_graph
    from vtool.report.measured.topologies import TopologyShown, edges_in_words, maps_shown

    read, variant = found[0]
    name = "; ".join(f"{run.run.name}: {one.id}" if several else one.id for run, one in found)
    shown = TopologyShown(name, os.path.normpath(variant.topology), tuple(_commands(variant)))
    if variant.faults:
        return replace(shown, commands=(), why=f"It cannot be: {variant.faults[0].message}."), ""
    topology_file, *overlays = map(read.file, (variant.topology, *variant.overlays))
    if not topology_file.exists():
        return replace(shown, why=f"Its file is not here: {variant.topology}."), ""
    try:
        ready = prepare_to_deploy(topology_file, overlays, variant.settings)
    except VtoolError as error:
        words = f"It cannot be planned here: {error.diagnostics[0].message} ({error.diagnostics[0].code})."
        return replace(shown, why=words), ""
    if digest_of(ready.document.value) != variant.digest:
        return replace(shown, why="Its files are not those that were measured any more."), ""
    if plan_digests(ready) != variant.plans:
        return replace(shown, why="This vtool plans it in another way than the one that measured it."), ""
    topology, plan = ready.topology, ready.plan
    maps, edges = maps_shown(topology, plan), edges_in_words(topology, plan)
    return replace(shown, maps=maps, edges=edges), "".join(
        f"{line}\n" for line in dot_lines(make_graph(topology, plan))
    )


def _commands(variant: Variant) -> Iterator[str]:
    overlays = [word for file in variant.overlays for word in ("--overlay", file)]
    settings = [word for setting in variant.settings for word in ("--set", setting)]
    for verb, output in (("graph", "graph.svg"), ("map", "map.html")):
        options = ["--format", "html"] if verb == "map" else []
        yield shlex.join(
            ["vtool", verb, os.path.normpath(variant.topology), *overlays, *settings, *options, "-o", output]
        )
