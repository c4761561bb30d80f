"""Where things go in the board's RAM: what the user fixed first, then first fit.

Policy: regions grow from the bottom of RAM upwards, in the order of the file; domains' static memory and
Xen's heap from the top downwards; 2 MiB alignment (superpages; what Xen and 64 KiB kernels ask for) unless
the user asks for another. Never in a carve-out, nor where it would take the room of what the kernel places
itself at boot (CMA, with its ranges and alignment), nor at the ends of RAM while the facts do not know
firmware. So a region or domain added at the end of the file moves nobody, unless it is fixed where somebody
was, or RAM is so full that the two directions meet. Enter at `place`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from vtool.base.units import AddressRange, format_size, free_ranges
from vtool.diagnostics import Diagnostic, VtoolError
from vtool.diagnostics.codes import declare
from vtool.model.board_facts import FIRMWARE_BYTES, BoardFacts
from vtool.model.devices import Device
from vtool.model.host_requests import HostRequest, Purpose, places_for, reach_of
from vtool.model.topology import Region, RegionUse
from vtool.plan.scope import BoardScope, fixed_by_user
from vtool.plan.types import HostRegion, MmioPlace, Origin, OriginKind, StaticRange
from vtool.platform.host_memory import HostMemory
from vtool.platform.layouts import MmioSlots
from vtool.reading.source import Document, KeyPath

KEPT = Origin(OriginKind.ALLOCATED, "kept by the lock file")


class Direction(Enum):
    """From which end of RAM a place is looked for."""

    UP = "from the bottom"
    DOWN = "from the top"


ORDER = {
    Purpose.HOST_REGION: Direction.UP,
    Purpose.SHARED_REGION: Direction.UP,
    Purpose.HEAP: Direction.DOWN,
    Purpose.STATIC_MEMORY: Direction.DOWN,
    Purpose.MODULES: Direction.UP,
}
"""In which order things are given what is left, and from where."""


def place(
    document: Document, facts: BoardFacts, asked: Iterable[HostRequest], kept: Mapping[str, int]
) -> Mapping[str, StaticRange]:
    """Give each request a host range: the user's, the lock file's (``kept``, by key), or the first that fits.

    VtoolError VT410 names each request that does not fit, and what is free; VT411 each that cannot be kept.
    """
    memory, taken = facts.memory, []
    requests = sorted(asked, key=lambda request: list(ORDER).index(request.purpose))
    placed: dict[str, StaticRange] = {}
    for request in requests:
        if request.fixed is not None:
            placed[request.key] = StaticRange(request.fixed, fixed_by_user(document, request.address_place))
            taken.append(request.fixed)
    short: list[Diagnostic] = []
    for request in requests:
        if request.key in placed or request.key not in kept:
            continue
        where = AddressRange.of_size(kept[request.key], request.size_bytes)
        if why := _cannot_stay(memory, request, where, taken):
            short.append(cannot_keep(document, request.what, request.place, str(where), why))
            continue
        placed[request.key] = StaticRange(where, KEPT)
        taken.append(where)
    for request in requests:
        if request.key in placed or request.key in kept:
            continue
        found = places_for(request, facts, memory, taken)
        if not found:
            short.append(_no_room(document, facts, request, taken))
            continue
        up = ORDER[request.purpose] is Direction.UP
        reason = f"{'first' if up else 'last'} {format_size(request.step)}-aligned free range of '{facts.name}'"
        placed[request.key] = StaticRange(found[0 if up else -1], Origin(OriginKind.ALLOCATED, reason))
        taken.append(placed[request.key].range)
    if short:
        raise VtoolError(short)
    return placed


declare(
    "VT411",
    what="a number in the lock file cannot be kept",
    why="Somebody may rely on it, so vtool does not silently move it.",
    example="a region fixed where the lock file has another",
    fix="Delete its line in the lock file, or run vtool plan TOPOLOGY --lock.",
)


def cannot_keep(
    document: Document, what: str, place: KeyPath, number: str, why: str = "where something else is now"
) -> Diagnostic:
    """Make the finding for a number of the lock file that is no longer possible."""
    hint = "delete its line in the lock file, or the lock file, and let vtool choose again: vtool plan TOPOLOGY --lock"
    message = f"the lock file has {what} at {number}, {why}"
    return Diagnostic("VT411", message, document.span(place), hints=(hint,))


def given_place(scope: BoardScope, name: str, device: Device) -> Origin | None:
    """Return who gave a device its place on a bus, None where nobody did."""
    key = "address" if device.address is not None else "interrupt"
    given = device.address is not None or device.interrupt is not None
    return fixed_by_user(scope.document, ("devices", name, key)) if given else None


def mmio_place(slots: MmioSlots, slot: int, reason: str, given: Origin | None = None) -> MmioPlace:
    """Return the place of a virtio-mmio device on a slot of a machine; ``reason`` counts unless it was ``given``."""
    origin = given or Origin(OriginKind.ALLOCATED, reason)
    return MmioPlace(slot, slots.address(slot), slots.stride_bytes, slots.first_spi_index + slot, origin)


def host_region(name: str, region: Region, where: StaticRange) -> HostRegion:
    """Make the plan of a region that is set aside in the host's device tree."""
    return HostRegion(
        region=name,
        range=where.range,
        origin=where.origin,
        node_name=f"vtool-{name}@{where.range.base:x}",
        label=f"vtool_{name.replace('-', '_')}",
        compatible=region.use.value if region.use is RegionUse.SHARED_DMA_POOL else "",
        flag=flag_of(region) or "no-map",
        device_nodes=region.device_nodes,
    )


