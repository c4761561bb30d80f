"""Where host regions go: first fit from the bottom of the board's RAM, fixed ones first.

Policy: 2 MiB alignment (superpages; what Xen and 64 KiB kernels ask for), ascending, in the order of
the file, outside every carve-out. A region with an address keeps it.
"""

from __future__ import annotations

from vtool.diagnostics import Diagnostic, VtoolError
from vtool.model.board_facts import BoardFacts
from vtool.model.topology import Region
from vtool.plan.types import HostRegion, Origin, OriginKind
from vtool.source import Document
from vtool.units import MIB, AddressRange, align_up, format_size, free_ranges

HOST_REGION_ALIGNMENT = 2 * MIB


def place_host_regions(document: Document, facts: BoardFacts, regions: dict[str, Region]) -> tuple[HostRegion, ...]:
    """Give each region a host-physical range; raises VtoolError VT410 when one does not fit."""
    banks = [bank.range for bank in facts.ram]
    taken = [carve.range for carve in facts.carve_outs]
    placed: dict[str, HostRegion] = {}
    for name, region in regions.items():
        if region.address is not None:
            fixed = AddressRange.of_size(region.address, region.size)
            place = document.span(("regions", name, "address"))
            placed[name] = _host_region(name, fixed, Origin(OriginKind.FIXED, f"by the user at {place}"))
            taken.append(fixed)
    for name, region in regions.items():
        if name in placed:
            continue
        free = free_ranges(banks, taken)
        found = _first_fit(free, region.size)
        if found is None:
            raise VtoolError(_no_room(document, facts, name, region, free))
        reason = f"first {format_size(HOST_REGION_ALIGNMENT)}-aligned free range of '{facts.name}'"
        placed[name] = _host_region(name, found, Origin(OriginKind.ALLOCATED, reason))
        taken.append(found)
    return tuple(placed[name] for name in regions)


def _first_fit(free: list[AddressRange], size_bytes: int) -> AddressRange | None:
    for gap in free:
        base = align_up(gap.base, HOST_REGION_ALIGNMENT)
        if base + size_bytes <= gap.end:
            return AddressRange.of_size(base, size_bytes)
    return None


def _host_region(name: str, where: AddressRange, origin: Origin) -> HostRegion:
    return HostRegion(name, where, origin, f"vtool-{name}@{where.base:x}")


def _no_room(document: Document, facts: BoardFacts, name: str, region: Region, free: list[AddressRange]) -> Diagnostic:
    gaps = ", ".join(f"{gap} ({format_size(gap.size_bytes)})" for gap in free) or "none"
    return Diagnostic(
        "VT410",
        f"region '{name}' needs {format_size(region.size)} at a multiple of "
        f"{format_size(HOST_REGION_ALIGNMENT)}, but board '{facts.name}' has no free range that large",
        document.span(("regions", name, "size")),
        hints=(f"free ranges: {gaps}",),
    )
