"""Ranges of addresses and what each is for, as a board and its guests see them: what a memory map is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.plan.types.origins import Origin, fact
from vtool.plan.types.passthrough import PassthroughNode
from vtool.platform.layouts import GuestLayout


class WindowKind(Enum):
    """What a range of addresses is."""

    RAM = "ram"
    CARVE_OUT = "carve-out"
    BOOT_LOAD = "boot-load"
    REGION = "region"
    DOMAIN_MEMORY = "domain-memory"
    MACHINE = "machine"
    DEVICE = "device"
    FREE = "free"


@record
class Window:
    """One range, what it is, and who chose it (nobody where it is free).

    ``owner`` is the domain whose it is where that is the plan's to say: of a region the topology says it. ``claim``
    names in a sentence what has a host address of its own.
    """

    range: AddressRange
    kind: WindowKind
    name: str
    origin: Origin | None
    owner: str = ""
    note: str = ""
    claim: str = ""


@record
class GuestWindows:
    """How a guest's addresses are made up, in words: ``title`` and what to say besides; and its windows."""

    title: str
    windows: tuple[Window, ...]
    notes: tuple[str, ...] = ()


def passed_windows(guest: str, nodes: Iterable[PassthroughNode]) -> Iterator[Window]:
    """Yield where a guest sees registers of the board's devices, as far as the board's own tree is at hand."""
    for node in nodes:
        for registers in node.registers:
            note = f"host-physical {registers.host}"
            yield Window(registers.inside, WindowKind.DEVICE, node.path, registers.origin, guest, note)


def machine_and_ram(guest: str, layout: GuestLayout, banks: Iterable[AddressRange]) -> Iterator[Window]:
    """Yield what a guest's machine has at fixed places, and the guest's RAM."""
    for window in layout.windows:
        yield Window(window.range, WindowKind.MACHINE, window.name, fact(window.source))
    for room in layout.rooms:
        yield Window(room.range, WindowKind.RAM, room.name, fact(room.source))
    for bank in banks:
        origin = fact(f"{layout.ram_source}, size by the user")
        yield Window(bank, WindowKind.DOMAIN_MEMORY, f"RAM of {guest}", origin, guest, "private")