def flag_of(region: Region) -> str:
    """Return the property that goes with a pool's compatible (Linux reserved-memory/shared-dma-pool.yaml)."""
    if region.use is not RegionUse.SHARED_DMA_POOL:
        return ""  # both would break a restricted-dma-pool
    return "reusable" if region.reusable else "no-map"


def _cannot_stay(memory: HostMemory, request: HostRequest, where: AddressRange, taken: list[AddressRange]) -> str:
    """Say why a request cannot stay where the lock file has it; nothing when it can."""
    if request.alignment and where.base % request.alignment:
        return f"which is not a multiple of {format_size(request.alignment)}"
    if not memory.has(where) or memory.met(where) or any(where.overlaps(other) for other in taken):
        return "where something else is now"
    crowded = memory.crowded_out(where, *taken)
    return f"which leaves no room for {crowded[0]}" if crowded else ""


declare(
    "VT410",
    what="no free range is large enough for a region",
    why="Carve-outs and other regions leave only the ranges shown.",
    example="size: 2600MiB on a board with 3GiB",
    fix="Make it smaller, or move a region with a fixed address.",
)


def _no_room(document: Document, facts: BoardFacts, request: HostRequest, taken: list[AddressRange]) -> Diagnostic:
    memory, inside = facts.memory, free_ranges(facts.memory.banks, facts.ends_of_ram)
    message = f"{request.what} needs {format_size(request.size_bytes)} at a multiple of {format_size(request.step)}"
    without = HostMemory(memory.banks, memory.taken)
    kept_off = without.places(request.size_bytes, request.step, *taken, within=reach_of(request, facts))
    if kept_off:
        who = ", ".join(map(str, memory.crowded_out(kept_off[0], *taken)))
        message += f", and every free range that large of board '{facts.name}' is needed for {who}"
    else:
        message += f", but board '{facts.name}' has no free range that large"
    gaps = free_ranges(inside, [*(claim.range for claim in memory.taken), *taken])
    free = ", ".join(f"{gap} ({format_size(gap.size_bytes)})" for gap in gaps) or "none"
    hints = [f"free ranges: {free}"]
    if facts.ends_of_ram:
        hints.append(FIRMWARE_HINT)
    if request.address_cells < 2:
        hints.append(f"its address is written in {request.address_cells} cell, so that it must lie below 4GiB")
    return Diagnostic("VT410", message, document.span(request.place), hints=tuple(hints))


FIRMWARE_HINT = (
    f"the ends of RAM, {format_size(FIRMWARE_BYTES)} each, are left to firmware: the facts are a source tree's, "
    "which does not know what it reserves; those of the running board do (vtool board import --ssh HOST -o FILE)"
)
