"""map, graph, paths and dt: what they show is the plan, read back by each format's own parser."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from vtool.base.units import AddressRange
from vtool.cli.common import prepare
from vtool.data_paths import HYPERVISORS, rows
from vtool.data_paths.facts import Parts
from vtool.model.combinations import combinations
from vtool.plan.types import WindowKind
from vtool.platform import layouts
from vtool.platform.devicetree import Node, read_blob
from vtool.render.fragments import fragments
from vtool.report.graph import Graph, GraphEdge, GraphNode, Line, Shape, dot_lines, make_graph, mermaid_lines
from vtool.report.memory_map import Entry, MemoryMap, maps_data, memory_maps
from vtool.report.memory_map_picture import map_html, map_svg
from vtool.report.memory_map_text import map_lines
from vtool.report.paths import deployed, known, paths_data, paths_lines
from vtool.report.summary import plan_data

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "topology" / "examples"
TOPOLOGIES = sorted([*EXAMPLES.glob("*.yaml"), *(ROOT / "tests" / "topologies").glob("*.yaml")])
SVG = "{http://www.w3.org/2000/svg}"
NASTY = 'a"b\\n<c>&amp;{}[]|`#35;%%end'

every_topology = pytest.mark.parametrize("path", TOPOLOGIES, ids=lambda path: path.stem)


def vtool(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vtool.cli.main", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@every_topology
def test_a_plan_is_plain_data(path: Path) -> None:
    """What is no data, such as a function, would be written as its address in memory: another one in each process."""
    said = plan_data(prepare(path).plan)
    assert json.loads(json.dumps(said)) == said


def maps_of(path: Path) -> tuple[MemoryMap, ...]:
    prepared = prepare(path)
    return memory_maps(prepared.plan, prepared.topology.regions)


# --- layouts


@pytest.mark.parametrize("gic_version", [2, 3])
def test_qemus_own_tree_has_the_windows_of_the_layout(gic_version: int, tmp_path: Path) -> None:
    blob = tmp_path / "base.dtb"
    machine = f"virt,gic-version={gic_version},acpi=off,dumpdtb={blob}"
    command = ["qemu-system-aarch64", "-nodefaults", "-display", "none", "-cpu", "cortex-a57", "-machine", machine]
    subprocess.run(command, check=True, capture_output=True)
    tree = read_blob(blob.read_bytes())
    windows = [window.range for window in layouts.qemu_virt_windows(gic_version)]
    seen = [where for node in tree.root.walk() if not is_memory(node) and "cpus" not in node.path
            for where in (*node.ranges(), *bus_windows(node))]  # fmt: skip
    assert [where for where in seen if not any(window.contains(where) for window in windows)] == []
    assert [window for window in windows if not any(window.overlaps(where) for where in seen)] == []


def is_memory(node: Node) -> bool:
    return node.string("device_type") == "memory"


def bus_windows(node: Node) -> list[AddressRange]:
    if node.parent is None or "ranges" not in node.properties:
        return []
    widths = (node.address_cells, node.parent.address_cells, node.size_cells)
    return [AddressRange.of_size(base, size) for _, base, size in node.properties["ranges"].tuples(*widths)]


def test_windows_of_a_machine_are_apart_from_each_other_and_from_its_ram() -> None:
    for version in (2, 3):
        for windows, ram in (
            (layouts.qemu_virt_windows(version), [layouts.QEMU_VIRT_RAM]),
            (layouts.xen_guest_windows(version), list(layouts.XEN_GUEST_RAM)),
        ):
            ranges = sorted([window.range for window in windows] + ram)
            assert not any(a.overlaps(b) for a, b in itertools.pairwise(ranges))


# --- map


@every_topology
def test_the_map_covers_every_bank_and_nests(path: Path) -> None:
    for found in maps_of(path):
        open_ranges: list[Entry] = []
        inside: dict[AddressRange, int] = {}
        last_end: dict[int, int] = {}
        for entry in found.entries:
            while len(open_ranges) > entry.depth:
                last_end.pop(len(open_ranges), None)
                open_ranges.pop()
            if open_ranges:
                outer = open_ranges[-1].range
                assert outer.contains(entry.range), entry
                inside[outer] = inside.get(outer, 0) + entry.range.size_bytes
            assert entry.range.base >= last_end.get(entry.depth, 0), entry
            last_end[entry.depth] = entry.range.end
            open_ranges.append(entry)
        for bank in found.entries:
            if bank.kind is WindowKind.RAM and bank.range in inside:
                assert inside[bank.range] == bank.range.size_bytes, bank


@every_topology
def test_every_region_of_the_topology_is_in_the_map_with_its_sharers(path: Path) -> None:
    topology = prepare(path).topology
    data = json.loads(vtool("map", path, "--format", "json").stdout)
    shown = {(e["name"], e["owner"], tuple(e["borrowers"])) for m in data["maps"] for e in m["entries"]
             if e["kind"] == "region"}  # fmt: skip
    placed = {(name, r.owner or "Xen", r.borrowers) for name, r in topology.regions.items()}
    notes = " ".join(note for found in data["maps"] for note in found["notes"])
    assert shown == {region for region in placed if f"region {region[0]} is" not in notes}
    for entry in (entry for found in data["maps"] for entry in found["entries"]):
        assert entry["end"] - entry["base"] == entry["size_bytes"] > 0
        assert (entry["origin"] is None) == (entry["kind"] == "free")


@every_topology
def test_the_boards_map_has_everything_that_was_placed_in_it(path: Path) -> None:
    prepared = prepare(path)
    of_boards = [found for found in maps_of(path) if found.domain is None]
    for board, found in zip(prepared.plan.boards, of_boards, strict=True):
        boot = board.xen_boot
        views = [*boot.shared, *(view for guest in boot.guests for view in guest.shared)]
        placed = {(region.region, region.range) for region in board.host_regions}
        placed |= {(view.region, view.host) for view in views if view.host}
        placed |= {(f"RAM of {g.name}", g.static_memory[0].range) for g in boot.guests if g.static_memory}
        placed |= {(module.file, module.window) for guest in boot.guests for module in guest.modules}
        assert found.board == board.name
        assert placed - {(entry.name, entry.range) for entry in found.entries} == set()


@every_topology
def test_the_picture_shows_every_entry_once_and_nothing_overlaps(path: Path) -> None:
    maps = maps_of(path)
    root = ET.fromstring(map_svg(maps))
    groups = list(root.iter(f"{SVG}g"))
    shown = [(g.get("data-name"), g.get("data-base"), g.get("data-end")) for g in groups if g.get("data-name")]
    assert sorted(shown) == sorted(
        (e.name, f"{e.range.base:#x}", f"{e.range.end:#x}") for found in maps for e in found.entries
    )
    for group in groups:
        boxes = [box(child) for child in group if child.tag == f"{SVG}g"]
        for (_, _, _, bottom), (_, top, _, _) in itertools.pairwise(boxes):
            assert bottom <= top
        if group.get("data-name"):
            left, top, right, bottom = box(group)
            assert f"[{group.get('data-base')}, {group.get('data-end')})" in "".join(group.itertext())
            for inner in boxes:
                assert left <= inner[0] and inner[2] <= right and top + 30 <= inner[1] and inner[3] <= bottom
            for text in group.findall(f"{SVG}text"):
                assert top < float(text.get("y", 0)) < min([bottom, *(inner[1] for inner in boxes)])


def box(group: ET.Element) -> tuple[float, float, float, float]:
    rect = group.find(f"{SVG}rect")
    assert rect is not None
    x, y, width, height = (float(rect.get(key, 0)) for key in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def test_larger_ranges_have_higher_boxes() -> None:
    root = ET.fromstring(map_svg(maps_of(EXAMPLES / "kvm-pool.yaml")))
    heights = {g.get("data-name"): box(g)[3] - box(g)[1] for g in root.iter(f"{SVG}g") if g.find(f"{SVG}g") is None}
    assert heights["UART"] < heights["pool0"] < heights["RAM of fe0"] < heights["free"] < 4 * heights["UART"]


def test_whatever_is_in_a_path_is_text_in_every_format(tmp_path: Path) -> None:
    path = tmp_path / "a<b>&'\x01\".yaml"
    text = (EXAMPLES / "xen-pv.yaml").read_text()
    path.write_text(text.replace("    size: 2MiB\n", "    size: 2MiB\n    address: 0x6000_0000\n"))
    maps = maps_of(path)
    said = "".join(ET.fromstring(map_svg(maps)).itertext())
    assert "a<b>&'\ufffd\".yaml" in said
    page = ET.fromstring(map_html("t<&", maps).replace("<!DOCTYPE html>", ""))
    assert page.findtext(".//h1") == "Memory map of t<&" and "a<b>&'\ufffd\".yaml" in "".join(page.itertext())
    assert json.loads(json.dumps(maps_data(prepare(path).plan, maps)))["maps"]


def test_a_path_that_is_no_text_does_not_break_a_view(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "a\x1b[31m.yaml") + b"\xff"
    text = (EXAMPLES / "xen-pv.yaml").read_text()
    Path(os.fsdecode(path)).write_text(text.replace("    size: 2MiB\n", "    size: 2MiB\n    address: 0x6000_0000\n"))
    for form in ("text", "svg", "html", "json"):
        done = vtool("map", os.fsdecode(path), "--format", form, LC_ALL="C", PYTHONCOERCECLOCALE="0")
        assert done.returncode == 0 and "\x1b" not in done.stdout and "region0" in done.stdout, done.stderr


def test_the_text_has_a_bar_whose_pieces_are_in_the_table() -> None:
    lines = list(map_lines(maps_of(EXAMPLES / "xen-pv.yaml")))
    bar = next(line.strip().strip("|") for line in lines if line.startswith("  |"))
    assert re.sub(r"(.)\1*", r"\1", bar) == "ab.c"
    letters = {line.split()[0]: line for line in lines[2:12] if re.match(r"  [a-z] ", line)}
    assert "boot-loads" in letters["a"] and "region0" in letters["b"] and "u-boot" in letters["c"]


def test_the_control_domain_sees_the_boards_map() -> None:
    data = json.loads(vtool("map", EXAMPLES / "xen-pv.yaml", "--domain", "dom0", "--format", "json").stdout)
    assert [(found["board"], found["domain"]) for found in data["maps"]] == [("board0", None)]


# --- graph


@every_topology
def test_graphviz_reads_every_node_and_edge(path: Path) -> None:
    prepared = prepare(path)
    graph = make_graph(prepared.topology, prepared.plan)
    plain = subprocess.run(
        ["dot", "-Tplain"], input="\n".join(dot_lines(graph)), capture_output=True, text=True, check=True
    )
    assert plain.stderr == ""
    words = [shlex.split(line) for line in plain.stdout.splitlines()]
    first_lines = [word[6].split("\\n")[0] for word in words if word[0] == "node"]
    assert sorted(first_lines) == sorted(node.lines[0] for node in graph.nodes)
    assert len([w for w in words if w[0] == "edge"]) == len(graph.edges)
    said = "".join(ET.fromstring(vtool("graph", path).stdout).itertext())
    for name in (*prepared.topology.boards, *prepared.topology.domains, *prepared.topology.regions,
                 *prepared.topology.devices, *prepared.topology.event_channels):  # fmt: skip
        assert name in said, name


def test_a_name_cannot_become_syntax() -> None:
    nodes = (GraphNode("x", Shape.REGION, (NASTY, "two"), "b", None), GraphNode("y", Shape.PROGRAM, (NASTY,), "b", "d"))
    graph = Graph(NASTY, {"b": NASTY}, {"d": NASTY}, nodes, (GraphEdge("x", "y", Line.CHANNEL, (NASTY,)),))
    done = subprocess.run(["dot", "-Tsvg"], input="\n".join(dot_lines(graph)), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    texts = [text.text for text in ET.fromstring(done.stdout).iter(f"{SVG}text")]
    assert sorted(texts) == sorted([NASTY] * 5 + ["two"])
    mermaid = "\n".join(mermaid_lines(graph))
    labels = re.findall(r'"([^"]*)"', mermaid)
    decoded = [re.sub(r"#(\d+);", lambda m: chr(int(m[1])), label) for label in labels]
    assert decoded == [NASTY, NASTY, NASTY, f"{NASTY}<br/>two", NASTY]
    assert mermaid.count("subgraph") == len(re.findall(r"^ *end$", mermaid, re.MULTILINE)) == 2


def test_without_graphviz_the_graph_says_what_to_do(tmp_path: Path) -> None:
    path = EXAMPLES / "kvm-pool.yaml"
    done = vtool("graph", path, PATH=str(tmp_path))
    assert done.returncode == 3 and "VT501" in done.stderr
    assert vtool("graph", path, "--format", "mermaid", PATH=str(tmp_path)).stdout.startswith("flowchart")
    stub = tmp_path / "dot"
    stub.write_text("#!/bin/sh\ncat > /dev/null\necho no fonts here >&2\nexit 1\n")
    stub.chmod(0o755)
    done = vtool("graph", path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 3 and "VT440" in done.stderr and "no fonts here" in done.stderr


# --- paths


def test_every_combination_is_in_one_row_of_the_table() -> None:
    shown = [c for row in rows() if not row.by_a_guest for hypervisor in HYPERVISORS for c in known(row, hypervisor)]
    assert sorted(map(repr, shown)) == sorted(repr(c) for c in combinations() if c.type != "iommu")
    assert {c for row in rows() for hypervisor in HYPERVISORS for c in deployed(row, hypervisor)} < set(combinations())


def test_the_table_is_whole_and_consistent() -> None:
    data = json.loads(vtool("paths", "--format", "json").stdout)["data_paths"]
    assert [row["number"] for row in data] == list(range(1, len(rows()) + 1))
    assert len({row["key"] for row in data}) == len(data)
    for row in data:
        assert list(row["hypervisors"]) == sorted(HYPERVISORS)
        for way in row["hypervisors"].values():
            assert set(way) == {"parts", "transports", "programs", "needs", "debian_suffices", "debian_lacks",
                                "deployed", "rendered", "why_not"}  # fmt: skip
            assert way["deployed"]["today"] == bool(way["deployed"]["combinations"]) == (way["why_not"] is None)
            if way["deployed"]["today"]:
                assert way["parts"] != "none"
                for combination in way["deployed"]["combinations"]:
                    assert combination["transport"] in way["transports"] and combination["program"] in way["programs"]
            assert bool(way["needs"]) == (way["parts"] != "none")
            assert bool(way["debian_lacks"]) == (way["parts"] not in ("none", "debian"))


def test_obstacles_are_said_where_upstreams_code_cannot_do_it() -> None:
    for row in rows():
        for hypervisor in HYPERVISORS:
            way = row.way(hypervisor)
            assert bool(way.obstacle) == (way.parts in (Parts.NONE, Parts.OUTSIDE)), (row.key, hypervisor)
    assert "xen" in json.dumps(paths_data(("xen",))) and '"kvm"' not in json.dumps(paths_data(("xen",)))
    assert not any(line.startswith("   xen:") for line in paths_lines(("kvm",)))


# --- dt


@every_topology
def test_the_fragments_comment_applies_them_and_the_tree_is_the_plan(path: Path, tmp_path: Path) -> None:
    board = prepare(path).plan.boards[0]
    memory = {guest.name: guest.memory_bytes for guest in board.kvm_guests}
    done = vtool("dt", path, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in tmp_path.glob("*.dts")) == sorted(f.file_name for f in fragments(board))
    placed = 0
    for fragment in fragments(board):
        base(tmp_path / "base.dtb", memory.get(fragment.domain, 3 << 30))
        commands = re.findall(r"^ \*     (.+)$", (tmp_path / fragment.file_name).read_text(), re.MULTILINE)
        assert [command.split()[0] for command in commands] == ["dtc", "fdtoverlay"]
        for command in commands:
            subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
        tree = read_blob((tmp_path / shlex.split(commands[-1])[4]).read_bytes())
        pools = [(p.node_name, p.range) for guest in board.kvm_guests if guest.name == fragment.domain
                 for p in guest.pools]  # fmt: skip
        regions = [(r.node_name, r.range) for r in board.host_regions] if fragment.domain == board.control.name else []
        for name, where in pools + regions:
            node = tree.node(f"/reserved-memory/{name}")
            assert node is not None and node.ranges() == [where]
            placed += 1
        for guest in (guest for guest in board.kvm_guests if guest.name == fragment.domain):
            for device in (device for device in guest.devices if device.pool is not None):
                (node,) = (node for node in tree.root.walk() if node.name == device.node_name)
                assert tree.by_phandle()[node.number("memory-region")].name == device.pool.node_name
    assert placed == len(board.host_regions) + sum(len(guest.pools) for guest in board.kvm_guests)


def base(blob: Path, memory_bytes: int) -> None:
    machine = f"virt,virtualization=on,gic-version=3,acpi=off,dumpdtb={blob}"
    command = ["qemu-system-aarch64", "-nodefaults", "-display", "none", "-cpu", "cortex-a57", "-machine", machine]
    subprocess.run([*command, "-m", f"{memory_bytes >> 20}M"], check=True, capture_output=True)


def test_one_fragment_goes_to_stdout_and_two_do_not(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    text = (EXAMPLES / "kvm-pool.yaml").read_text()
    more = "regions:\n  set-aside: {size: 2MiB, owner: host, use: shared-memory}\n"
    path.write_text(text.replace("regions:\n", more))
    done = vtool("dt", path)
    assert done.returncode == 2 and "VT442" in done.stderr and "--domain fe0" in done.stderr
    assert "restricted-dma-pool" in vtool("dt", path, "--domain", "fe0").stdout
    assert "vtool-set-aside@" in vtool("dt", path, "--domain", "host").stdout


# --- all of them


def test_help_has_an_example_that_works(tmp_path: Path) -> None:
    for verb in ("map", "graph", "paths", "dt"):
        said = vtool(verb, "--help").stdout
        example = shlex.split(said.split("example: vtool ")[1].splitlines()[0].split(" > ")[0])
        words = [str(ROOT / word) if word.endswith(".yaml") else word for word in example]
        command = [sys.executable, "-m", "vtool.cli.main", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout or list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("map", "--board"), ("map", "--domain"), ("dt", "--board"), ("dt", "--domain")])
def test_a_view_of_nothing_is_refused(words: tuple[str, str]) -> None:
    verb, option = words
    done = vtool(verb, EXAMPLES / "kvm-pool.yaml", option, "fe9")
    assert done.returncode == 2 and "VT441" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("verb", ["map", "graph"])
def test_a_file_that_cannot_be_written_is_said(verb: str, tmp_path: Path) -> None:
    done = vtool(verb, EXAMPLES / "kvm-pool.yaml", "-o", tmp_path / "no" / "file")
    assert done.returncode == 1 and "VT100" in done.stderr and "no such file" in done.stderr
