"""What a topology asks for of a board's RAM, at host addresses. Enter at ``host_requests``.

The planner places what is asked for here, the rules judge what of it the user fixed: both see the same list, and
``places_for`` says to both where something could go.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from vtool.base.records import record
from vtool.base.units import KIB, PAGE_BYTES, AddressRange, free_ranges
from vtool.model.board_facts import BoardFacts
from vtool.model.load_windows import MODULE_WINDOW_BYTES, module_windows
from vtool.model.lookup import Lookup
from vtool.model.topology import Board, Domain, Region, Role, Start, Xen
from vtool.platform.host_memory import HOST_ALIGNMENT, HostMemory
from vtool.platform.layouts import LINUX_CMA_UNITS
from vtool.reading.source import KeyPath

STATIC_HEAP_ALIGNMENT = 64 * KIB


class Purpose(Enum):
    """What host memory is asked for."""

    HOST_REGION = "a region of the control domain"
    SHARED_REGION = "a region that Xen shares at boot"
    HEAP = "Xen's static heap"
    STATIC_MEMORY = "the memory of a guest that Xen builds"
    MODULES = "what is loaded for guests that Xen builds"


@record
class HostRequest:
    """Something that needs host memory: what for, how much, where the user wrote it, and its address if that is fixed.

    ``key`` is its name in the lock file. ``alignment`` is the user's, or that of its use. A fixed address is a
    multiple of ``unit``; ``address_cells`` are those that the address is written in.
    """

    purpose: Purpose
    key: str
    what: str
    size_bytes: int
    place: KeyPath
    address: int | None = None
    address_place: KeyPath = ()
    alignment: int | None = None
    unit: int = PAGE_BYTES
    address_cells: int = 2

    @property
    def step(self) -> int:
        """What an address that vtool chooses is a multiple of."""
        return self.alignment or HOST_ALIGNMENT

    @property
    def fixed(self) -> AddressRange | None:
        """Where it lies if the user fixed that."""
        return None if self.address is None else AddressRange.of_size(self.address, self.size_bytes)


def host_requests(
    lookup: Lookup, name: str, board: Board, facts: BoardFacts, *, fixed_only: bool = False
) -> Iterator[HostRequest]:
    """Yield what a topology asks for of a board's RAM, each kind in the order of the file.

    With ``fixed_only`` what has no fixed address is passed over, before its size is looked at: where a document has
    faults, that may not be known.
    """
    hypervisor = board.hypervisor
    heap = hypervisor.static_heap if isinstance(hypervisor, Xen) else None
    if heap is not None and not (fixed_only and heap.address is None):
        at: KeyPath = ("boards", name, "hypervisor", "static_heap")
        yield HostRequest(
            *(Purpose.HEAP, "heap", "the static heap", heap.size, at, heap.address, (*at, "address")),
            unit=STATIC_HEAP_ALIGNMENT,
            address_cells=facts.device_tree.address_cells,
        )
    for region_name, region in lookup.regions_on[name].items():
        address, key = lookup.host_address_of(region) or (None, ())
        if fixed_only and address is None:
            continue
        purpose = _purpose_of(lookup, name, region)
        if purpose is not None:
            yield HostRequest(
                *(purpose, f"region {region_name}", f"region '{region_name}'", region.size),
                *(("regions", region_name, "size"), address, ("regions", region_name, *key)),
                alignment=region.alignment or (LINUX_CMA_UNITS[PAGE_BYTES] if region.reusable else None),
                address_cells=_address_cells(lookup, facts, region, purpose),
            )
    for domain_name, domain in lookup.domains_on[name].items():
        settings = domain.under_xen
        for index, part in enumerate(settings.static_ranges if _is_built(domain) else ()):
            at = ("domains", domain_name, "xen", "static_ranges", index)
            yield HostRequest(
                *(Purpose.STATIC_MEMORY, static_key(domain_name, index), f"memory of '{domain_name}'", part.size, at),
                *(part.base, (*at, "base")),
                address_cells=facts.device_tree.chosen_cells[0],
            )
        alone = settings.static_memory and not settings.static_ranges
        if not (fixed_only and settings.memory_address is None) and alone and _is_built(domain):
            yield HostRequest(
                *(Purpose.STATIC_MEMORY, f"domain {domain_name}", f"memory of '{domain_name}'", domain.memory or 0),
                *(("domains", domain_name, "memory"), settings.memory_address),
                ("domains", domain_name, "xen", "memory_address"),
                address_cells=facts.device_tree.chosen_cells[0],
            )
    if not fixed_only:
        yield from _modules(lookup, name, facts)


def static_key(domain: str, index: int) -> str:
    """Return the key of one of a domain's own ranges, which has a place that the user fixed."""
    return f"domain {domain}/{index}"


