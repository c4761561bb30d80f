"""Where things go in the board's RAM: what the user fixed first, then first fit.

Policy: regions grow from the bottom of RAM upwards, in the order of the file; domains' static memory and
Xen's heap from the top downwards; 2 MiB alignment (superpages; what Xen and 64 KiB kernels ask for) unless
the user wishes another;
never in a carve-out. So a region or domain added at the end of the file moves nobody, unless it is fixed
where somebody was, or RAM is so full that the two directions meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from vtool.diagnostics import Diagnostic, VtoolError
from vtool.layouts import LINUX_CMA_UNITS
from vtool.model.board_facts import BoardFacts
from vtool.model.topology import Region, RegionUse
from vtool.plan.scope import BoardScope, fixed_by_user
from vtool.plan.types import HostRegion, Origin, OriginKind, StaticRange
from vtool.records import record
from vtool.source import DataPathTuple, Document
from vtool.units import MIB, PAGE_BYTES, AddressRange, align_up, format_size, free_ranges

HOST_ALIGNMENT = 2 * MIB


KEPT = Origin(OriginKind.ALLOCATED, "kept by the lock file")


class Direction(Enum):
    """From which end of RAM a place is looked for."""

    UP = "from the bottom"
    DOWN = "from the top"


@record
class Wish:
    """Something that needs host memory: what, how much, where the user wrote it, and where it shall be if fixed."""

    key: str
    what: str
    size_bytes: int
    place: DataPathTuple
    direction: Direction
    address: int | None = None
    address_place: DataPathTuple = ()
    alignment: int | None = None

    @property
    def step(self) -> int:
        """What an address that vtool chooses is a multiple of."""
        return self.alignment or HOST_ALIGNMENT


def place(
    document: Document, facts: BoardFacts, wishes: list[Wish], kept: Mapping[str, int]
) -> Mapping[str, StaticRange]:
    """Give each wish a host-physical range: the user's, the lock file's (``kept``, by wish), else the first that fits.

    VtoolError VT410 names each wish that does not fit, and what is free; VT411 each that cannot be kept.
    """
    banks = [bank.range for bank in facts.ram]
    taken = [carve.range for carve in facts.carve_outs]
    placed: dict[str, StaticRange] = {}
    for wish in wishes:
        if wish.address is not None:
            fixed = AddressRange.of_size(wish.address, wish.size_bytes)
            placed[wish.key] = StaticRange(fixed, fixed_by_user(document, wish.address_place))
            taken.append(fixed)
    short: list[Diagnostic] = []
    for wish in wishes:
        if wish.key in placed or wish.key not in kept:
            continue
        where = AddressRange.of_size(kept[wish.key], wish.size_bytes)
        if wish.alignment and where.base % wish.alignment:
            why = f"which is not a multiple of {format_size(wish.alignment)}"
            short.append(cannot_keep(document, wish.what, wish.place, str(where), why))
            continue
        if not any(gap.contains(where) for gap in free_ranges(banks, taken)):
            short.append(cannot_keep(document, wish.what, wish.place, str(where)))
            continue
        placed[wish.key] = StaticRange(where, KEPT)
        taken.append(where)
    for wish in wishes:
        if wish.key in placed or wish.key in kept:
            continue
        free = free_ranges(banks, taken)
        found = _fit(free, wish)
        if found is None:
            short.append(_no_room(document, facts, wish, free))
            continue
        first = "first" if wish.direction is Direction.UP else "last"
        reason = f"{first} {format_size(wish.step)}-aligned free range of '{facts.name}'"
        placed[wish.key] = StaticRange(found, Origin(OriginKind.ALLOCATED, reason))
        taken.append(found)
    if short:
        raise VtoolError(short)
    return placed


def cannot_keep(
    document: Document, what: str, place: DataPathTuple, number: str, why: str = "where something else is now"
) -> Diagnostic:
    """Make the finding for a number of the lock file that is no longer possible."""
    hint = "delete its line in the lock file, or the lock file, and let vtool choose again: vtool plan --lock"
    message = f"the lock file has {what} at {number}, {why}"
    return Diagnostic("VT411", message, document.span(place), hints=(hint,))


def region_wish(scope: BoardScope, name: str, region: Region) -> Wish:
    """Ask for a region of the control domain, or for one that Xen shares."""
    address, key = scope.host_address_of(region) or (None, ())
    return Wish(
        *(f"region {name}", f"region '{name}'", region.size, ("regions", name, "size"), Direction.UP),
        address,
        ("regions", name, *key),
        region.alignment or (LINUX_CMA_UNITS[PAGE_BYTES] if region.reusable else None),
    )


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


def _fit(free: list[AddressRange], wish: Wish) -> AddressRange | None:
    if wish.direction is Direction.UP:
        for gap in free:
            base = align_up(gap.base, wish.step)
            if base + wish.size_bytes <= gap.end:
                return AddressRange.of_size(base, wish.size_bytes)
        return None
    for gap in reversed(free):
        base = (gap.end - wish.size_bytes) // wish.step * wish.step
        if base >= gap.base:
            return AddressRange.of_size(base, wish.size_bytes)
    return None


def _no_room(document: Document, facts: BoardFacts, wish: Wish, free: list[AddressRange]) -> Diagnostic:
    gaps = ", ".join(f"{gap} ({format_size(gap.size_bytes)})" for gap in free) or "none"
    return Diagnostic(
        "VT410",
        f"{wish.what} needs {format_size(wish.size_bytes)} at a multiple of "
        f"{format_size(wish.step)}, but board '{facts.name}' has no free range that large",
        document.span(wish.place),
        hints=(f"free ranges: {gaps}",),
    )
