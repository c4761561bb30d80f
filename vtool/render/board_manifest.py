"""``manifest.json``: what vtool-board needs to know on the board to run, watch and remove a generation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from vtool.plan.types import BoardPlan, KvmGuest, XenBootGuest, XenGuest
from vtool.render.artifacts import Artifact, Kind, Place


def render(board: BoardPlan) -> Iterator[Artifact]:
    """One JSON file: domains with their consoles, disks to make, the hypervisor."""
    manifest: dict[str, Any] = {
        "format": 1,
        "board": board.name,
        "hypervisor": board.hypervisor,
        "boot_mount": board.facts.boot.partition_mount if board.facts.boot else None,
        "control": board.control.name,
        "domains": {guest.name: _domain(guest) for guest in board.all_guests},
        "disks": [_disk(disk) for disk in _disks(board)],
        "backends": dict(_backends(board)),
    }
    yield Artifact(
        Place.GENERATION,
        "manifest.json",
        Kind.TEXT,
        json.dumps(manifest, indent=2, sort_keys=True) + "\n",
        asked_by=("boards", board.name),
    )


def _domain(guest: KvmGuest | XenGuest | XenBootGuest) -> dict[str, Any]:
    qmp = {} if isinstance(guest, KvmGuest) or guest.qemu is None else {"qmp": guest.qemu.qmp_socket}
    common = {"unit": guest.unit, "ready": guest.ready, "ready_timeout_s": guest.ready_timeout_s}
    if isinstance(guest, XenBootGuest):
        return {**common, "kind": "dom0less", "domain_id": guest.domain_id, **qmp}
    common["console_log"] = guest.console_log
    if isinstance(guest, KvmGuest):
        return {**common, "kind": "kvm", "console": guest.console_socket, "qmp": guest.qmp_socket}
    return {**common, "kind": "xen", **qmp}


def _disks(board: BoardPlan) -> list[Any]:
    kvm = [disk for guest in board.kvm_guests for device in guest.devices for disk in device.disks]
    xen = [disk for guest in board.xen_guests for disk in guest.disks]
    virtio = [device for guest in board.xen_guests for device in guest.virtio]
    virtio += [device for guest in board.xen_boot.guests for device in guest.virtio]
    kvm += [ring.disk for guest in board.xen_boot.guests for ring in guest.rings if ring.disk]
    return kvm + xen + [disk for device in virtio for disk in (device.disk, *device.disks) if disk]


def _backends(board: BoardPlan) -> Iterator[tuple[str, str]]:
    for guest in board.kvm_guests:
        yield from ((d.name, d.backend.unit) for d in guest.devices if d.backend is not None)
    for domain in board.xen_guests:
        yield from ((disk.name, disk.backend_unit) for disk in domain.disks)
        yield from ((share.name, share.backend_unit) for share in domain.shares)
        for device in domain.virtio:
            served = device.daemon or device.backend or domain.qemu
            if served is not None:
                yield device.name, served.unit
    for boot_guest in board.xen_boot.guests:
        if boot_guest.qemu is not None:
            yield from ((device.name, boot_guest.qemu.unit) for device in boot_guest.virtio)
        yield from ((ring.name, ring.unit) for ring in boot_guest.rings)


def _disk(disk: Any) -> dict[str, Any]:
    return {"path": disk.disk_path, "size_bytes": disk.disk_bytes}
