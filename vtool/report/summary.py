"""The summary a person reads after a deploy, and the plan as text and data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

from vtool.base.units import AddressRange, format_cpu_list, format_size
from vtool.model.board_facts import FIRMWARE_BYTES
from vtool.model.devices import DiskFormat
from vtool.model.topology import OWN_RAMDISKS, Topology
from vtool.plan.types import (
    BoardPlan,
    Bridge,
    FileDisk,
    GuestKind,
    KvmDevice,
    KvmGuest,
    MmioPlace,
    Origin,
    Plan,
    RingEnd,
    XenAttached,
    XenBoot,
    XenBootGuest,
    XenGuest,
    XenQemu,
    XenVirtio,
)
from vtool.platform.xen_properties import Where, XenSetting


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> Iterator[str]:
    """Yield rows as aligned columns; the last column is not padded."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
        yield (indent + "  ".join([*cells, row[-1]])).rstrip()


def printable(text: str) -> str:
    """Replace what neither XML nor a terminal should get: control characters, lone surrogates (paths have them)."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def plan_lines(plan: Plan) -> Iterator[str]:
    """Yield the plan: every address with its origin, every interrupt, socket and unit."""
    for board in plan.boards:
        yield f"board {board.name}: {board.hypervisor} on {board.facts.description}"
        if board.facts.firmware_unknown and board.facts.source:
            ends = f"{format_size(FIRMWARE_BYTES)} at each end of RAM stay free; a deploy asks the running board"
            yield f"  facts of a source tree ({board.facts.source.tree}) do not know firmware: {ends}"
        yield from table(list(_board_rows(board)))


def _board_rows(board: BoardPlan) -> Iterator[tuple[str, str, str]]:
    given = board.control.memory_bytes
    memory = f"memory {format_size(given)}" if given else "the rest of the memory"
    yield ("domain", board.control.name, f"control, {board.control.cpus} CPU(s), {memory}")
    for argument in board.xen_arguments:
        yield ("xen", argument.words, f"added to the command line: {argument.reason}")
    for region in board.host_regions:
        where = f"host-physical {region.range}, {format_size(region.range.size_bytes)}"
        yield ("region", region.region, f"{where}, {region.origin.kind.value}: {region.origin.reason}")
    for guest in board.kvm_guests:
        yield from _kvm_rows(guest)
    for domain in board.xen_guests:
        yield from _xen_rows(domain)
    yield from _xen_boot_rows(board.control.name, board.xen_boot)
    yield from _not_checked_rows(board)
    for bridge in board.bridges:
        yield ("bridge", bridge.name, ", ".join(_bridge(bridge)))


def _bridge(bridge: Bridge) -> Iterator[str]:
    if bridge.existing:
        yield "the board's own, used as it is"
        return
    if bridge.uplink:
        yield f"with '{bridge.uplink}', whose addresses move to it"
    elif not bridge.address:
        yield "without an address"
    yield from filter(None, (bridge.address, bridge.unit))


NOT_CHECKED = "not checked by vtool"
_LINES = {GuestKind.KVM: "QEMU", GuestKind.XL: "xl.cfg", GuestKind.DOM0LESS: "its node"}


def _not_checked_rows(board: BoardPlan) -> Iterator[tuple[str, str, str]]:
    """Say what the user added in the words of other programs, line by line."""
    if board.xen_not_checked:
        yield ("extra", "xen", f"{NOT_CHECKED}: {board.xen_not_checked}")
    for guest in board.guests:
        for line in guest.not_checked:
            yield ("extra", guest.name, f"{NOT_CHECKED}: {_LINES[guest.kind]}: {line}")
    for extra in board.units_not_checked:
        for line in extra.lines:
            yield ("extra", extra.place[1], f"{NOT_CHECKED}: {extra.unit} [{extra.section}] {line}")


def _kvm_rows(guest: KvmGuest) -> Iterator[tuple[str, str, str]]:
    shared = "shared" if guest.memory[0].shared else "private"
    ram = f"RAM guest-physical {guest.ram} {format_size(guest.ram.size_bytes)} {shared}"
    yield ("domain", guest.name, f"{guest.cpus} CPU(s), {ram}, {guest.unit}")
    if guest.firmware is not None:
        what = "starts its kernel" if guest.kernel else "boots from a disk of the guest"
        variables = guest.firmware.variables
        kept = f"keeps its variables in {variables.disk_path}" if variables else "keeps nothing"
        yield ("firmware", guest.name, f"{guest.firmware.code} {what}, and {kept}")
    for pool in guest.pools:
        where = f"guest-physical {pool.range}, {format_size(pool.range.size_bytes)} "
        where += ("shared" if pool.shared else pool.use.value) if pool.numa_node else "in RAM"
        yield ("region", pool.region, f"{where}, {pool.origin.kind.value}: {pool.origin.reason}")
    for pci in guest.pci:
        yield ("device", pci.address, f"PCI device of the board, pci {pci.guest_device}, VFIO, {guest.pci_unit}")
    for device in guest.devices:
        yield ("device", device.name, ", ".join(_kvm_device(device)))
        yield from _disk_rows(device.name, device.disks)
        if device.ring is not None:
            yield _ring_row(device.name, device.ring.end, guest.ramdisk_image)
        if device.backend is not None:
            files = f" on {', '.join(device.backend.files)}" if device.backend.files else ""
            maps = f"maps {format_size(device.backend.maps_bytes)} of '{guest.name}'"
            yield ("backend", device.name, f"{device.program.value}{files}, {maps}, {device.backend.unit}")


def _disk_rows(device: str, disks: Sequence[FileDisk]) -> Iterator[tuple[str, str, str]]:
    """Say of disks what is more than an empty file that vtool makes."""
    for disk in disks:
        words = [disk.format.value] if disk.format is not DiskFormat.RAW else []
        if disk.image and disk.image.reference:
            anew = "anew with another" if disk.image.resets else "kept with another"
            words.append(f"{format_size(disk.disk_bytes or 0)} that begin as '{disk.image.reference}', {anew}")
        words += ["read-only"] if disk.read_only else []
        if disk.is_device:
            words.insert(0, "the board's own, which vtool writes nothing to" if not disk.scratch else "the board's own")
        if words:
            yield ("disk", device, f"{disk.disk_path}: {', '.join(words)}")


def _ring_row(name: str, end: RingEnd, ramdisk: str | None) -> tuple[str, str, str]:
    """Say what runs an end of a ring: vtool's own guest by itself, another has to be told."""
    who = "runs" if ramdisk in OWN_RAMDISKS else "has to run"
    named = f", with {end.address}" if end.address else ""
    return ("ring", name, f"'{end.domain}' {who}: vtool-ring {' '.join(end.arguments)}{named}")