def _purpose_of(lookup: Lookup, board: str, region: Region) -> Purpose | None:
    """Return what of the host's memory a region is, None where it is in a guest's alone."""
    first = next(iter(lookup.members_of(region)), None)
    if first is None or lookup.board_of.get(first) != board or not region.placed:
        return None
    if lookup.is_static_shared(region):
        return Purpose.SHARED_REGION
    return Purpose.HOST_REGION if lookup.domains_on[board][first].role is Role.CONTROL else None


def _address_cells(lookup: Lookup, facts: BoardFacts, region: Region, purpose: Purpose) -> int:
    """Return how many cells a region's host address is written in: where dom0 sees it, those of /chosen."""
    tree = facts.device_tree
    if purpose is Purpose.HOST_REGION:
        return tree.region_cells[0]
    roles = (lookup.domains_on[lookup.board_of[member]][member].role for member in lookup.members_of(region))
    return tree.chosen_cells[0] if Role.CONTROL in roles else 2


def _is_built(domain: Domain) -> bool:
    """Whether Xen itself builds a domain at boot, with memory of a size that is known."""
    return domain.role is Role.GUEST and domain.start is Start.DOM0LESS and domain.memory is not None


def _modules(lookup: Lookup, board: str, facts: BoardFacts) -> Iterator[HostRequest]:
    """Yield the room for what is loaded for guests and has none in the boot loader's own place."""
    there = module_windows(facts, beside_ramdisk=lookup.has_ramdisk(board))
    more = modules_on(lookup, board) - len(there)
    if more > 0:
        size_bytes = more * MODULE_WINDOW_BYTES
        yield HostRequest(Purpose.MODULES, "modules", "what is loaded for guests", size_bytes, ("domains",))


def modules_on(lookup: Lookup, board: str) -> int:
    """Return how many files the boot loader loads for guests that Xen builds, and for Xen itself beside dom0."""
    built = (name for name, domain in lookup.domains_on[board].items() if _is_built(domain))
    return sum(len(lookup.boot_modules_of(name)) for name in built) + len(lookup.own_modules_of(board))


def places_for(
    request: HostRequest, facts: BoardFacts, memory: HostMemory, taken: list[AddressRange]
) -> list[AddressRange]:
    """Return the lowest and highest places in every gap of a board's RAM where something could go, ascending.

    Besides what is ``taken`` it keeps off all that the facts know, and off the ends of RAM where these do not know
    firmware; its address is one that its cells can say. ``memory`` is the facts' own, worked out once for many.
    """
    return memory.places(request.size_bytes, request.step, *taken, within=reach_of(request, facts))


def reach_of(request: HostRequest, facts: BoardFacts) -> list[AddressRange]:
    """Return the RAM that something may be placed in: no end where firmware may be, nothing beyond its cells."""
    limit = 1 << 32 * request.address_cells
    inside = free_ranges((bank.range for bank in facts.ram), facts.ends_of_ram)
    return [AddressRange(where.base, min(where.end, limit)) for where in inside if where.base < limit]
