"""A first topology, for somebody who has none: one guest, with the disk and the network that are wished for.

It has what cannot be left out, and says the rest by leaving it out. Who serves a data path is the first combination
that is deployed. Whether the board has room for all of it, the rules say. Enter at ``first_topology``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vtool.base.records import record
from vtool.base.units import GIB, MIB, format_size
from vtool.data_paths import DataPath
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError, nearest
from vtool.diagnostics.codes import declare
from vtool.model.board_facts import BoardFacts
from vtool.model.combinations import Combination, combinations
from vtool.model.devices import Program
from vtool.model.topology import OF_THE_BOARD, OWN_RAMDISKS, QEMU_XENPVH, RegionUse, Role, Start

DISK, NETWORK = "blk", "net"
WORDS = {DISK: "disk", NETWORK: "network"}
_SHORT = {DISK: "disk", NETWORK: "net"}
_GUEST, _PEER = "fe0", "be0"
_FRONTEND_ADDRESS, _BACKEND_ADDRESS = "192.0.2.2/24", "192.0.2.1/24"  # RFC 5737: nobody's

declare(
    "VT160",
    what="vtool new cannot write what is wished for",
    why="Not every board and hypervisor takes every data path, and a first topology has to be valid as it stands.",
    example="vtool new --board rpi4 --hypervisor kvm --disk pv -o lab.yaml",
    fix="Use one of the words that the hint lists; vtool paths says what each needs.",
)


@record
class Wish:
    """What is wished for. ``facts`` is what the topology is to say; ``paths`` are words, by type of device.

    ``own_kernel``: the board has a system of its own, whose kernel it goes on with.
    """

    facts: str
    hypervisor: str
    paths: Mapping[str, str]
    own_kernel: bool


def words_for(hypervisor: str, device_type: str) -> list[str]:
    """Return the data paths by which a hypervisor's guest can have such a device, deployed and proven."""
    rows = [row for row in combinations() if (row.hypervisor, row.type) == (hypervisor, device_type) and row.deployed]
    return [path.value for path in DataPath if any(row.data_path is path for row in rows)]


def first_topology(name: str, wish: Wish, facts: BoardFacts) -> dict[str, Any]:
    """Return the topology as plain data. Raises VtoolError VT160 for a path that the hypervisor does not have."""
    rows = {device_type: _chosen(wish.hypervisor, device_type, word) for device_type, word in wish.paths.items()}
    xen = wish.hypervisor == "xen"
    # A guest that shares a region before it runs is built by Xen itself; xl's guests get theirs from dom0.
    at_boot = xen and any(row.data_path.traits.pooled or row.data_path.traits.at_both_ends for row in rows.values())
    # Under KVM both ends of a ring are guests.
    control, peer = ("dom0", "dom0") if xen else ("host", _PEER)
    rings = not xen and any(row.data_path.traits.carries_data for row in rows.values())
    guest = {"memory": format_size(256 * MIB), "ramdisk": OWN_RAMDISKS[0]}
    written: dict[str, Any] = {
        "version": 1,
        "name": name,
        "boards": {"board0": {"facts": wish.facts, "hypervisor": _hypervisor(wish.hypervisor, [*rows.values()])}},
        "domains": {
            control: _control(wish, facts),
            _GUEST: {**({"start": Start.DOM0LESS.value} if at_boot else {}), **guest},
            **({_PEER: guest} if rings else {}),
        },
    }
    devices: dict[str, Any] = dict(_helpers(control, [*rows.values()]))
    regions: dict[str, Any] = {}
    for device_type, row in rows.items():
        device = f"{_SHORT[device_type]}0"
        ring = row.data_path.traits.carries_data
        behind = {"backend_device": "/dev/vda"} if ring and rings and device_type == DISK else _behind(row, ring=ring)
        region = dict(_region(row, device, control if not ring else peer, xen=xen))
        regions |= region
        devices[device] = {
            "type": device_type,
            **_served(_GUEST, peer if ring else control, row),
            **({"region": next(iter(region))} if region else {}),
            **behind,
        }
    return {**written, **({"regions": regions} if regions else {}), **({"devices": devices} if devices else {})}