def _kvm_device(device: KvmDevice) -> Iterator[str]:
    place = device.place
    if isinstance(place, MmioPlace):
        yield f"{device.type}, mmio slot {place.slot} at {place.base:#x}, spi_index {place.spi_index}"
    else:
        yield f"{device.type}, pci {device.guest_device}"
    yield device.data_path.value + (f" '{device.pool.region}'" if device.pool else "")
    if words := str(device.queues):
        yield words
    if device.region_file is not None:
        yield f"region '{device.region_file.region}' {format_size(device.region_file.size_bytes)}"
    yield "both guests' vtool-ring" if device.ring else device.backend.socket if device.backend else "inside QEMU"
    if not device.deployed:
        yield "rendered only"


def _xen_rows(guest: XenGuest) -> Iterator[tuple[str, str, str]]:
    memory = f"memory {format_size(guest.memory_bytes)}"
    yield ("domain", guest.name, f"{guest.cpus} CPU(s){_affinity(guest.affinity)}, {memory}, {guest.unit}")
    for setting in guest.settings:
        if setting.row.where is Where.XL and setting.in_xl is not None:
            yield ("setting", guest.name, f"{setting.row.name} {setting.in_xl}")
    if guest.driver_domain:
        driver = guest.driver_domain
        limits = f"maps up to {driver.mapped_at_worst} of {driver.mappings_available} grants"
        limits += f", {driver.event_channels_at_worst} of {driver.event_channels_available} event channels"
        yield ("driver", guest.name, f"serves {', '.join(driver.frontends)}, which start after it is ready; {limits}")
    for disk in guest.disks:
        yield ("device", disk.name, f"PV disk {disk.virtual_device} (grant map), blkback on {disk.behind.disk_path}")
        yield from _disk_rows(disk.name, disk.files)
    for served in guest.served_disks:
        behind = f"blkback on {served.target} of '{served.backend}'{'' if served.deployed else ', rendered only'}"
        yield ("device", served.name, f"PV disk {served.virtual_device} (grant map), {behind}")
    for share in guest.shares:
        behind = f"{share.type} on {share.path}, rendered only"
        yield ("device", share.name, f"PV share (grant map) with the tag {share.tag}, {behind}")
    for interface in guest.interfaces:
        ends = f"{interface.frontend_address} to {interface.backend_address or 'others'} on {interface.bridge}"
        ends += f" of '{interface.backend}'" if interface.backend else ""
        ends += "" if interface.deployed else ", rendered only"
        yield ("device", interface.name, f"PV network (grant copy) {interface.mac}, {ends}")
    yield from _xen_virtio_rows(guest.virtio, guest.qemu)
    yield from _passed_rows(guest)


