"""The matrix that stands for none: every deployed path of a board's hypervisor, against shared RAM by its program.

It is written as a user would write one, and read as such. Enter at ``default_matrix``, and at ``matrix_text`` for what
a user may begin with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from vtool.bench.matrix import LoadedMatrix, Matrix, with_topologies
from vtool.data_paths import DataPath
from vtool.diagnostics import Diagnostic, VtoolError
from vtool.diagnostics.codes import declare
from vtool.model.combinations import Combination, combinations
from vtool.model.devices import Device, Program
from vtool.model.topology import OWN_RAMDISKS, Domain, Role, Start, Topology
from vtool.model.validate import validate_as
from vtool.reading.source import parse

MEASURED = ("blk", "net", "fs")
DEFAULT_FILE = Path("<default matrix>")
"""Where what is wrong with it stands; ``vtool bench --print-matrix`` prints it, line for line."""
_WORKLOADS: Mapping[str, Any] = {
    "disk": {"tool": "fio", "pattern": ["randread", "randwrite"], "block_size": ["4KiB", "64KiB"], "depth": 1},
    "disk-deep": {"tool": "fio", "pattern": "randread", "block_size": "4KiB", "depth": 32},
    "net-stream": {"tool": "iperf3", "direction": ["send", "receive"]},
    "net-ping": {"tool": "sockperf", "length": [64, 4096]},
}
_TYPES = {"disk": {"blk", "fs"}, "disk-deep": {"blk", "fs"}, "net-stream": {"net"}, "net-ping": {"net"}}
_POOL, _BRIDGE = "16MiB", "benchbr0"
_BASELINE = next(path for path in DataPath if path.value == "shared-ram")


declare(
    "VT971",
    what="a topology has nothing that the default matrix measures",
    why="It measures the data paths of disks, networks and shares that a board serves to its guests.",
    example="vtool bench topology/examples/kvm-passthrough.yaml",
    fix="Write a matrix with workloads for what it has (mbw and start measure guests), and name it: --matrix FILE.",
)


def default_matrix(path: Path, topology: Topology, seconds: int, repetitions: int) -> LoadedMatrix:
    """Return the matrix for one topology's guests. VtoolError as of a user's, VT971 where nothing is measured."""
    document = parse(matrix_text(path, topology, seconds, repetitions), DEFAULT_FILE)
    return with_topologies(document, validate_as(Matrix, document), (path,))


def matrix_text(path: Path, topology: Topology, seconds: int, repetitions: int) -> str:
    """Return it as YAML, with what it is and how to use it as comments. VtoolError VT971."""
    said = _said(path, topology, seconds, repetitions)
    comment = (
        f"# What vtool bench measures of {path} without --matrix. Save it as FILE, change it, then:\n"
        f"#     vtool bench --matrix FILE {path} -o DIR\n"
    )
    return comment + yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=200)


def _said(path: Path, topology: Topology, seconds: int, repetitions: int) -> dict[str, Any]:
    types = {device.type for _, device in _measured(topology)}
    if not types:
        raise VtoolError(_nothing_measured(path, topology))
    # A network without an address of its backend has nobody to send to.
    if not any(device.network.backend_address for _, device in _measured(topology) if device.type == "net"):
        types.discard("net")
    workloads = {
        name: {**said, "seconds": seconds, "warmup_s": max(1, seconds // 5)}
        for name, said in _WORKLOADS.items()
        if types & _TYPES[name]
    }
    choices = _choices(topology)
    baseline = {"path": _BASELINE.value} if _BASELINE.value in choices else {}
    if not workloads:
        raise VtoolError(_nothing_measured(path, topology))
    return {
        "version": 1,
        "name": f"{topology.name}-paths"[:31],
        "axes": {**_tools(topology), **({"path": {"choices": choices}} if choices else {})},
        "baseline": baseline,
        "workloads": workloads,
        "repetitions": repetitions,
    }


def _nothing_measured(path: Path, topology: Topology) -> Diagnostic:
    """Say of each device why it is not measured, and what can be."""
    message = (
        f"'{path}' has nothing that the default matrix measures: disks, networks and shares on paths that are "
        "deployed, which a board's control domain serves"
    )
    detail = [f"'{name}': {_why_not(topology, device)}" for name, device in topology.devices.items()]
    detail += [
        f"'{name}' has devices of the board passed through: no backend serves those"
        for name, domain in topology.domains.items()
        if domain.passthrough or domain.pci
    ]
    guests = [name for name, one in topology.domains.items() if one.role is Role.GUEST and _can_start(one)]
    hint = (
        "its guests can be measured: write `workloads: {memory: {tool: mbw}, start: {tool: start}}` into a matrix and "
        f"name it: vtool bench --matrix FILE {path}"
        if guests
        else "give a guest a disk or a network: of one that Xen builds at boot nothing else is reached"
    )
    return Diagnostic("VT971", message, hints=(hint,), detail=tuple(detail) or ("it has no devices",))


def _can_start(domain: Domain) -> bool:
    return domain.start is not Start.DOM0LESS


def _why_not(topology: Topology, device: Device) -> str:
    if device.type not in MEASURED:
        return f"'{device.type}' is no disk, network or share"
    if topology.domains[device.backend].role is not Role.CONTROL:
        return f"another guest serves it, '{device.backend}'"
    if not _of_hypervisor(topology, device, None):
        return f"no way to serve a '{device.type}' under {_hypervisor(topology, device.frontend)} is deployed"
    return "it has no `backend_address` to send to"


def _choices(topology: Topology) -> dict[str, Any]:
    """Return every path, and shared RAM by the programs of one where it would be by others: its baseline."""
    settings = {path: [*_settings(topology, path)] for path in DataPath}
    choices: dict[str, Any] = {path.value: {"set": found} for path, found in settings.items() if found}
    names = {tuple(settings[_BASELINE]): _BASELINE.value} if settings[_BASELINE] else {}
    for path in DataPath if names else ():
        like = tuple(_settings(topology, _BASELINE, path))
        name = names.setdefault(like, f"{_BASELINE.value}-as-{path.value}")
        if settings[path] and name != _BASELINE.value:
            choices.setdefault(name, {"set": [*like]})
            choices[path.value]["baseline"] = {"path": name}
    return choices


def _tools(topology: Topology) -> Mapping[str, Any]:
    """Return an axis of one value: guests with vtool's own ramdisk get the one that has the tools."""
    guests = [name for name, domain in topology.domains.items() if domain.ramdisk == OWN_RAMDISKS[0]]
    changes = [f"domains.{name}.ramdisk={OWN_RAMDISKS[1]}" for name in guests]
    return {"tools": {"choices": {"in-ramdisk": {"set": changes}}}} if changes else {}


