"""xl.cfg and units of Xen domUs, their disks' loop devices, their shares' folders, and the bridges."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.plan.types import PROGRAM, BoardPlan, XenBoot, XenBootGuest, XenGuest
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.templating import fill

INTRODUCE_UNIT = "vtool-dom0less.service"


def render(board: BoardPlan) -> Iterator[Artifact]:
    """One xl.cfg and unit per domU, one unit per disk and share that dom0 serves, one per bridge."""
    for guest in board.xen_guests:
        asked_by = ("domains", guest.name)
        yield Artifact(
            Place.GENERATION,
            f"domains/{guest.name}/{guest.name}.cfg",
            Kind.TEXT,
            fill("xen/domain.cfg.j2", guest=guest),
            asked_by,
            (guest.unit,),
        )
        template = "xen/unpause.service.j2" if guest.create_unit else "xen/domain.service.j2"
        yield _unit(guest.unit, fill(template, guest=guest, program=PROGRAM), asked_by)
        for disk in (*guest.disks, *(device.disk for device in guest.virtio if device.disk)):
            text = fill("xen/loop-disk.service.j2", guest=guest, disk=disk, program=PROGRAM)
            yield _unit(disk.backend_unit, text, ("devices", disk.name), guest.unit)
        for share in guest.shares:
            text = fill("xen/share.service.j2", guest=guest, share=share)
            yield _unit(share.backend_unit, text, ("devices", share.name), guest.unit)
        yield from _virtio_units(guest)
    yield from _boot_units(board.xen_boot, [guest.create_unit or guest.unit for guest in board.xen_guests])
    for bridge in board.bridges:
        if bridge.existing:
            continue
        users = [guest.unit for guest in board.guests if bridge.name in guest.bridges]
        users += [one.unit for guest in board.xen_boot.guests for one in guest.attached if one.requires == bridge.unit]
        yield _unit(bridge.unit, fill("xen/bridge.service.j2", bridge=bridge, program=PROGRAM), ("devices",), *users)


def _boot_units(boot: XenBoot, creators: list[str]) -> Iterator[Artifact]:
    """One unit that finds each guest Xen built at boot, after the one that gives them their xenstore.

    ``creators`` are the units that run `xl create`, which that one must not run beside.
    """
    introduced = [guest.unit for guest in boot.guests if guest.has_xenstore]
    if introduced:
        yield _unit(INTRODUCE_UNIT, fill("xen/dom0less.service.j2", creators=creators), ("domains",), *introduced)
    for guest in boot.guests:
        text = fill("xen/boot-domain.service.j2", guest=guest, introduce_unit=INTRODUCE_UNIT)
        yield _unit(guest.unit, text, ("domains", guest.name))
        yield from _qemu_units(guest, guest.unit)
        yield from _ring_units(guest)
        yield from _attached_units(guest)


def _ring_units(guest: XenBootGuest) -> Iterator[Artifact]:
    """One unit for dom0's end of each ring, and one for its interface."""
    for ring in guest.rings:
        yield _unit(ring.unit, fill("xen/ring.service.j2", guest=guest, ring=ring), ("devices", ring.name))
        if ring.tap_unit is not None:
            text = fill("xen/ring-tap.service.j2", guest=guest, ring=ring)
            yield _unit(ring.tap_unit, text, ("devices", ring.name), ring.unit)


def _attached_units(guest: XenBootGuest) -> Iterator[Artifact]:
    """One unit that attaches each PV device, and one for the loop device of a disk."""
    for one in guest.attached:
        text = fill("xen/attach.service.j2", guest=guest, one=one)
        yield _unit(one.unit, text, ("devices", one.name))
        if one.disk is not None:
            text = fill("xen/loop-disk.service.j2", guest=guest, disk=one.disk, program=PROGRAM)
            yield _unit(one.disk.backend_unit, text, ("devices", one.name), one.unit)


def _virtio_units(guest: XenGuest) -> Iterator[Artifact]:
    """One unit that makes the paused domain, those of its QEMU, one a daemon."""
    if guest.create_unit is None:
        return
    yield _unit(guest.create_unit, fill("xen/create.service.j2", guest=guest), ("domains", guest.name), guest.unit)
    yield from _qemu_units(guest, guest.create_unit, guest.unit)
    frontend = guest.vhost_frontend
    if frontend is not None:
        text = fill("xen/vhost-frontend.service.j2", guest=guest, frontend=frontend)
        yield _unit(frontend.unit, text, ("domains", guest.name), guest.unit)
    for device in guest.virtio:
        if device.daemon is not None:
            text = fill("xen/virtio-disk.service.j2", guest=guest, device=device)
            yield _unit(device.daemon.unit, text, ("devices", device.name), guest.unit)
        if device.backend is not None:
            text = fill("kvm/backend.service.j2", guest=guest, device=device, program=PROGRAM)
            yield _unit(device.backend.unit, text, ("devices", device.name), guest.unit)
        if device.backend is not None and device.backend.socket_unit is not None:
            text = fill("kvm/backend.socket.j2", guest=guest, device=device)
            yield _unit(device.backend.socket_unit, text, ("devices", device.name), guest.unit)


def _qemu_units(guest: XenGuest | XenBootGuest, requires: str, *also_used_by: str) -> Iterator[Artifact]:
    """One unit for the QEMU of a guest, one a tap interface of it; nothing where it has none."""
    qemu = guest.qemu
    if qemu is None:
        return
    text = fill("xen/qemu.service.j2", guest=guest, qemu=qemu, requires=(requires,), program=PROGRAM)
    yield _unit(qemu.unit, text, ("domains", guest.name), *also_used_by)
    for device in guest.virtio:
        if device.tap is not None:
            text = fill("kvm/tap.service.j2", guest=guest, device=device)
            yield _unit(device.tap.unit, text, ("devices", device.name), *(also_used_by or (qemu.unit,)))


def _unit(name: str, text: str, asked_by: tuple[str, ...], *also_used_by: str) -> Artifact:
    return Artifact(Place.GENERATION, f"units/{name}", Kind.TEXT, text, asked_by, (name, *also_used_by))