def _passed_rows(guest: XenGuest | XenBootGuest) -> Iterator[tuple[str, str, str]]:
    for node in guest.passthrough:
        yield ("device", node.path, f"of the board, {'no IOMMU before it, ' * node.forced}{node.what}")


def _affinity(affinity: tuple[tuple[int, ...], ...]) -> str:
    """Say which CPUs of the board vCPUs are kept on, those of each where they are not the same."""
    where = [format_cpu_list(cpus) for cpus in affinity]
    same = where[:1] if len(set(where)) == 1 else where
    return f" on {', '.join(same)} of the board" if where else ""


def _xen_virtio_rows(devices: Sequence[XenVirtio], qemu: XenQemu | None) -> Iterator[tuple[str, str, str]]:
    for device in devices:
        where = f"{device.place.slot + 1}. virtio-mmio at {device.place.base:#x}, intid {device.intid}"
        path = device.data_path.value + (f" '{device.pool}'" if device.pool else "")
        only = "" if device.deployed else ", rendered only"
        queues = f", {device.queues}" if str(device.queues) else ""
        yield ("device", device.name, f"{device.type}, {where}, {path}{queues}, {device.program.value}{only}")
        yield from _disk_rows(device.name, device.files)
        if device.daemon is not None:
            yield ("backend", device.name, f"{device.program.value}, {device.daemon.unit}")
        if device.backend is not None:
            maps = f"maps {format_size(device.backend.maps_bytes)}" if not device.grants else "maps what is granted"
            yield ("backend", device.name, f"{device.program.value}, {maps}, {device.backend.unit}")
    if qemu is not None:
        files = f" on {', '.join(qemu.files)}" if qemu.files else ""
        yield ("backend", "QEMU", f"xenpvh with {format_size(qemu.memory_bytes)}{files}, {qemu.unit}")


def _attached(one: XenAttached) -> Iterator[str]:
    if (interface := one.interface) is not None:
        yield f"PV network (grant copy) {interface.mac}"
        yield f"{interface.frontend_address} to {interface.backend_address or 'others'} on {interface.bridge}"
    if one.disk is not None:
        yield f"PV disk {one.disk.virtual_device} (grant map), blkback on {one.disk.behind.disk_path}"
    yield f"attached by {one.unit}"