def _chosen(hypervisor: str, device_type: str, word: str) -> Combination:
    for row in combinations():
        if (row.hypervisor, row.type, row.data_path.value) == (hypervisor, device_type, word) and row.deployed:
            return row
    what, there = WORDS[device_type], words_for(hypervisor, device_type)
    message = f"under {hypervisor} no {what} by '{word}' is deployed"
    hints = (*nearest(word, there), f"there are: {', '.join(there)}; `vtool paths` says what each needs")
    raise VtoolError(Diagnostic("VT160", message, hints=hints), ExitCode.USAGE)


def _hypervisor(kind: str, rows: list[Combination]) -> dict[str, str]:
    by_qemu = any(row.program is Program.QEMU_XENPVH for row in rows)
    found = {"kind": kind}
    if kind == "xen" and (by_qemu or any(row.data_path.traits.at_both_ends for row in rows)):
        found["image"] = "vtool:xen"
    if by_qemu:
        found["qemu_image"] = QEMU_XENPVH
    return found


def _control(wish: Wish, facts: BoardFacts) -> dict[str, Any]:
    found: dict[str, Any] = {"role": Role.CONTROL.value}
    if wish.own_kernel:
        found["kernel"] = OF_THE_BOARD
    if wish.hypervisor == "xen":
        ram = sum(bank.size for bank in facts.ram)
        most = 1 << (ram // 3).bit_length() - 1  # a power of two, and two thirds for the rest
        found |= {"cpus": min(2, facts.cpus), "memory": format_size(min(GIB, most))}
    return found


def _helpers(control: str, rows: list[Combination]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the devices that others need: what maps a guest's pages, and the disk that a guest serves to another."""
    if any(row.data_path.traits.translated for row in rows):
        (row, *_) = (row for row in combinations() if row.type == "iommu" and row.deployed)
        yield "iommu0", {"type": "iommu", **_served(_GUEST, control, row)}
    if any(row.data_path.traits.carries_data and (row.hypervisor, row.type) == ("kvm", DISK) for row in rows):
        row = _chosen("kvm", DISK, DataPath("shared-ram").value)
        yield "backing0", {"type": DISK, **_served(_PEER, control, row), **_behind(row, ring=False, of=_PEER)}


def _served(frontend: str, backend: str, row: Combination) -> dict[str, str]:
    ends = {"frontend": frontend, "backend": backend, "program": row.program.value}
    return {**ends, "transport": row.transport.value, "data_path": row.data_path.value}


def _region(row: Combination, device: str, other: str, *, xen: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    traits = row.data_path.traits
    if traits.pooled:
        use = RegionUse.RESTRICTED_DMA_POOL.value
        yield "pool0", {"size": format_size(16 * MIB), "owner": _GUEST, "borrowers": [other], "use": use}
    elif traits.at_both_ends:
        # Xen's own region, or a guest's.
        sharing: dict[str, Any] = {"borrowers": [_GUEST, other]} if xen else {"owner": _GUEST, "borrowers": [other]}
        yield f"{device}-ring", {"size": format_size(2 * MIB), **sharing, "use": RegionUse.SHARED_MEMORY.value}


def _behind(row: Combination, *, ring: bool, of: str = _GUEST) -> dict[str, Any]:
    if row.type == DISK:
        return {"disk": {"file": f"{of}-disk0.img", "size": format_size(64 * MIB), "verify": "write"}}
    bridge = {} if ring or row.program is Program.PASST else {"bridge": "vtbr0"}
    return {"network": {**bridge, "frontend_address": _FRONTEND_ADDRESS, "backend_address": _BACKEND_ADDRESS}}
