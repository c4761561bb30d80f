"""What lies where: the host-physical map of each board and the guest-physical map of each guest.

The plan records every window with its origin; here they are nested, gaps found, and sharers told. Pure. Enter at
``memory_maps``; ``memory_map_text`` and ``memory_map_picture`` show what is made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vtool.base.units import AddressRange, format_size, free_ranges
from vtool.model.topology import Region
from vtool.plan.types import BoardPlan, Guest, Origin, Plan, Window, WindowKind


@dataclass(frozen=True)
class Entry:
    """One range of the plan's, or a gap: what it is, whose it is, who else sees it, who chose it (nobody: free).

    ``depth`` counts the ranges it lies in.
    """

    range: AddressRange
    kind: WindowKind
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
        maps.append(_board_map(board, regions))
        maps += [_guest_map(board.name, guest, regions) for guest in board.guests]
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


def _entry(window: Window, regions: Mapping[str, Region]) -> Entry:
    """Return a window's entry; who owns and who borrows a region, the topology says."""
    found = Entry(window.range, window.kind, window.name, window.origin, window.owner, note=window.note)
    if window.kind is not WindowKind.REGION:
        return found
    region = regions[window.name]
    return replace(found, owner=region.owner or "Xen", borrowers=region.borrowers)


def _board_map(board: BoardPlan, regions: Mapping[str, Region]) -> MemoryMap:
    entries = [_entry(window, regions) for window in board.windows]
    title = f"board {board.name}: {board.hypervisor} on {board.facts.description}"
    gaps = _gaps(entries, [entry.range for entry in entries if entry.kind is WindowKind.RAM], "free")
    return MemoryMap(board.name, None, title, _nested([*entries, *gaps]), tuple(_memory_at_run_time(board)))


def _guest_map(board: str, guest: Guest, regions: Mapping[str, Region]) -> MemoryMap:
    seen = guest.windows
    entries = [_entry(window, regions) for window in seen.windows]
    rooms = [entry.range for entry in entries if entry.kind is WindowKind.RAM]
    taken = [entry.range for entry in entries if entry.kind is not WindowKind.RAM]
    used = [room for room in rooms if any(room.contains(other) for other in taken)]
    title, gaps = f"{guest.name}: {seen.title}", _gaps(entries, used, "no memory")
    return MemoryMap(board, guest.name, title, _nested([*entries, *gaps]), seen.notes)


def _gaps(entries: list[Entry], rooms: list[AddressRange], name: str) -> list[Entry]:
    taken = [entry.range for entry in entries if entry.kind is not WindowKind.RAM]
    return [Entry(gap, WindowKind.FREE, name, None) for gap in free_ranges(rooms, taken)]


def _memory_at_run_time(board: BoardPlan) -> Iterator[str]:
    """Yield what takes memory out of the free ranges at run time, at addresses that nobody fixes ahead."""
    control = board.control
    by = "Linux" if board.hypervisor == "kvm" else "Xen"
    if control.memory_bytes is not None:
        yield f"{control.name} has {format_size(control.memory_bytes)} of what is free; {by} chooses where at boot"
    for guest in board.guests:
        if not guest.static_memory:
            when = "at boot" if guest.at_boot else "when it starts"
            yield f"{guest.name} has {format_size(guest.memory_bytes)} of what is free; {by} chooses where {when}"
    files = {file.region: file for guest in board.guests for file in guest.region_files}
    for file in files.values():
        size = format_size(file.size_bytes)
        yield f"region {file.region} is {size} of the host's memory; each guest places its PCI BAR itself"
    views = {view.region: view for view in board.xen_boot.views if view.host is None}
    for view in views.values():
        yield f"region {view.region} has {format_size(view.inside.size_bytes)} of Xen's heap, wherever that is"


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
