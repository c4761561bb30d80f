"""Rules: where regions lie, how large they are, and how they are aligned."""

from __future__ import annotations

from collections.abc import Iterator

from vtool import layouts
from vtool.check.scope import Rule, Scope
from vtool.diagnostics import Diagnostic, Label, Span
from vtool.model.topology import BlockDevice, Domain, Region, RegionUse
from vtool.model.validate import LoadedFacts
from vtool.units import KIB, MIB, AddressRange, format_size, free_ranges

POOL_BASE_ALIGNMENT = 64 * KIB
"""The largest page of an arm64 guest kernel."""

POOL_BYTES_PER_DISK = 4 * MIB
"""Measured on virtio-blk with 1 MiB requests; less makes I/O hang without an error."""

SHARED_MEMORY_ALIGNMENT = 4 * KIB
RECOMMENDED_ALIGNMENT = 2 * MIB


def host_regions_are_free(scope: Scope) -> Iterator[Diagnostic]:
    """VT401, VT402: a host region with an address is in RAM and overlaps nothing set aside before it."""
    for board, facts in scope.facts.items():
        earlier: list[tuple[AddressRange, Label]] = _carve_outs(facts)
        for name, region in scope.host_regions(board).items():
            if region.address is None:
                continue
            where = AddressRange.of_size(region.address, region.size)
            place = scope.span("regions", name, "address")
            yield from _outside_ram(board, facts, name, where, place)
            for taken, label in earlier:
                if taken.overlaps(where):
                    yield Diagnostic(
                        "VT401",
                        f"region '{name}' {where} overlaps {label.message}",
                        place,
                        (Label(label.span, f"{label.message} is here"),),
                        hints=_where_to_go(facts, region.size),
                    )
            earlier.append((where, Label(place, f"region '{name}' {where}")))


def _carve_outs(facts: LoadedFacts) -> list[tuple[AddressRange, Label]]:
    carve_outs: list[tuple[AddressRange, Label]] = []
    for index, carve_out in enumerate(facts.facts.carve_outs):
        where = AddressRange.of_size(carve_out.base, carve_out.size)
        span = facts.document.span(("carve_outs", index, "name"))
        carve_outs.append((where, Label(span, f"'{carve_out.name}' {where} ({carve_out.reason})")))
    return carve_outs


def _banks(facts: LoadedFacts) -> list[AddressRange]:
    return [AddressRange.of_size(bank.base, bank.size) for bank in facts.facts.ram]


def _outside_ram(
    board: str, facts: LoadedFacts, name: str, where: AddressRange, place: Span
) -> Iterator[Diagnostic]:
    banks = _banks(facts)
    if free_ranges([where], banks):
        labels = tuple(
            Label(facts.document.span(("ram", index, "base")), f"RAM of '{facts.facts.name}' is {bank}")
            for index, bank in enumerate(banks)
        )
        message = f"region '{name}' {where} is not inside the RAM of board '{board}'"
        yield Diagnostic("VT402", message, place, labels)


def _where_to_go(facts: LoadedFacts, size_bytes: int) -> tuple[str, ...]:
    free = free_ranges(_banks(facts), [where for where, _ in _carve_outs(facts)])
    large = [str(gap) for gap in free if gap.size_bytes >= size_bytes]
    choose = "leave out `address` and let vtool choose"
    return (f"{choose}, or take it from {', '.join(large)}" if large else choose,)


def regions_are_aligned(scope: Scope) -> Iterator[Diagnostic]:
    """VT403: pools are whole swiotlb segments at whole pages, shared memory is whole pages."""
    for name, region in scope.topology.regions.items():
        is_pool = region.use is RegionUse.RESTRICTED_DMA_POOL
        of_size = layouts.SWIOTLB_SEGMENT_BYTES if is_pool else SHARED_MEMORY_ALIGNMENT
        of_base = POOL_BASE_ALIGNMENT if is_pool else SHARED_MEMORY_ALIGNMENT
        hint = f"{format_size(RECOMMENDED_ALIGNMENT)} is best: it lets the hypervisor use large pages"
        if region.size % of_size:
            message = f"size {format_size(region.size)} is not a multiple of {format_size(of_size)}"
            place = scope.span("regions", name, "size")
            yield Diagnostic("VT403", f"region '{name}': {message}", place, hints=(hint,))
        if region.address is not None and region.address % of_base:
            message = f"address {region.address:#x} is not a multiple of {format_size(of_base)}"
            place = scope.span("regions", name, "address")
            yield Diagnostic("VT403", f"region '{name}': {message}", place, hints=(hint,))


def pools_follow_private_ram(scope: Scope) -> Iterator[Diagnostic]:
    """VT404: a KVM guest's pools come right after its private RAM, in file order.

    QEMU joins its memory backends into one range from layouts.QEMU_VIRT_RAM_BASE (hw/arm/virt.c), so
    an address in the file can only say what follows from the sizes.
    """
    ends: dict[str, int] = {}
    for name, region in scope.guest_pools().items():
        domain = scope.topology.domains[region.owner]
        if domain.memory is None:
            continue
        expected = ends.get(region.owner, layouts.QEMU_VIRT_RAM_BASE + domain.memory)
        ends[region.owner] = expected + region.size
        if region.address is None or region.address == expected or region.address % POOL_BASE_ALIGNMENT:
            continue
        yield Diagnostic(
            "VT404",
            f"pool '{name}' must be at {expected:#x}, not {region.address:#x}: "
            + _why_not_there(region, domain, expected),
            scope.span("regions", name, "address"),
            (Label(scope.span("domains", region.owner, "memory"), "the domain's own RAM is set here"),),
            hints=(f"leave out `address`, or write {expected:#x}",),
        )


def _why_not_there(region: Region, domain: Domain, expected: int) -> str:
    assert region.address is not None
    assert domain.memory is not None
    ram = AddressRange.of_size(layouts.QEMU_VIRT_RAM_BASE, domain.memory)
    where = AddressRange.of_size(region.address, region.size)
    if where.overlaps(ram):
        return f"{where} overlaps the RAM {ram} that '{region.owner}' keeps to itself"
    if region.address < expected and where.base >= ram.end:
        return "an earlier pool of the same domain is there"
    return f"{where} is outside the RAM of '{region.owner}', whose pools come right after {ram}"


def pools_are_large_enough(scope: Scope) -> Iterator[Diagnostic]:
    """VT405: a pool has 4 MiB for each disk that uses it."""
    for name, region in scope.guest_pools().items():
        disks = [
            device_name
            for device_name, device in scope.topology.devices.items()
            if device.region == name and isinstance(device, BlockDevice)
        ]
        least = len(disks) * POOL_BYTES_PER_DISK
        if region.size < least:
            yield Diagnostic(
                "VT405",
                f"pool '{name}' has {format_size(region.size)}, but {len(disks)} disk(s) need "
                f"{format_size(least)}: {format_size(POOL_BYTES_PER_DISK)} each",
                scope.span("regions", name, "size"),
                tuple(Label(scope.span("devices", disk, "region"), f"'{disk}' uses it") for disk in disks),
                hints=(
                    f"a pool is handed out in slots of {format_size(layouts.SWIOTLB_SLOT_BYTES)}, "
                    f"at most {format_size(layouts.SWIOTLB_SEGMENT_BYTES)} at once; "
                    "one that is too small makes I/O hang instead of failing",
                ),
            )


RULES: tuple[Rule, ...] = (
    host_regions_are_free,
    regions_are_aligned,
    pools_follow_private_ram,
    pools_are_large_enough,
)
