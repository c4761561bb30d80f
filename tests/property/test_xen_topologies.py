"""Generated Xen topologies: what is planned is disjoint and in RAM, stays, and is what trees and configurations say.

``VTOOL_EXAMPLES=5000 pytest tests/property/test_xen_topologies.py`` looks further.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libfdt
import yaml
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.property.xen_topologies import DOM0, FACTS, base_tree, topologies
from vtool.base.units import KIB, MIB, PAGE_BYTES, AddressRange, format_cpu_list, free_ranges
from vtool.check import check
from vtool.check.context import XenBuild
from vtool.deploy.merged_tree import complete, differences
from vtool.deploy.stage import stage
from vtool.diagnostics import Severity, VtoolError
from vtool.lint import Kind, lint
from vtool.model.topology import Enhanced
from vtool.model.validate import validate
from vtool.plan.lock import format_lock
from vtool.plan.planner import make_plan
from vtool.plan.types import BoardPlan, EventChannelEnd, Plan, SharedView, XenBootGuest
from vtool.platform import layouts
from vtool.platform.devicetree import read_blob
from vtool.platform.xen_releases import VERSIONS
from vtool.reading.source import load
from vtool.render import render

EXAMPLES = int(os.environ.get("VTOOL_EXAMPLES", "100"))
slowly = settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
REFUSALS = {
    *("VT347", "VT370", "VT372", "VT373", "VT374", "VT375", "VT376", "VT377", "VT378", "VT398", "VT400", "VT401"),
    *("VT353", "VT354", "VT357", "VT358", "VT403", "VT404", "VT406", "VT410", "VT415", "VT416", "VT450"),
}
IMAGE_BYTES = 4 * MIB
FOLDER = tempfile.TemporaryDirectory()  # one, because plans name the places of what they were told


class Refused(Exception):
    """The topology is wrong, and was found to be so at places."""


def planned(data: dict[str, Any], lock: dict[str, int] | None = None) -> Plan:
    """Check and plan. Refused when that ends with findings, each of which has a place and is one of those expected."""
    path = Path(FOLDER.name) / "topology.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    document = load(path)
    topology = validate(document)
    board = data["boards"]["board0"]
    facts = {"board0": FACTS[board["facts"]]}
    xens = {"board0": XenBuild((4, int(board["hypervisor"]["version"][2:])), None, "generated")}
    try:
        found = [f for f in check(document, topology, facts, {}, xens) if f.severity is Severity.ERROR]
        if found:
            raise VtoolError(found)
        return make_plan(document, topology, {"board0": facts["board0"].facts}, lock)
    except VtoolError as error:
        for finding in error.diagnostics:
            assert finding.code in (REFUSALS | {"VT411"} if lock else REFUSALS), finding
            assert finding.span is not None and finding.span.path == path, finding
            event(f"refused with {finding.code}")
        raise Refused from error


def placed(board: BoardPlan) -> Iterator[tuple[str, AddressRange, bool]]:
    """Yield what has a place in host memory, with whether vtool chose it."""
    boot = board.xen_boot
    for region in board.host_regions:
        yield f"region {region.region}", region.range, region.origin.kind.value == "allocated"
    if boot.static_heap:
        yield "heap", boot.static_heap.range, boot.static_heap.origin.kind.value == "allocated"
    seen = set()
    for view in views(board):
        if view.host and view.region not in seen:
            seen.add(view.region)
            yield f"region {view.region}", view.host, view.host_origin.kind.value == "allocated"
    for guest in boot.guests:
        if guest.static_memory:
            yield guest.name, guest.static_memory[0].range, guest.static_memory[0].origin.kind.value == "allocated"
        for module in guest.modules:
            yield module.file, module.window, False


def views(board: BoardPlan) -> list[SharedView]:
    return [*board.xen_boot.shared, *(view for guest in board.xen_boot.guests for view in guest.shared)]


def numbers(plan: Plan) -> dict[str, int]:
    found: dict[str, int] = json.loads(format_lock(plan))["numbers"]
    return found


@slowly
@given(st.booleans().flatmap(topologies))
def test_places_are_nobody_elses_and_in_ram(data: dict[str, Any]) -> None:
    try:
        (board,) = planned(data).boards
    except Refused:
        event("refused")
        return
    event("planned")
    facts = board.facts
    everything = list(placed(board))
    loaded = {m.window for guest in board.xen_boot.guests for m in guest.modules} if facts.boot else set()
    for (one, a, _), (other, b, _) in itertools.combinations(everything, 2):
        assert not a.overlaps(b), (one, other)
    for what, where, chosen in everything:
        assert any(bank.contains(where) for bank in board.ram), what
        assert where in loaded or not any(where.overlaps(carve.range) for carve in facts.carve_outs), what
        assert where.base % (2 * MIB if chosen else PAGE_BYTES) == 0 and where.size_bytes % PAGE_BYTES == 0, what
    for guest in board.xen_boot.guests:
        inside = [view.inside for view in guest.shared]
        fixed = [] if guest.direct_map else [window for _, window in layouts.XEN_GUEST_WINDOWS]
        for a, b in itertools.combinations([*guest.ram, *inside, *fixed], 2):
            assert not a.overlaps(b), guest.name
        assert sum(bank.size_bytes for bank in guest.ram) == guest.memory_bytes
        if guest.direct_map:
            assert guest.static_memory and guest.ram == (guest.static_memory[0].range,)
            assert all(view.host == view.inside for view in guest.shared)
    assert all(view.host == view.inside for view in board.xen_boot.shared)
    ids = {view.region: view.xen_id for view in views(board)}
    assert len(set(ids.values())) == len(ids) and all(len(xen_id) <= 15 for xen_id in ids.values())
    roles = {name: sorted(view.role or "" for view in views(board) if view.region == name) for name in ids}
    assert all(set(found) == {""} or found.count("owner") == 1 for found in roles.values())


@slowly
@given(topologies(careless=False), st.sampled_from(["guest", "region", "channel"]), st.booleans())
def test_nothing_moves_when_more_is_added(data: dict[str, Any], kind: str, static: bool) -> None:
    try:
        before = planned(data)
    except Refused:
        event("refused")
        return
    assert planned(data) == before
    more = copy.deepcopy(data)
    names = [name for name, domain in data["domains"].items() if domain.get("start") == "dom0less"]
    if kind == "guest":
        more["domains"]["added"] = {"start": "dom0less", "memory": "32MiB", "xen": {"static_memory": static}}
    elif kind == "region":
        more["regions"]["added"] = {"size": "2MiB", "borrowers": names[:2] or [DOM0], "use": "shared-memory"}
        if not names:
            more["regions"]["added"] |= {"owner": DOM0, "borrowers": []}
    elif names:
        more["event_channels"]["added"] = {"between": [DOM0, names[0]]}
    try:
        after = planned(more)
        kept = planned(more, numbers(before))
    except Refused:
        event("no room for more")
        return
    event("added")
    newcomers = [where for what, where, _ in placed(after.boards[0]) if what in ("added", "region added")]
    in_the_way = any(where.overlaps(old) for where in newcomers for _, old, _ in placed(before.boards[0]))
    assert numbers(before).items() <= numbers(kept).items()
    # What grows from the two ends of RAM moves when it meets, and only then.
    assert in_the_way or numbers(before).items() <= numbers(after).items()


@slowly
@given(topologies(careless=False))
def test_trees_say_what_was_planned(data: dict[str, Any]) -> None:
    try:
        (board,) = planned(data).boards
    except Refused:
        event("refused")
        return
    event("merged")
    artifacts = render(board)
    assert render(planned(data).boards[0]) == artifacts
    name = data["boards"]["board0"]["facts"]
    with tempfile.TemporaryDirectory() as folder:
        image, work = Path(folder) / "image", Path(folder) / "work"
        image.write_bytes(b"image")
        work.mkdir()
        files = {f.name: f for f in stage("generated", board, artifacts, base_tree(name), lambda _: image, work).files}
        blob = files["board.dtb"].path.read_bytes()
        assert [*differences(read_blob(blob), board)] == [] and complete(blob, board, read_blob(blob)) == blob
        if board.xen_boot.guests:
            config = artifacts.get("imagebuilder.config").content
            assert sourced(config, folder, board) == [imagebuilder(board, guest) for guest in board.xen_boot.guests]
    tree = libfdt.Fdt(blob)
    handles = {node.path: node.phandle for node in read_blob(blob).root.walk() if node.phandle}
    widths = board.facts.device_tree.chosen_cells
    for guest in board.xen_boot.guests:
        assert read(tree, f"/chosen/{guest.node_name}") == wanted_of(guest, handles, widths), guest.name
    for view in board.xen_boot.shared:
        assert read(tree, f"/chosen/{view.node_name}") == wanted_of_view(view, widths)
    for end in board.xen_boot.event_channels:
        assert read(tree, f"/chosen/evtchn-{end.channel}") == wanted_of_end(end, handles)
    for node in board.passthrough:
        assert read(tree, node.path)["xen,passthrough"] == b""
    assert_lint_is_content(blob, board, data["boards"]["board0"]["hypervisor"]["version"])


def cells(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)


def wide(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "big") for value in values)


def number(value: int, count: int) -> bytes:
    return value.to_bytes(4 * count, "big")


def text(*words: str) -> bytes:
    return b"".join(word.encode() + b"\0" for word in words)


def read(tree: libfdt.Fdt, path: str) -> dict[str, Any]:
    """Read a node with libfdt: properties as bytes, children below their names, phandles left out."""
    at, found = tree.path_offset(path), {}
    offset = tree.first_property_offset(at, libfdt.QUIET_NOTFOUND)
    while offset >= 0:
        found_property = tree.get_property_by_offset(offset)
        found[found_property.name] = bytes(found_property)
        offset = tree.next_property_offset(offset, libfdt.QUIET_NOTFOUND)
    child = tree.first_subnode(at, libfdt.QUIET_NOTFOUND)
    while child >= 0:
        found[tree.get_name(child)] = read(tree, f"{path}/{tree.get_name(child)}")
        child = tree.next_subnode(child, libfdt.QUIET_NOTFOUND)
    return {name: value for name, value in found.items() if name not in ("phandle", "linux,phandle")}


CAPABILITIES = {"control": 1, "hardware": 2, "xenstore": 4}


def wanted_of(guest: XenBootGuest, handles: dict[str, int], widths: tuple[int, int]) -> dict[str, Any]:
    """Write the node of a guest as docs/misc/arm/device-tree/booting.txt has it; ``widths`` are /chosen's."""
    value = {setting.row.field: setting.value for setting in guest.settings}
    numbers_of = {
        "cpus": guest.cpus,
        "nr_spis": value["spis"],
        "xen,domain-p2m-mem-mb": value["p2m_memory"] and value["p2m_memory"] // MIB,
        "capabilities": sum(CAPABILITIES[name] for name in value["capabilities"]) or None,
        "trap-unmapped-accesses": None if value["trap_unmapped_accesses"] else 0,
        "sve": value["sve"] or None,
        "max_grant_version": value["max_grant_version"],
        "max_grant_frames": value["max_grant_frames"],
        "max_maptrack_frames": value["max_maptrack_frames"],
    }
    words = {
        "compatible": "xen,domain",
        "xen,enhanced": guest.enhanced.value if guest.enhanced else None,
        "llc-colors": format_cpu_list(value["llc_colors"]) or None,
        "xen,sci_type": "scmi_smc" if value["scmi_smc"] else None,
        "passthrough": "enabled" if guest.passthrough and guest.device_tree is None else None,
    }
    flags = {"vpl011": guest.uart, "direct-map": guest.direct_map, "sve": value["sve"] == 0}
    wanted: dict[str, Any] = {"#address-cells": cells(2), "#size-cells": cells(2)}
    wanted |= {name: cells(value) for name, value in numbers_of.items() if value is not None}
    wanted |= {name: text(value) for name, value in words.items() if value is not None}
    wanted |= {name: b"" for name, there in flags.items() if there}
    wanted["memory"] = wide(guest.memory_bytes // KIB)
    if guest.static_memory:
        wanted["xen,static-mem"] = number(guest.static_memory[0].range.base, widths[0]) + number(
            guest.memory_bytes, widths[1]
        )
    if guest.cpupool:
        (handle,) = [h for path, h in handles.items() if path.replace("-", "_") == f"/chosen/{guest.cpupool}"]
        wanted["domain-cpupool"] = cells(handle)
    for module in guest.modules:
        node = {"compatible": text(module.compatible, "multiboot,module")}
        node["reg"] = wide(module.window.base, module.window.size_bytes)
        if module is guest.kernel:
            node["bootargs"] = text(guest.bootargs)
        wanted[module.node_name] = node
    for vcpu, cpus in enumerate(guest.affinity):
        affinity = text(format_cpu_list(cpus))
        wanted[f"vcpu{vcpu}"] = {"compatible": text("xen,vcpu"), "id": cells(vcpu), "hard-affinity": affinity}
    wanted |= {view.node_name: wanted_of_view(view, (2, 2)) for view in guest.shared}
    wanted |= {f"evtchn-{end.channel}": wanted_of_end(end, handles) for end in guest.event_channels}
    return wanted


def wanted_of_view(view: SharedView, widths: tuple[int, int]) -> dict[str, bytes]:
    addresses = [*([view.host.base] if view.host else []), view.inside.base]
    places = b"".join(number(address, widths[0]) for address in addresses) + number(view.inside.size_bytes, widths[1])
    wanted = {"compatible": text("xen,domain-shared-memory-v1"), "xen,shm-id": text(view.xen_id)}
    return wanted | {"xen,shared-mem": places} | ({"role": text(view.role)} if view.role else {})


def wanted_of_end(end: EventChannelEnd, handles: dict[str, int]) -> dict[str, bytes]:
    folder = "/chosen" if end.other_domain == DOM0 else f"/chosen/domain-{end.other_domain}"
    other = handles[f"{folder}/evtchn-{end.channel}"]
    return {"compatible": text("xen,evtchn-v1"), "xen,evtchn": cells(end.port, other)}


def imagebuilder(board: BoardPlan, guest: XenBootGuest) -> list[str]:
    static = guest.static_memory[0].range if guest.static_memory else None
    view = next(iter(guest.shared), None)
    host = f"{view.host.base:#x} " if view and view.host else ""
    pools = [pool.label for pool in board.xen_boot.cpupools]
    value = {setting.row.field: setting.value for setting in guest.settings}
    return [
        *(guest.kernel.file, guest.bootargs, str(guest.memory_bytes // MIB), str(guest.cpus), str(int(guest.uart))),
        str({Enhanced.ENABLED: 1, Enhanced.NO_XENSTORE: 2}.get(guest.enhanced, 0)),
        f"{static.base:#x} {static.size_bytes:#x}" if static else "",
        f"{view.xen_id} {host}{view.inside.base:#x} {view.inside.size_bytes:#x}" if view else "",
        str(pools.index(guest.cpupool)) if guest.cpupool else "",
        format_cpu_list(guest.affinity[0]) if guest.affinity else "",
        str(sum(CAPABILITIES[name] for name in value["capabilities"]) or ""),
    ]


def sourced(config: str, folder: str, board: BoardPlan) -> list[list[str]]:
    """Read the configuration as the script does that it is for."""
    (Path(folder) / "config").write_text(config)
    keys = ["KERNEL", "CMD", "MEM", "VCPUS", "VPL011", "ENHANCED", "STATIC_MEM", "SHARED_MEM", "CPUPOOL"]
    values = [*(f"${{DOMU_{key}[i]-}}" for key in keys), "${DOMU_VCPU_HARD_AFFINITY[$i,0]-}", "${DOMU_CAPS[i]-}"]
    shown = "declare -A DOMU_VCPU_HARD_AFFINITY; source ./config; for ((i = 0; i < NUM_DOMUS; i++)); do "
    shown += "; ".join(f"printf '%s\\0' \"{value}\"" for value in values) + "; done"
    done = subprocess.run(["bash", "-euc", shown], cwd=folder, capture_output=True, text=True, check=True)
    words = done.stdout.split("\0")[:-1]
    assert len(words) == len(values) * len(board.xen_boot.guests)
    return [words[at : at + len(values)] for at in range(0, len(words), len(values))]


def assert_lint_is_content(blob: bytes, board: BoardPlan, release: str) -> None:
    """Add what U-Boot adds, dom0 and command lines, and let the other judge of trees look at it."""
    taken = [where for _, where, _ in placed(board)] + [carve.range for carve in board.facts.carve_outs]
    free = [gap for gap in free_ranges(board.ram, taken) if gap.size_bytes >= IMAGE_BYTES]
    tree = libfdt.Fdt(blob)
    tree.resize(len(blob) + 8 * KIB)
    chosen = tree.path_offset("/chosen")
    words = (board.xen_bootargs or "").split()
    words += [] if any(word.startswith("dtuart=") for word in words) else ["console=dtuart", "dtuart=serial0"]
    tree.setprop_str(chosen, "xen,xen-bootargs", " ".join(words))
    widths = board.facts.device_tree.chosen_cells
    tree.setprop(tree.path_offset("/chosen"), "#address-cells", cells(widths[0]))
    tree.setprop(tree.path_offset("/chosen"), "#size-cells", cells(widths[1]))
    where = free[0].base if free else 0
    kernel = tree.add_subnode(tree.path_offset("/chosen"), f"module@{where:x}")
    tree.setprop(kernel, "compatible", text("multiboot,kernel", "multiboot,module"))
    kernel = tree.path_offset(f"/chosen/module@{where:x}")
    tree.setprop(kernel, "reg", number(where, widths[0]) + number(IMAGE_BYTES, widths[1]))
    tree.setprop_str(tree.path_offset(f"/chosen/module@{where:x}"), "bootargs", board.control.bootargs or "quiet")
    for guest in board.xen_boot.guests:
        for module in guest.modules:
            at = tree.path_offset(f"/chosen/{guest.node_name}/{module.node_name}")
            tree.setprop(at, "reg", wide(module.window.base, PAGE_BYTES))
    version = next(version for version in VERSIONS if str(version) == release)
    kind, findings = lint(read_blob(bytes(tree.as_bytearray())), version)
    errors = [f"{f.code} {f.node.path}: {f.message}" for f in findings if f.severity is Severity.ERROR]
    assert (kind, errors) == (Kind.XEN, [])
