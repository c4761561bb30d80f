"""Where workloads run: from a board's plan to the guests, their devices, and what serves those.

Enter at ``places_of``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.bench.workloads.base import Place
from vtool.model.devices import Device, disks_of
from vtool.model.topology import OWN_RAMDISKS, Role, Topology
from vtool.plan.types import BoardPlan, KvmDevice, KvmGuest, XenBootGuest, XenGuest
from vtool.plan.types.guest import Guest, GuestKind
from vtool.results.records import Side


@record
class Spot:
    """A place on a board with what is to be known of it: whose processor time is to be told, and of which pool.

    ``units`` are systemd units on the board, whose cgroups count; ``domains`` are Xen's. ``domain_id`` is the number of
    a guest that Xen builds, which its toolstack need not know by name. ``serves``: it serves devices of other guests.
    """

    board: str
    hypervisor: str
    place: Place
    data_path: str = ""
    program: str = ""
    transport: str = ""
    units: tuple[tuple[Side, str], ...] = ()
    domains: tuple[tuple[Side, str], ...] = ()
    domain_id: int | None = None
    pool: bool = False
    control: str = ""
    serves: bool = False
    start_unit: str = ""
    console_log: str = ""
    ready: str = ""
    ready_timeout_s: int = 120


def places_of(topology: Topology, board: BoardPlan) -> list[Spot]:
    """Return every guest, then every device of a guest, in the order of the plan."""
    found: list[Spot] = []
    for guest in board.guests:
        address = _commands_at(topology, guest)
        has_shell = guest.kind is not GuestKind.DOM0LESS or bool(address)
        spot = Spot(
            board.name,
            board.hypervisor,
            Place(guest.name, guest.cpus, guest.memory_bytes, has_shell, address, guest.at_boot),
            control=board.control.name,
            serves=any(device.backend == guest.name for device in topology.devices.values()),
            start_unit=guest.unit,
            console_log=guest.console_log or "",
            ready=guest.ready,
            ready_timeout_s=guest.ready_timeout_s,
            units=_vmm_of(guest),
            domains=_domains(board, guest.name, None),
            domain_id=guest.domain_id if isinstance(guest, XenBootGuest) else None,
        )
        found.append(spot)
        for name, device in topology.devices.items():
            if device.frontend == guest.name:
                found += _of_device(topology, board, guest, name, device, spot)
    return found


COMMANDS_PORT = 7004
"""Where a guest of the benchmarks' ramdisk takes commands that has no console (its init)."""


def _vmm_of(guest: object) -> tuple[tuple[Side, str], ...]:
    if isinstance(guest, KvmGuest):
        return ((Side.VMM, guest.unit),)
    return ((Side.VMM, guest.qemu.unit),) if isinstance(guest, XenGuest | XenBootGuest) and guest.qemu else ()


def _commands_at(topology: Topology, guest: Guest) -> str:
    """Return where a guest without a console takes commands: with the tools it does, at its first interface."""
    if guest.kind is not GuestKind.DOM0LESS or topology.domains[guest.name].ramdisk != OWN_RAMDISKS[1]:
        return ""
    networks = (one for one in topology.devices.values() if one.type == "net" and one.frontend == guest.name)
    addresses = (one.network.fixed_address for one in networks if topology.domains[one.backend].role is Role.CONTROL)
    return next((f"{address.split('/')[0]}:{COMMANDS_PORT}" for address in addresses if address), "")


def _domains(board: BoardPlan, frontend: str, backend: str | None) -> tuple[tuple[Side, str], ...]:
    if board.hypervisor != "xen":
        return ()
    return ((Side.FRONTEND, frontend), (Side.BACKEND, backend or board.control.name))