def _xen_boot_rows(control: str, boot: XenBoot) -> Iterator[tuple[str, str, str]]:
    if boot.static_heap is not None:
        yield ("memory", "heap", f"host-physical {boot.static_heap.range}, {_origin(boot.static_heap.origin)}")
    for pool in boot.cpupools:
        scheduler = pool.scheduler.value if pool.scheduler else "default"
        yield ("cpupool", pool.name, f"CPUs {', '.join(map(str, pool.cpus))}, scheduler {scheduler}")
    if boot.xsm_policy is not None:
        yield ("module", boot.xsm_policy.file, f"loaded in host-physical {boot.xsm_policy.window}")
    for guest in boot.guests:
        ram = f"RAM guest-physical {', '.join(map(str, guest.ram))}"
        cpus = f"{guest.cpus} CPU(s){_affinity(guest.affinity)}"
        yield ("domain", guest.name, f"{cpus}, {ram}, started by Xen at boot")
        for static in guest.static_memory:
            yield ("memory", guest.name, f"host-physical {static.range}, {_origin(static.origin)}")
        yield from _xen_virtio_rows(guest.virtio, guest.qemu)
        yield from _passed_rows(guest)
        yield from (("device", one.name, ", ".join(_attached(one))) for one in guest.attached)
        for ring in guest.rings:
            only = "" if ring.deployed else ", rendered only"
            yield (
                "device",
                ring.name,
                f"{ring.type}, {ring.data_path.value} in region '{ring.region}', vtool-ring{only}",
            )
            yield _ring_row(ring.name, ring.frontend, guest.ramdisk.image if guest.ramdisk else None)
            files = f" on {ring.disk.disk_path}" if ring.disk else f" with {ring.backend.address}"
            yield ("backend", ring.name, f"vtool-ring{files}, maps {ring.backend.region}, {ring.unit}")
        for module in guest.modules:
            yield ("module", module.file, f"loaded in host-physical {module.window}")
    for name, views, ends in boot.shared_with(control):
        for view in views:
            host = f"host-physical {view.host}" if view.host else "host-physical anywhere"
            where = f"{host} ({_origin(view.host_origin)}), in '{name}' {view.inside} ({_origin(view.inside_origin)})"
            yield ("region", view.region, f"{where}, {view.role or 'shared by Xen'}")
        for end in ends:
            there = f"port {end.other_port} of '{end.other_domain}'"
            yield ("channel", end.channel, f"port {end.port} of '{name}' ({_origin(end.origin)}) to {there}")


def _origin(origin: Origin) -> str:
    return f"{origin.kind.value}: {origin.reason}"


def account_lines(topology: Topology, plan: Plan) -> Iterator[str]:
    """Yield who pays for which memory, who borrows what, and how many grants its devices hold at worst."""
    granted = {guest.name: guest.grants for board in plan.boards for guest in board.guests}
    rows = []
    for name, domain in topology.domains.items():
        owned = sum(region.size for region in topology.regions.values() if region.owner == name)
        borrowed = sum(region.size for region in topology.regions.values() if name in region.borrowers)
        ram = f"RAM {format_size(domain.memory)}" if domain.memory else "RAM that is left"
        words = [ram, f"pays for {format_size(owned)} of regions", f"borrows {format_size(borrowed)}"]
        if (grants := granted.get(name)) is not None:
            words.append(f"holds up to {grants.at_worst} of {grants.available} grants")
        rows.append(("account", name, ", ".join(words)))
    yield from table(rows)


def plan_data(value: Any) -> Any:
    """Return a plan (or any part of it) as plain data, the same in every process; ranges as base, end and size."""
    match value:
        case AddressRange():
            said: Any = {"base": value.base, "end": value.end, "size_bytes": value.size_bytes}
        case XenSetting():  # its row says how it is written: functions, which are no data
            said = {"name": value.row.name, "key": value.row.key, "value": plan_data(value.value)}
        case Enum():
            said = value.value
        case Path():
            said = str(value)
        case list() | tuple():
            said = [plan_data(item) for item in value]
        case _ if hasattr(value, "model_dump"):
            said = value.model_dump(mode="json")
        case _ if hasattr(value, "__dataclass_fields__"):
            said = {name: plan_data(getattr(value, name)) for name in value.__dataclass_fields__}
        case _:
            said = value
    return said


def proof_lines(rows: Sequence[Any]) -> Iterator[str]:
    """Yield a line a row: proven, failed or noted, of what, what was seen, what was expected where it failed."""
    shown = []
    for row in rows:
        seen = f"expected {row.expected}; seen {row.seen}" if row.failed else row.seen
        outcome = "FAILED" if row.failed else "noted" if row.noted else "proven"
        shown.append((outcome, row.subject, row.what, seen))
    yield from table(shown)


def rows_data(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Return proof rows as plain data."""
    return [asdict(row) for row in rows]
