"""Generated KVM topologies: places are nobody else's, pools lie behind RAM, nothing moves when more is added."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.device_settings import settings_for, socket_for
from vtool.base.units import MIB
from vtool.check import check
from vtool.data_paths import DataPath
from vtool.diagnostics import Severity
from vtool.model.combinations import Combination, combinations
from vtool.model.devices import Program
from vtool.model.validate import load_facts, validate
from vtool.plan.planner import make_plan
from vtool.plan.types import BoardPlan, MmioPlace
from vtool.platform.layouts import QEMU_VIRT_RAM_BASE
from vtool.reading.source import load
from vtool.render import render

quickly = settings(max_examples=60, deadline=None, derandomize=True, database=None)
FACTS = load_facts("qemu-virt")
SOCKET_PATH_BYTES = 108  # sun_path of unix(7), the NUL included
ROWS = [row for row in combinations() if row.hypervisor == "kvm" and row.type not in ("ivshmem", "iommu")]
INSIDE = [(DataPath.SHARED_RAM, Program.QEMU)]
# Beside a pool nothing else may be shared, and a pool stands behind no IOMMU: each guest keeps to a family.
FAMILIES = [
    [row for row in ROWS if row.data_path is DataPath.SHARED_RAM],
    [row for row in ROWS if (row.data_path, row.program) in INSIDE or row.data_path is DataPath.POOL],
    [row for row in ROWS if row.data_path in (DataPath.POOL_IN_RAM, DataPath.SHARED_RAM)],
]
LONGEST = "a" * 31


def settings_of(row: Combination, number: int) -> dict[str, Any]:
    address = {"frontend_address": f"192.0.2.{number + 2}/24", "backend_address": "192.0.2.1/24"}
    if row.type == "net":
        return {"network": {"bridge": "kvmbr0", **address} if row.program is Program.QEMU else {}}
    if row.type == "console" and row.program is Program.QEMU:
        return {}
    return settings_for(row.type, row.program.value, number)


def device(row: Combination, frontend: str, number: int) -> dict[str, Any]:
    choices = {"program": row.program.value, "transport": row.transport.value, "data_path": row.data_path.value}
    pool = {"region": f"pool-{frontend}"} if row.data_path in (DataPath.POOL, DataPath.POOL_IN_RAM) else {}
    own = {**pool, **socket_for(row.program.value, number)}
    return {"type": row.type, "frontend": frontend, "backend": "host", **choices, **own, **settings_of(row, number)}


def topology(guests: list[list[Combination]]) -> dict[str, Any]:
    names = [f"fe{index}" for index in range(len(guests))]
    requests = [(name, row) for name, rows in zip(names, guests, strict=True) for row in rows]
    devices = {f"{LONGEST[:28]}{number}": device(row, name, number) for number, (name, row) in enumerate(requests)}
    pooled = dict.fromkeys(d["frontend"] for d in devices.values() if "region" in d)
    pool = {"size": "128MiB", "borrowers": ["host"], "use": "restricted-dma-pool"}
    return {
        "version": 1,
        "name": "generated",
        "boards": {"board0": {"facts": "qemu-virt", "hypervisor": {"kind": "kvm", "suite": "sid"}}},
        "domains": {"host": {"role": "control"}} | {name: {"memory": "160MiB"} for name in names},
        "regions": {f"pool-{name}": {**pool, "owner": name} for name in pooled},
        "devices": devices,
    }


def planned(data: dict[str, Any]) -> BoardPlan:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "topology.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        document = load(path)
    checked = validate(document)
    found = check(document, checked, {"board0": FACTS}, {})
    # VT405: a guest has one pool here, which may be of a console and disks.
    assert [each for each in found if each.severity is Severity.ERROR and each.code != "VT405"] == []
    return make_plan(document, checked, {"board0": FACTS.facts}).boards[0]


guests = st.lists(
    st.sampled_from(FAMILIES).flatmap(lambda family: st.lists(st.sampled_from(family), max_size=12)),
    min_size=1, max_size=3,
)  # fmt: skip


@quickly
@given(guests)
def test_every_place_is_nobody_elses(request: list[list[Combination]]) -> None:
    board = planned(topology(request))
    for guest in board.kvm_guests:
        places = [device.place for device in guest.devices]
        assert len(set(places)) == len(places)
        mmio = [place for place in places if isinstance(place, MmioPlace)]
        assert [place.slot for place in mmio] == list(range(len(mmio)))
        assert [place.slot for place in places if place not in mmio] == list(range(2, 2 + len(places) - len(mmio)))
    devices = [device for guest in board.kvm_guests for device in guest.devices]
    sockets = [device.backend.socket for device in devices if device.backend]
    macs = [mac for device in devices if (mac := device.setting("mac"))]
    taps = [device.tap.name for device in devices if device.tap]
    for unique in (sockets, macs, taps):
        assert len(set(unique)) == len(unique)
    assert all(len(path.encode()) < SOCKET_PATH_BYTES for path in sockets)
    assert all(len(name) <= 15 for name in taps)
    units = [artifact.name for artifact in render(board).artifacts]
    assert len(set(units)) == len(units)


@quickly
@given(guests)
def test_pools_lie_behind_ram_and_backends_see_what_they_shall(request: list[list[Combination]]) -> None:
    for guest in planned(topology(request)).kvm_guests:
        cursor = guest.ram.end
        for pool in guest.pools:
            assert pool.range.base == cursor
            cursor = pool.range.end
        assert QEMU_VIRT_RAM_BASE + sum(memory.size_bytes for memory in guest.memory) == cursor
        paths = {device.data_path for device in guest.devices if device.backend}
        seen = {device.backend.maps_bytes for device in guest.devices if device.backend}
        if paths == {DataPath.POOL}:
            assert seen == {sum(pool.range.size_bytes for pool in guest.pools)}
        elif paths:
            assert seen == {cursor - guest.ram.base}
        # A daemon of another tool's has it shared, too.
        shared = paths or any(device.program is Program.VHOST_USER for device in guest.devices)
        assert any(memory.shared for memory in guest.memory) == bool(
            shared or (guest.pools and guest.pools[0].numa_node)
        )


@quickly
@given(guests, st.sampled_from(FAMILIES[0]))
def test_same_bytes_again_and_nothing_moves_when_more_is_added(
    request: list[list[Combination]], more: Combination
) -> None:
    before = planned(topology(request))
    assert render(planned(topology(request))) == render(before)
    after = planned(topology([*request, [more]]))
    assert after.kvm_guests[: len(request)] == before.kvm_guests
    kept = {a.name: a.content for a in render(after).artifacts}
    for artifact in render(before).artifacts:
        if artifact.name not in ("manifest.json", "units/vtool.target"):
            assert kept[artifact.name] == artifact.content


@quickly
@given(st.lists(st.sampled_from(FAMILIES[0]), max_size=10), st.sampled_from(FAMILIES[0]))
def test_a_device_added_to_a_guest_moves_none_of_its_others(request: list[Combination], more: Combination) -> None:
    (before,) = planned(topology([request])).kvm_guests
    (after,) = planned(topology([[*request, more]])).kvm_guests
    kept = zip(before.devices, after.devices, strict=False)
    assert all((old.place, old.options) == (new.place, new.options) for old, new in kept)
    assert after.ram == before.ram and after.ram.size_bytes == 160 * MIB