def _of_device(
    topology: Topology, board: BoardPlan, guest: object, name: str, device: Device, spot: Spot
) -> Iterator[Spot]:
    by_board = topology.domains[device.backend].role is Role.CONTROL
    disks = disks_of(device)
    place = replace(
        spot.place,
        device=name,
        type=device.type,
        backend=device.backend,
        served_by_board=by_board,
        disk_bytes=disks[0].size if disks else None,
        server_address=device.network.backend_address.split("/")[0] if device.type == "net" else "",
        read_only=device.type == "fs" and device.share.read_only,
    )
    served: list[tuple[Side, str]] = []
    match guest:
        case KvmGuest():
            place, served = _kvm_place(place, guest, name)
            if place.type and not by_board:
                # What another guest serves, that guest costs: its VMM has all of its time.
                served = [(Side.BACKEND, one.unit) for one in board.guests if one.name == device.backend]
        case XenGuest() | XenBootGuest():
            place = _xen_place(place, guest, name)
    units = tuple(dict.fromkeys((*served, *spot.units)))
    if board.hypervisor == "xen":
        rings = {ring.name: ring.unit for ring in guest.rings} if isinstance(guest, XenBootGuest) else {}
        units = tuple((Side.BACKEND, unit) for unit in ([rings[name]] if name in rings else dict(spot.units).values()))
    yield replace(
        spot,
        place=place,
        data_path=device.data_path.value,
        program=device.program.value,
        transport=device.transport.value,
        units=units,
        domains=_domains(board, place.frontend, device.backend),
        pool=device.data_path.traits.pooled,
    )


def _kvm_place(place: Place, guest: KvmGuest, name: str) -> tuple[Place, list[tuple[Side, str]]]:
    """Complete a place by what the plan says; return who serves it, too."""
    device = next((one for one in guest.devices if one.name == name), None)
    if device is None:
        return place, []
    if device.ring is not None:
        end = device.ring.end
        place = replace(place, disk_bytes=device.ring.disk_bytes, scratch=device.ring.scratch)
        return replace(place, block=end.target if place.type == "blk" else "", interface=end.target), []
    sysfs = device.guest_sysfs
    scratch = device.disks[0].scratch if device.disks else None
    block = f"/dev/$(ls {sysfs}/virtio*/block)" if device.type == "blk" else ""
    interface = f"$(ls {sysfs}/virtio*/net)" if device.type == "net" else ""
    done = replace(place, scratch=scratch, block=block, interface=interface, tag=name)
    return done, _served_by(device)


def _served_by(device: KvmDevice) -> list[tuple[Side, str]]:
    # Without a daemon QEMU itself serves it: one process is both.
    return [(Side.BACKEND, device.backend.unit)] if device.backend else []


def _xen_place(place: Place, guest: XenGuest | XenBootGuest, name: str) -> Place:
    for virtio in guest.virtio:
        if virtio.name == name:
            sysfs = f"/sys/bus/platform/devices/{virtio.place.base:x}.virtio/virtio*"
            scratch: AddressRange | None = virtio.disks[0].scratch if virtio.disks else None
            block, interface = f"/dev/$(ls {sysfs}/block)", f"$(ls {sysfs}/net)"
            return replace(place, block=block, interface=interface, scratch=scratch, tag=name)
    if isinstance(guest, XenBootGuest):
        for ring in guest.rings:
            if ring.name == name:
                target = ring.frontend.target
                place = replace(place, scratch=ring.disk.scratch if ring.disk else None)
                return replace(place, block=target if place.type == "blk" else "", interface=target)
        disks = {one.name: (one.disk.virtual_device, one.disk.scratch) for one in guest.attached if one.disk}
        interfaces = [one.interface for one in guest.attached if one.interface]
    else:
        disks = {disk.name: (disk.virtual_device, disk.scratch) for disk in guest.disks}
        disks |= {disk.name: (disk.virtual_device, disk.scratch) for disk in guest.served_disks}
        interfaces = list(guest.interfaces)
    if name in disks:
        device, scratch = disks[name]
        return replace(place, block=f"/dev/{device}", scratch=scratch)
    for interface_of in interfaces:
        if interface_of.name == name:
            return replace(place, interface=f"eth{interface_of.index}")
    return place
