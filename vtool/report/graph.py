"""A topology as a graph: domains within boards, what serves devices, regions between owner and borrowers.

Owns the neutral graph, the one place where a topology and its plan become one, and its two notations: dot
(graphviz) and mermaid. Pure; who wants a picture gives the dot text to graphviz.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from vtool.base.units import format_size
from vtool.model.devices import BlockDevice, Device, NetworkDevice
from vtool.model.topology import Domain, Role, Topology
from vtool.plan.types import Plan, WindowKind
from vtool.report.memory_map import memory_maps
from vtool.report.summary import printable


class Shape(Enum):
    """What a node stands for."""

    DOMAIN = "domain"
    PROGRAM = "program"
    REGION = "region"


class Line(Enum):
    """What an edge stands for."""

    DEVICE = "device"
    OWNED_BY = "owned by"
    BORROWS = "borrows"
    USES = "uses"
    CHANNEL = "channel"


@dataclass(frozen=True)
class GraphNode:
    """A node: its text in lines, and the domain whose box it stands in (None: the board's)."""

    key: str
    shape: Shape
    lines: tuple[str, ...]
    board: str
    domain: str | None


@dataclass(frozen=True)
class GraphEdge:
    """An edge between two nodes, by their keys, with its text in lines."""

    start: str
    end: str
    line: Line
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Boards with a caption (by name), domains' captions (by name), nodes and edges, in the topology's order."""

    name: str
    boards: Mapping[str, str]
    domains: Mapping[str, str]
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]


def make_graph(topology: Topology, plan: Plan) -> Graph:
    """Return the graph of a planned topology."""
    only_board = next(iter(topology.boards))
    board_of = {name: domain.board or only_board for name, domain in topology.domains.items()}
    nodes = [
        GraphNode(_domain(name), Shape.DOMAIN, tuple(_domain_lines(domain)), board_of[name], name)
        for name, domain in topology.domains.items()
    ]
    edges: list[GraphEdge] = []
    places = _places(topology, plan)
    for name, region in topology.regions.items():
        board = board_of[next(iter(filter(None, (region.owner, *region.borrowers))))]
        lines = (name, format_size(region.size), region.use.value, *places.get(name, ()))
        nodes.append(GraphNode(_region(name), Shape.REGION, lines, board, None))
        if region.owner is not None:
            edges.append(GraphEdge(_region(name), _domain(region.owner), Line.OWNED_BY, ("owned by",)))
        for borrower in region.borrowers:
            edges.append(GraphEdge(_domain(borrower), _region(name), Line.BORROWS, ("borrows",)))
    for name, device in topology.devices.items():
        program = f"program {name}"
        behind = _behind(device)
        nodes.append(
            GraphNode(program, Shape.PROGRAM, (device.program.value, *behind), board_of[device.backend], device.backend)
        )
        lines = (name, f"{device.type}, {device.transport.value}, {device.data_path.value}")
        edges.append(GraphEdge(program, _domain(device.frontend), Line.DEVICE, lines))
        if device.region is not None:
            edges.append(GraphEdge(program, _region(device.region), Line.USES, ("through",)))
    for name, channel in topology.event_channels.items():
        start, end = channel.between
        edges.append(GraphEdge(_domain(start), _domain(end), Line.CHANNEL, (name, "event channel")))
    return Graph(
        topology.name,
        {board.name: f"{board.name}: {board.hypervisor} on {board.facts.name}" for board in plan.boards},
        {name: f"{name} ({domain.role.value})" for name, domain in topology.domains.items()},
        tuple(nodes),
        tuple(edges),
    )


def _domain(name: str) -> str:
    return f"domain {name}"


def _region(name: str) -> str:
    return f"region {name}"


def _domain_lines(domain: Domain) -> Iterator[str]:
    if domain.role is Role.CONTROL:
        yield "owns the hardware"
    else:
        yield f"{domain.cpus} CPU{'s' if domain.cpus > 1 else ''}"
    if domain.memory is not None:
        yield format_size(domain.memory)


def _behind(device: Device) -> tuple[str, ...]:
    if isinstance(device, BlockDevice):
        behind = (device.disk.file or device.disk.device) if device.disk else device.backend_device
        return (behind or "",)
    if isinstance(device, NetworkDevice):
        network = device.network
        out = f" with {network.uplink}" if network.uplink else ""
        place = f"bridge {network.bridge}{out}" if network.bridge else network.direct
        return (place,) if place else ()
    return ()


def _places(topology: Topology, plan: Plan) -> dict[str, list[str]]:
    """Return where each region lies, and in whose addresses."""
    places: dict[str, list[str]] = {}
    for found in memory_maps(plan, topology.regions):
        for entry in found.entries:
            if entry.kind is WindowKind.REGION:
                places.setdefault(entry.name, []).append(f"{found.domain or 'host'} {entry.range}")
    return places


_DOT_SHAPES = {
    Shape.DOMAIN: 'shape=box, style="filled", fillcolor="#bcd7f5"',
    Shape.PROGRAM: 'shape=component, style="filled", fillcolor="#f3ead9"',
    Shape.REGION: 'shape=cylinder, margin="0.15,0.15", style="filled", fillcolor="#b9e3c0"',
}
_DOT_LINES = {
    Line.DEVICE: 'color="#5b3f97", penwidth=2',
    Line.OWNED_BY: 'color="#2f7d4a", dir=none',
    Line.BORROWS: 'color="#2f7d4a", style=dashed',
    Line.USES: 'color="#7a6a4a", style=dotted',
    Line.CHANNEL: 'color="#b35900", style=dotted, dir=both',
}


def dot_lines(graph: Graph) -> Iterator[str]:
    """Yield the graph in graphviz's language."""
    keys = {node.key: f"n{index}" for index, node in enumerate(graph.nodes)}
    yield f"digraph {_dot(graph.name)} {{"
    yield '  graph [rankdir=LR, bgcolor="white", fontname="Helvetica", labeljust=l, nodesep=0.8, ranksep=1.1];'
    yield '  node [fontname="Helvetica", fontsize=11, color="#57606a"];'
    yield '  edge [fontname="Helvetica", fontsize=10];'
    yield from _boxes(
        graph, _dot_open, "  }", lambda n: f"{keys[n.key]} [label={_dot(*n.lines)}, {_DOT_SHAPES[n.shape]}];"
    )
    for edge in graph.edges:
        yield f"  {keys[edge.start]} -> {keys[edge.end]} [label={_dot(*edge.lines)}, {_DOT_LINES[edge.line]}];"
    yield "}"


def _dot_open(number: int, caption: str, outer: bool) -> str:
    style = '"rounded"; color="#57606a"' if outer else '"filled"; color="#8c959f"; fillcolor="#f4f5f7"'
    return f"  subgraph cluster_{number} {{ label={_dot(caption)}; margin=14; style={style};"


def _dot(*lines: str) -> str:
    """Quote text for dot, whose labels know escapes and character entities (graphviz doc: escString, HTML entities)."""
    escaped = (printable(line).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join(escaped) + '"'


_MERMAID_SHAPES = {Shape.DOMAIN: ("[", "]"), Shape.PROGRAM: ("([", "])"), Shape.REGION: ("[(", ")]")}
_MERMAID_LINES = {
    Line.DEVICE: "==>",
    Line.OWNED_BY: "---",
    Line.BORROWS: "-.->",
    Line.USES: "-.-",
    Line.CHANNEL: "<-.->",
}


def mermaid_lines(graph: Graph) -> Iterator[str]:
    """Yield the graph as a mermaid flowchart."""
    keys = {node.key: f"n{index}" for index, node in enumerate(graph.nodes)}
    yield "flowchart LR"

    def node_line(node: GraphNode) -> str:
        left, right = _MERMAID_SHAPES[node.shape]
        return f"{keys[node.key]}{left}{_mermaid(*node.lines)}{right}"

    yield from _boxes(graph, lambda n, caption, _: f"  subgraph box{n}[{_mermaid(caption)}]", "  end", node_line)
    for edge in graph.edges:
        label = f"|{_mermaid(*edge.lines)}|" if edge.lines else ""
        yield f"  {keys[edge.start]} {_MERMAID_LINES[edge.line]}{label} {keys[edge.end]}"


def _mermaid(*lines: str) -> str:
    """Quote text for mermaid: everything that is not plain becomes a character entity (``#35;``)."""
    plain = (re.sub(r"[^A-Za-z0-9 _.,:/()\[\]-]", lambda m: f"#{ord(m[0])};", printable(line)) for line in lines)
    return '"' + "<br/>".join(plain) + '"'


def _boxes(
    graph: Graph,
    opening: Callable[[int, str, bool], str],
    closing: str,
    node_line: Callable[[GraphNode], str],
) -> Iterator[str]:
    """Yield nodes in the box of their domain, domains and regions in the box of their board."""
    number = 0
    for board, board_caption in graph.boards.items():
        yield opening(number, board_caption, True)
        number += 1
        for domain, caption in graph.domains.items():
            mine = [node for node in graph.nodes if node.board == board and node.domain == domain]
            if mine:
                yield "  " + opening(number, caption, False)
                number += 1
                yield from (f"      {node_line(node)}" for node in mine)
                yield "  " + closing
        yield from (f"    {node_line(node)}" for node in graph.nodes if node.board == board and node.domain is None)
        yield closing
