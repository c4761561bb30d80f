"""The topologies of a run as pictures with their words: who serves whom, and what lies where. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vtool.model.topology import Topology
from vtool.plan.types import Plan
from vtool.report.graph import Graph, make_graph
from vtool.report.memory_map import memory_maps
from vtool.report.memory_map_picture import map_svg
from vtool.report.memory_map_text import HEADINGS, cells

MAP_HEADINGS = HEADINGS


@dataclass(frozen=True)
class MapShown:
    """A memory map: a picture, and its rows with how deep each lies in another."""

    heading: str
    picture: str
    rows: tuple[tuple[int, tuple[str, ...]], ...]


@dataclass(frozen=True)
class TopologyShown:
    """A variant's topology. ``graph`` is a picture; where there is none, ``why`` says so. ``commands`` draw them."""

    name: str
    file: str
    commands: tuple[str, ...] = ()
    graph: str = ""
    edges: tuple[str, ...] = ()
    maps: tuple[MapShown, ...] = ()
    why: str = ""

    @property
    def bytes(self) -> int:
        """Return about how much of a page it takes."""
        rows = sum(len(cell) + 12 for found in self.maps for _, row in found.rows for cell in row)
        return len(self.graph) + sum(len(found.picture) for found in self.maps) + rows


def maps_shown(topology: Topology, plan: Plan) -> tuple[MapShown, ...]:
    """Return the memory maps of every board and guest."""
    return tuple(
        MapShown(
            f"domain {found.domain} on {found.board}" if found.domain else f"board {found.board}",
            map_svg([found], styled=False),
            tuple((entry.depth, tuple(cell.strip() for cell in cells(entry))) for entry in found.entries),
        )
        for found in memory_maps(plan, topology.regions)
    )


def edges_in_words(topology: Topology, plan: Plan) -> tuple[str, ...]:
    """Return every edge of the graph as a sentence."""
    return tuple(_sentences(make_graph(topology, plan)))


def _sentences(graph: Graph) -> Iterator[str]:
    nodes = {node.key: node for node in graph.nodes}
    for edge in graph.edges:
        ends = [nodes[key] for key in (edge.start, edge.end)]
        names = [node.key if node.key.startswith("domain") else node.lines[0] for node in ends]
        yield f"{names[0]} → {names[1]}: {', '.join(edge.lines)}"


def graph_of_page(svg: str) -> str:
    """Return graphviz's SVG as a part of a page: without its head, and without ids that would be there twice."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<!--.*?-->\n?", "", body, flags=re.DOTALL)
    return re.sub(r' id="[^"]*"', "", body).strip()
