"""Where a boot loader may put what it loads: from each address to the next, no further than what is kept for it."""

from __future__ import annotations

from collections.abc import Mapping

from vtool.base.units import MIB, AddressRange
from vtool.model.board_facts import BoardFacts, CarveOut

MODULE_WINDOW_BYTES = 32 * MIB
"""Room for one boot module of Xen's."""

_MOST_BYTES: Mapping[str, int] = {"device_tree": 2 * MIB, "hypervisor": 8 * MIB}
"""Linux Documentation/arch/arm64/booting.rst; Xen xen/arch/arm/include/asm/config.h XEN_VIRT_SIZE."""


def load_windows(facts: BoardFacts) -> Mapping[str, AddressRange]:
    """Return the window of each load address, host-physical, by its key; of one that nothing keeps free, none."""
    if facts.load is None:
        return {}
    bases = dict(iter(facts.load))
    windows = {}
    for key, base in bases.items():
        own = own_carve_out(facts, base)
        if own is not None:
            ends = [other for other in bases.values() if other > base]
            windows[key] = AddressRange(base, min([*ends, own.range.end, base + _MOST_BYTES.get(key, own.size)]))
    return windows


def module_windows(facts: BoardFacts, *, beside_ramdisk: bool) -> tuple[AddressRange, ...]:
    """Return room for boot modules: from where the boot loader puts ramdisks to the end of what is kept for it.

    Beside a ramdisk of the control domain it is the first half of that.
    """
    room = load_windows(facts).get("ramdisk")
    windows = () if room is None else windows_in(room)
    return windows[: len(windows) // 2] if beside_ramdisk else windows


def ramdisk_window(facts: BoardFacts, modules: int) -> AddressRange | None:
    """Return where the control domain's ramdisk is loaded: in what so many ``modules`` of guests leave of that room.

    None where the boot loader need not be told.
    """
    room, taken = load_windows(facts).get("ramdisk"), module_windows(facts, beside_ramdisk=True)[:modules]
    return None if room is None else AddressRange(taken[-1].end if taken else room.base, room.end)


def windows_in(room: AddressRange) -> tuple[AddressRange, ...]:
    """Return the windows for boot modules that a range has room for, one above the other."""
    bases = range(room.base, room.end - MODULE_WINDOW_BYTES + 1, MODULE_WINDOW_BYTES)
    return tuple(AddressRange.of_size(base, MODULE_WINDOW_BYTES) for base in bases)


def own_carve_out(facts: BoardFacts, address: int) -> CarveOut | None:
    """Return the carve-out that keeps an address free for the loader: the largest around it, None without one."""
    around = [carve for carve in facts.carve_outs if carve.range.base <= address < carve.range.end]
    return max(around, key=lambda carve: carve.size, default=None)
