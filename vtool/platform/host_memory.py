"""Host memory as everybody has to share it: RAM, what is taken at fixed places, what the kernel still has to place.

One arithmetic for all who ask whether memory can be had: the planner that places, the rules that check what the
user fixed, the comparison with the tree that a plan is merged into. Knows nothing of topologies, facts files or
device trees. Enter at `HostMemory`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vtool.base.records import record
from vtool.base.units import MIB, PAGE_BYTES, AddressRange, align_up, format_size, free_ranges, gaps, joined

HOST_ALIGNMENT = 2 * MIB
"""What places that nobody fixed are multiples of: superpages, which Xen and kernels with pages of 64 KiB ask for."""


@record
class Taken:
    """Memory at a fixed place and who has it, in words."""

    what: str
    range: AddressRange


@record
class Floating:
    """Memory that Linux places itself at boot: inside one of the ranges, anywhere when there are none.

    ``alignment`` is in bytes. Source: Linux drivers/of/of_reserved_mem.c, __reserved_mem_alloc_size.
    """

    what: str
    size_bytes: int
    alignment: int = PAGE_BYTES
    within: tuple[AddressRange, ...] = ()

    def __str__(self) -> str:
        inside = f" in {', '.join(map(str, self.within))}" if self.within else ""
        return f"{self.what} ({format_size(self.size_bytes)}{inside})"

    def candidates(self, free: list[AddressRange]) -> Iterator[AddressRange]:
        """Yield the highest place in each gap, in the order in which Linux tries them: ranges as written, top down."""
        for limit in self.within or (AddressRange(0, 1 << 64),):
            for gap in reversed(free):
                end = min(gap.end, limit.end)
                base = (end - self.size_bytes) // self.alignment * self.alignment
                if base >= max(gap.base, limit.base):
                    yield AddressRange.of_size(base, self.size_bytes)


@record
class HostMemory:
    """Banks of RAM (disjoint), what is taken in them, and what has to find a place there at boot."""

    banks: tuple[AddressRange, ...]
    taken: tuple[Taken, ...] = ()
    floating: tuple[Floating, ...] = ()

    def free(self, *more: AddressRange) -> list[AddressRange]:
        """Return what nobody has at a fixed place, ascending; ``more`` is taken as well.

        Linux never hands out the page at 0 (mm/memblock.c memblock_find_in_range_node).
        """
        taken = (AddressRange(0, PAGE_BYTES), *(taken.range for taken in self.taken), *more)
        return free_ranges(joined(self.banks), taken)

    def has(self, where: AddressRange) -> bool:
        """Whether a range is wholly RAM; banks that touch are one."""
        return not free_ranges([where], self.banks)

    def met(self, where: AddressRange) -> list[Taken]:
        """Return what a range overlaps."""
        return [taken for taken in self.taken if taken.range.overlaps(where)]

    def settled(self, *more: AddressRange) -> tuple[list[AddressRange], list[Floating]]:
        """Return where Linux would place what floats, and what of it finds no place; ``more`` is taken as well."""
        places: list[AddressRange] = []
        unmet: list[Floating] = []
        for floating in self.floating:
            place = next(floating.candidates(self.free(*more, *places)), None)
            if place is None:
                unmet.append(floating)
            else:
                places.append(place)
        return places, unmet

    def crowded_out(self, where: AddressRange, *more: AddressRange) -> list[Floating]:
        """Return what found a place with ``more`` taken, and finds none when ``where`` is taken, too."""
        if not self.floating:
            return []
        _, before = self.settled(*more)
        _, after = self.settled(*more, where)
        return [floating for floating in after if floating not in before]

    def places(
        self, size_bytes: int, step: int, *more: AddressRange, within: Iterable[AddressRange] | None = None
    ) -> list[AddressRange]:
        """Return the lowest and highest free places of that size in every gap, ascending, at multiples of ``step``.

        They lie in ``within`` (all RAM when not given), and leave room for what floats. Gaps are those with and those
        without what floats at the place Linux would choose now.
        """
        inside = joined(self.banks if within is None else within)
        settled, _ = self.settled(*more)
        found: dict[AddressRange, None] = {}
        for taken in ((*more,), (*more, *settled)) if settled else ((*more,),):
            for base, end in gaps(inside, [*(t.range for t in self.taken), *taken]):
                lowest = align_up(base, step)
                if lowest + size_bytes <= end:
                    highest = (end - size_bytes) // step * step
                    found[AddressRange.of_size(lowest, size_bytes)] = None
                    found[AddressRange.of_size(highest, size_bytes)] = None
        return sorted(where for where in found if not self.crowded_out(where, *more))