def _measured(topology: Topology) -> Iterator[tuple[str, Device]]:
    """Yield what is varied: disks and networks that a board's control domain, or a ring, serves."""
    for name, device in topology.devices.items():
        by_board = topology.domains[device.backend].role is Role.CONTROL
        if device.type in MEASURED and by_board and _of_hypervisor(topology, device, None):
            yield name, device


def _hypervisor(topology: Topology, frontend: str) -> str:
    board = topology.domains[frontend].board or next(iter(topology.boards))
    return topology.boards[board].hypervisor.kind


def _of_hypervisor(
    topology: Topology, device: Device, path: DataPath | None, like: Combination | None = None
) -> list[Combination]:
    """Return the ways to serve a device that are deployed, those nearest to another, or to how it is served, first."""
    near = like or device
    hypervisor = _hypervisor(topology, device.frontend)
    found = [
        one
        for one in combinations()
        if one.deployed and (one.hypervisor, one.type) == (hypervisor, device.type) and path in (None, one.data_path)
    ]
    return sorted(found, key=lambda one: (one.program is not near.program, one.transport is not near.transport))


def _settings(topology: Topology, path: DataPath, like: DataPath | None = None) -> Iterator[str]:
    """Yield what puts every measured device on a path; nothing where the hypervisor does not have it.

    ``like``: by the program that serves that path, where it serves this one, too. A device of a type that the path does
    not serve goes to shared RAM, so that the guest has one path beside that.
    """
    measured = [*_measured(topology)]
    on_it = {device.frontend: device for _, device in measured if _way(topology, device, path) is not None}
    if not on_it:
        return
    for name, device in measured:
        way = _way(topology, device, path, like) or _way(topology, device, _BASELINE)
        if way is not None:
            yield from _of_device(name, device, way)
    for frontend, device in on_it.items():
        yield from _of_guest(topology, path, frontend, device.backend)


def _way(topology: Topology, device: Device, path: DataPath, like: DataPath | None = None) -> Combination | None:
    """Return how a device is served on a path; under KVM a ring needs a guest to serve it: another topology."""
    near = _way(topology, device, like) if like is not None else None
    if path.traits.carries_data and _hypervisor(topology, device.frontend) == "kvm":
        return None
    return next(iter(_of_hypervisor(topology, device, path, near)), None)


def _of_device(name: str, device: Device, way: Combination) -> Iterator[str]:
    key, frontend, traits = f"devices.{name}", device.frontend, way.data_path.traits
    yield f"{key}.data_path={way.data_path.value}"
    yield f"{key}.program={way.program.value}"
    yield f"{key}.transport={way.transport.value}"
    if traits.pooled:
        yield f"{key}.region=bench-{frontend}"
    elif traits.at_both_ends:
        yield f"{key}.region=bench-{name}"
        ring = {"size": "2MiB", "borrowers": [frontend, device.backend], "use": "shared-memory"}
        yield f"regions.bench-{name}={json.dumps(ring)}"
    elif device.region is not None:
        yield f"{key}.region="
    if device.type == "net":
        # passt forwards, and a ring is a link of two ends; all others are plugged into a bridge.
        bridged = way.program is not Program.PASST and not traits.carries_data
        if bridged != bool(device.network.bridge):
            yield f"{key}.network.bridge={_BRIDGE if bridged else ''}"


def _of_guest(topology: Topology, path: DataPath, frontend: str, backend: str) -> Iterator[str]:
    if path.traits.pooled:
        pool = {"size": _POOL, "owner": frontend, "borrowers": [backend], "use": "restricted-dma-pool"}
        yield f"regions.bench-{frontend}={json.dumps(pool)}"
    iommus = [name for name, one in topology.devices.items() if one.type == "iommu" and one.frontend == frontend]
    if not path.traits.translated:
        yield from (f"devices.{name}=" for name in iommus)
    elif not iommus:
        iommu = {
            "type": "iommu", "frontend": frontend, "backend": backend, "program": "qemu", "transport": "pci",
            "data_path": "shared-ram",
        }  # fmt: skip
        yield f"devices.bench-iommu-{frontend}={json.dumps(iommu)}"
    if _hypervisor(topology, frontend) == "xen" and (path.traits.pooled or path.traits.at_both_ends):
        yield f"domains.{frontend}.start=dom0less"
