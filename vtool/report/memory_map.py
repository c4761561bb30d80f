"""What lies where: the host-physical map of each board and the guest-physical map of each guest.

Owns the neutral types of a map and the one place where each type of the plan becomes entries of it. Pure;
``memory_map_text`` and ``memory_map_picture`` show what is made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from vtool.base.units import AddressRange, format_size, free_ranges
from vtool.model.topology import Region
from vtool.plan.types import (
    BoardPlan,
    KvmGuest,
    MmioPlace,
    Origin,
    OriginKind,
    Plan,
    SharedView,
    XenBootGuest,
    XenGuest,
    XenVirtio,
)
from vtool.platform import layouts


class Kind(Enum):
    """What a range of addresses is."""

    RAM = "ram"
    CARVE_OUT = "carve-out"
    BOOT_LOAD = "boot-load"
    REGION = "region"
    DOMAIN_MEMORY = "domain-memory"
    MACHINE = "machine"
    DEVICE = "device"
    FREE = "free"


@dataclass(frozen=True)
class Entry:
    """One range: what it is, whose it is, who else sees it, who chose it (nobody: free).

    ``depth`` counts the ranges it lies in.
    """

    range: AddressRange
    kind: Kind
    name: str
    origin: Origin | None
    owner: str = ""
    borrowers: tuple[str, ...] = ()
    note: str = ""
    depth: int = 0


@dataclass(frozen=True)
class MemoryMap:
    """The addresses that one board (``domain`` is None) or guest sees; entries ascending, outer ones first."""

    board: str
    domain: str | None
    title: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()

    @property
    def addresses(self) -> str:
        """Return whose addresses these are."""
        return "host-physical" if self.domain is None else "guest-physical"


def memory_maps(plan: Plan, regions: Mapping[str, Region]) -> tuple[MemoryMap, ...]:
    """Return the maps of every board and its guests; ``regions`` says who owns and who borrows."""
    maps: list[MemoryMap] = []
    for board in plan.boards:
        sharing = _Sharing(board.control.name, regions)
        maps.append(_board_map(board, sharing))
        maps += [_kvm_map(board, guest, sharing) for guest in board.kvm_guests]
        maps += [_xen_map(board, guest) for guest in board.xen_guests]
        maps += [_xen_boot_map(board, guest, sharing) for guest in board.xen_boot.guests]
    return tuple(maps)


def maps_data(plan: Plan, maps: Iterable[MemoryMap]) -> dict[str, Any]:
    """Return maps as plain data; numbers are bytes, ranges half-open."""
    return {
        "topology": plan.name,
        "maps": [
            {
                "board": found.board,
                "domain": found.domain,
                "addresses": found.addresses,
                "title": found.title,
                "notes": list(found.notes),
                "entries": [_entry_data(entry) for entry in found.entries],
            }
            for found in maps
        ],
    }


def _entry_data(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind.value,
        "depth": entry.depth,
        "base": entry.range.base,
        "end": entry.range.end,
        "size_bytes": entry.range.size_bytes,
        "owner": entry.owner or None,
        "borrowers": list(entry.borrowers),
        "origin": {"kind": entry.origin.kind.value, "reason": entry.origin.reason} if entry.origin else None,
        "note": entry.note or None,
    }


@dataclass(frozen=True)
class _Sharing:
    """Who owns and who borrows a region, as the topology says."""

    control: str
    regions: Mapping[str, Region]

    def entry(self, name: str, where: AddressRange, origin: Origin, note: str) -> Entry:
        region = self.regions[name]
        return Entry(where, Kind.REGION, name, origin, region.owner or "Xen", region.borrowers, note)


def _fact(reason: str) -> Origin:
    return Origin(OriginKind.FACT, reason)


def _board_map(board: BoardPlan, sharing: _Sharing) -> MemoryMap:
    facts = board.facts
    banks = [
        Entry(
            AddressRange.of_size(bank.base, bank.size), Kind.RAM, f"RAM bank {index}", _fact(f"facts of '{facts.name}'")
        )
        for index, bank in enumerate(facts.ram)
    ]
    carves = [
        Entry(
            AddressRange.of_size(carve.base, carve.size),
            Kind.CARVE_OUT,
            carve.name,
            _fact(f"facts of '{facts.name}': {carve.reason}"),
        )
        for carve in facts.carve_outs
    ]
    placed = [
        sharing.entry(region.region, region.range, region.origin, region.compatible or "reserved-memory of the host")
        for region in board.host_regions
    ]
    boot = board.xen_boot
    if boot.static_heap is not None:
        heap = boot.static_heap
        placed.append(Entry(heap.range, Kind.DOMAIN_MEMORY, "static heap", heap.origin, "Xen"))
    views = {view.region: view for view in boot.views}
    placed += [
        sharing.entry(view.region, view.host, view.host_origin, "static shared memory") for view in views.values()
        if view.host is not None
    ]  # fmt: skip
    for guest in boot.guests:
        if guest.static_memory is not None:
            static = guest.static_memory
            placed.append(Entry(static.range, Kind.DOMAIN_MEMORY, f"RAM of {guest.name}", static.origin, guest.name))
    loads = list(_boot_loads(board, [*banks, *carves]))
    taken = [entry.range for entry in (*carves, *placed, *loads)]
    free = [Entry(gap, Kind.FREE, "free", None) for gap in free_ranges([bank.range for bank in banks], taken)]
    return MemoryMap(
        board.name,
        None,
        f"board {board.name}: {board.hypervisor} on {facts.description}",
        _nested([*banks, *carves, *placed, *loads, *free]),
        tuple(_memory_at_run_time(board)),
    )


def _boot_loads(board: BoardPlan, around: list[Entry]) -> Iterator[Entry]:
    """Yield where U-Boot loads what: each window reaches up to the next, the last to the end of what it lies in."""
    for guest in board.xen_boot.guests:
        for module in guest.modules:
            origin = Origin(OriginKind.ALLOCATED, "one window above the other")
            yield Entry(module.window, Kind.BOOT_LOAD, module.file, origin, guest.name)
    facts = board.facts
    load = facts.load
    if load is None:
        return
    addresses = {"device tree": load.device_tree, "kernel of the control domain": load.kernel, "ramdisk": load.ramdisk}
    if board.xen_image is not None:
        addresses["hypervisor"] = load.hypervisor
    every = sorted({load.device_tree, load.kernel, load.ramdisk, load.hypervisor})
    for name, base in addresses.items():
        outer = [entry.range.end for entry in around if entry.range.base <= base < entry.range.end]
        end = min([address for address in every if address > base] + outer, default=base + 1)
        origin = _fact(f"facts of '{facts.name}': boot.load")
        yield Entry(AddressRange(base, end), Kind.BOOT_LOAD, name, origin)


def _memory_at_run_time(board: BoardPlan) -> Iterator[str]:
    """Yield what takes memory out of the free ranges at run time, at addresses that nobody fixes ahead."""
    control = board.control
    by = "Linux" if board.hypervisor == "kvm" else "Xen"
    if control.memory_bytes is not None:
        yield f"{control.name} has {format_size(control.memory_bytes)} of what is free; {by} chooses where at boot"
    for guest in board.guests:
        yield f"{guest.name} has {format_size(guest.memory_bytes)} of what is free; {by} chooses where when it starts"
    for domain in board.xen_boot.guests:
        if domain.static_memory is None:
            yield f"{domain.name} has {format_size(domain.memory_bytes)} of what is free; {by} chooses where at boot"
    files = {d.region_file.region: d.region_file for g in board.kvm_guests for d in g.devices if d.region_file}
    for file in files.values():
        size = format_size(file.size_bytes)
        yield f"region {file.region} is {size} of the host's memory; each guest places its PCI BAR itself"
    views = {view.region: view for guest in board.xen_boot.guests for view in guest.shared if view.host is None}
    for view in views.values():
        yield f"region {view.region} has {format_size(view.inside.size_bytes)} of Xen's heap, wherever that is"


def _kvm_map(board: BoardPlan, guest: KvmGuest, sharing: _Sharing) -> MemoryMap:
    entries = _machine(layouts.qemu_virt_windows(guest.gic_version))
    reason = "QEMU hw/arm/virt.c VIRT_MEM"
    entries.append(Entry(layouts.QEMU_VIRT_RAM, Kind.RAM, "room for RAM", _fact(reason)))
    entries.append(_ram_entry(guest.ram, guest.name, f"{reason}, size by the user", "private"))
    for pool in guest.pools:
        entries.append(sharing.entry(pool.region, pool.range, pool.origin, pool.use.value))
    stride = layouts.QEMU_VIRT_MMIO.stride_bytes
    on_slots = [(device, device.place) for device in guest.devices if isinstance(device.place, MmioPlace)]
    for device, place in on_slots:
        where = AddressRange.of_size(place.base, stride)
        origin = Origin(OriginKind.ALLOCATED, f"slot {place.slot}, in the order of the file")
        entries.append(Entry(where, Kind.DEVICE, device.name, origin, guest.name, note=f"spi_index {place.spi_index}"))
    slots = f"{len(on_slots)} of {layouts.QEMU_VIRT_MMIO.count} virtio-mmio slots used"
    return _guest_map(board, guest.name, f"{guest.name}: QEMU virt, GICv{guest.gic_version}", entries, slots)


def _xen_map(board: BoardPlan, guest: XenGuest) -> MemoryMap:
    entries = _xen_layout(board)
    for ram in guest.banks:
        entries.append(_ram_entry(ram, guest.name, "Xen public/arch-arm.h GUEST_RAM, size by the user", "private"))
    entries += _virtio_entries(guest.name, guest.virtio)
    return _guest_map(board, guest.name, f"{guest.name}: Xen guest started by xl", entries)


def _virtio_entries(guest: str, devices: Iterable[XenVirtio]) -> Iterator[Entry]:
    for device in devices:
        where = AddressRange.of_size(device.place.base, layouts.XEN_VIRTIO_MMIO.stride_bytes)
        origin = Origin(OriginKind.ALLOCATED, f"{device.place.slot + 1}. in libxl's order: disks, then the others")
        yield Entry(where, Kind.DEVICE, device.name, origin, guest, note=f"intid {device.intid}")


def _xen_boot_map(board: BoardPlan, guest: XenBootGuest, sharing: _Sharing) -> MemoryMap:
    entries = [] if guest.direct_map else _xen_layout(board)
    for ram in guest.ram:
        reason = "host address, mapped directly" if guest.direct_map else "Xen public/arch-arm.h GUEST_RAM"
        entries.append(_ram_entry(ram, guest.name, f"{reason}, size by the user", "private"))
    entries += [_view_entry(view, sharing) for view in guest.shared]
    entries += _virtio_entries(guest.name, guest.virtio)
    notes = ("mapped directly: its machine is where the board's is",) if guest.direct_map else ()
    return _guest_map(board, guest.name, f"{guest.name}: Xen guest started by Xen at boot", entries, *notes)


def _view_entry(view: SharedView, sharing: _Sharing) -> Entry:
    host = f"host-physical {view.host}" if view.host else "anywhere in Xen's heap"
    return sharing.entry(view.region, view.inside, view.inside_origin, host)


def _ram_entry(where: AddressRange, name: str, reason: str, note: str) -> Entry:
    return Entry(where, Kind.DOMAIN_MEMORY, f"RAM of {name}", _fact(reason), name, note=note)


def _machine(windows: Iterable[layouts.Window]) -> list[Entry]:
    return [Entry(window.range, Kind.MACHINE, window.name, _fact(window.source)) for window in windows]


def _xen_layout(board: BoardPlan) -> list[Entry]:
    entries = _machine(layouts.xen_guest_windows(board.facts.gic.version))
    for index, bank in enumerate(layouts.XEN_GUEST_RAM):
        entries.append(Entry(bank, Kind.RAM, f"room for RAM, bank {index}", _fact("Xen public/arch-arm.h GUEST_RAM")))
    return entries


def _guest_map(board: BoardPlan, domain: str, title: str, entries: list[Entry], *notes: str) -> MemoryMap:
    banks = [entry.range for entry in entries if entry.kind is Kind.RAM]
    taken = [entry.range for entry in entries if entry.kind is not Kind.RAM]
    used = [bank for bank in banks if any(bank.contains(other) for other in taken)]
    gaps = [Entry(gap, Kind.FREE, "no memory", None) for gap in free_ranges(used, taken)]
    return MemoryMap(board.name, domain, title, _nested([*entries, *gaps]), notes)


def _nested(entries: list[Entry]) -> tuple[Entry, ...]:
    """Sort by address, outer ranges first, and give each entry the number of ranges it lies in."""
    found: list[Entry] = []
    around: list[AddressRange] = []
    for entry in sorted(entries, key=lambda e: (e.range.base, -e.range.end)):
        while around and around[-1].end <= entry.range.base:
            around.pop()
        found.append(replace(entry, depth=len(around)))
        around.append(entry.range)
    return tuple(found)
