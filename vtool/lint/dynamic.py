"""Rules on reservations that Linux is to place itself (``size``, ``alignment``, ``alloc-ranges``), and on CMAs.

Of Linux 6.12: drivers/of/of_reserved_mem.c (fdt_scan_reserved_mem reserves what has a place and then, in the order of
the tree, __reserved_mem_alloc_size places the rest from the top down), kernel/dma/contiguous.c (rmem_cma_setup),
mm/memblock.c (the page at 0 is never handed out).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vtool.devicetree import Node
from vtool.diagnostics import Severity
from vtool.lint.context import Context, Kind, ranges, tuples
from vtool.lint.finding import Finding
from vtool.lint.regions import CMA, initrd, is_cma
from vtool.units import MIB, PAGE_BYTES, AddressRange, format_size

PAGE_BLOCK_BYTES = 2 * MIB
"""include/linux/cma.h CMA_MIN_ALIGNMENT_BYTES with pages of 4 KiB; larger pages have larger blocks."""
_EVERYWHERE = AddressRange(0, 1 << 64)
_Taken = list[tuple[AddressRange, str]]


@dataclass(frozen=True, eq=False)
class Wanted:
    """A reservation without a place that Linux can read; no ``within`` means anywhere."""

    node: Node
    size_bytes: int
    alignment: int
    within: tuple[AddressRange, ...]


def placed_by_linux(context: Context) -> Iterator[Node]:
    """Yield the regions that Linux is to place."""
    return (node for node in context.reserved if "size" in node.values and "reg" not in node.values)


def sizes_are_in_cells_of_the_root(context: Context) -> Iterator[Finding]:
    """VT902: ``size``, ``alignment`` and ``alloc-ranges`` are in cells of the root, else Linux skips the region."""
    for node in placed_by_linux(context):
        for name, needed in _misread(context, node):
            message = f"`{name}` has {len(node.values[name])} bytes, in cells of the root it is {needed}"
            message += ": Linux skips the region, so nothing is reserved"
            yield Finding("VT902", node, message, name, (context.tree.root,))


def _misread(context: Context, node: Node) -> Iterator[tuple[str, str]]:
    """Yield the properties of a region whose length Linux does not take, each with what it would be."""
    address, size = 4 * context.tree.root.address_cells, 4 * context.tree.root.size_cells
    for name, length in (("size", size), ("alignment", address)):
        if name in node.values and len(node.values[name]) != length:
            yield name, f"{length}"
    row = address + size
    ranges_of = node.values.get("alloc-ranges")
    if ranges_of is not None and (not ranges_of or not row or len(ranges_of) % row):
        yield "alloc-ranges", f"{row} for each range"


def wanted(context: Context, node: Node) -> Wanted | None:
    """Return what a region asks for, None when Linux cannot read it (VT902 says so) or it asks for nothing."""
    size, alignment = (_number(node, name) for name in ("size", "alignment"))
    if not size or any(_misread(context, node)):
        return None
    widths = context.tree.root.address_cells, context.tree.root.size_cells
    within = tuple(
        AddressRange.of_size(base, length)
        for base, length in tuples(node.properties.get("alloc-ranges"), *widths) or ()
        if length
    )
    return Wanted(node, size, max(alignment, PAGE_BLOCK_BYTES if is_cma(node) else 1), within)


def _number(node: Node, name: str) -> int:
    return int.from_bytes(node.values[name], "big") if name in node.values else 0


def reservations_find_a_place(context: Context) -> Iterator[Finding]:
    """VT901: there is free RAM for every region that Linux is to place, where it may be."""
    taken = [(where, f"'{node.path}'") for node in context.reserved for where in ranges(node)]
    if ramdisk := initrd(context):
        taken.append((ramdisk, "the ramdisk"))
    firmware = [(where, "/memreserve/") for where in context.tree.memory_reservations]
    for node in placed_by_linux(context):
        region = wanted(context, node)
        if region is None:
            continue
        ram = context.memory or list(region.within)
        place = _place(region, ram, [*taken, *firmware])
        if place is not None:
            taken.append((place, f"'{node.path}'"))
            continue
        yield _no_place(context, region, ram, taken)


def _place(region: Wanted, ram: list[AddressRange], taken: _Taken) -> AddressRange | None:
    """Return where Linux puts a region: the first of its ranges that has room, there from the top."""
    if not ram:
        return AddressRange(0, 1)  # nothing is known of RAM
    for within in region.within or (_EVERYWHERE,):
        for hole in reversed(_holes(within, ram, taken)):
            base = (hole.end - region.size_bytes) // region.alignment * region.alignment
            if base >= hole.base:
                return AddressRange.of_size(base, region.size_bytes)
    return None


def _holes(within: AddressRange, ram: list[AddressRange], taken: _Taken) -> list[AddressRange]:
    found = []
    for bank in ram:
        base, end = max(within.base, bank.base, PAGE_BYTES), min(within.end, bank.end)
        for other in sorted(where for where, _ in taken):
            if base < other.end and other.base < end:
                if base < other.base:
                    found.append(AddressRange(base, other.base))
                base = other.end
        if base < end:
            found.append(AddressRange(base, end))
    return found


def _no_place(context: Context, region: Wanted, ram: list[AddressRange], taken: _Taken) -> Finding:
    """Say why a region finds no place: its ranges are small, hold no RAM, or what stands there leaves no hole."""
    node, size = region.node, format_size(region.size_bytes)
    effect, severity = "Linux cannot place it, 'failed to allocate memory for node'", Severity.ERROR
    name = "alloc-ranges" if region.within else "size"
    said = ", ".join(map(str, region.within))
    within = f" in {said}" if said else ""
    if region.within and max(where.size_bytes for where in region.within) < region.size_bytes:
        return Finding("VT901", node, f"its size is {size}, `alloc-ranges` {said} has less room: {effect}", "size")
    places = region.within or (_EVERYWHERE,)
    empty = [hole for where in places for hole in _holes(where, ram, [])]
    if _place(region, ram, taken) is not None:
        message = f"{size} are free{within} only over a /memreserve/"
        effect = "Linux before 6.4 cannot place it, later ones put it there"
    elif not empty:
        message = f"`alloc-ranges` {said} holds no RAM ({', '.join(map(str, context.memory))})"
    else:
        beside = [who for other, who in taken if any(hole.overlaps(other) for hole in empty)]
        among = "" if _place(region, ram, []) is None else f" beside {', '.join(beside[:3])}"
        holes = [hole for where in places for hole in _holes(where, ram, taken if among else [])]
        largest = max((_room(region, hole) for hole in holes), default=0)
        at = f" at a multiple of {format_size(region.alignment)}" if region.alignment > PAGE_BLOCK_BYTES else ""
        room = f"no more than {_rounded(largest)} are" if largest else "nothing is"
        message = f"its size is {size}, and {room} free{within}{among}{at}"
    # Boards ship trees with the least RAM that is sold; their boot loader writes what there is.
    if context.memory and context.kind is Kind.LINUX and max(r.end for r in places) > context.memory[-1].end:
        effect, severity = f"{effect}, unless the boot loader finds more RAM", Severity.WARNING
    return Finding("VT901", node, f"{message}: {effect}", name, severity=severity)


def _room(region: Wanted, hole: AddressRange) -> int:
    """Return the bytes of a hole from its first address that is aligned as the region asks for."""
    return max(0, hole.end - -(-hole.base // region.alignment) * region.alignment)


def _rounded(size_bytes: int) -> str:
    return format_size(size_bytes // MIB * MIB or size_bytes)


def areas_are_made_of_page_blocks(context: Context) -> Iterator[Finding]:
    """VT903: a CMA is made of whole page blocks; any alignment is a power of two."""
    for node in placed_by_linux(context):
        yield from _alignment(context, node)
        region = wanted(context, node)
        if region and is_cma(node) and region.size_bytes % PAGE_BLOCK_BYTES and context.in_pages_of_4_kib:
            yield _not_in_blocks(node, f"its size {region.size_bytes:#x} is", "size")
    for node in context.reserved if context.in_pages_of_4_kib else ():
        if is_cma(node):
            for where in ranges(node)[:1]:  # the first is the area
                if where.base % PAGE_BLOCK_BYTES or where.end % PAGE_BLOCK_BYTES:
                    yield _not_in_blocks(node, f"{where} is", "reg")


def _alignment(context: Context, node: Node) -> Iterator[Finding]:
    found, alignment = node.properties.get("alignment"), _number(node, "alignment")
    if found is None or len(found.value) != 4 * context.tree.root.address_cells:
        return  # VT902
    if alignment & (alignment - 1):
        message = f"`alignment` is {alignment:#x}, no power of two: Linux reckons with one and misplaces the region"
        yield Finding("VT903", node, message, "alignment")
    elif is_cma(node) and 0 < alignment < PAGE_BLOCK_BYTES:
        message = (
            f"`alignment` is {format_size(alignment)}, less than the {format_size(PAGE_BLOCK_BYTES)} of a page block"
        )
        message += ": Linux aligns a CMA to page blocks all the same"
        yield Finding("VT903", node, message, "alignment", severity=Severity.WARNING)


def _not_in_blocks(node: Node, what: str, name: str) -> Finding:
    message = f"{what} not made of whole page blocks of {format_size(PAGE_BLOCK_BYTES)}"
    return Finding("VT903", node, f"{message}: Linux refuses the CMA, 'incorrect alignment of CMA region'", name)


def there_is_one_default(context: Context) -> Iterator[Finding]:
    """VT904: one region is the default CMA, one the default of coherent memory."""
    for name, what, fits in (
        ("linux,cma-default", "CMA", is_cma),
        ("linux,dma-default", "coherent memory", lambda node: CMA in node.compatible and not is_cma(node)),
    ):
        found = [node for node in context.reserved if name in node.values and fits(node)]
        # 6.12 sets up what it places itself, in the order of the tree, and then what has a place.
        found.sort(key=lambda node: "reg" in node.values)
        for node in found[:-1]:
            message = f"`{name}`, which '{found[-1].path}' is, too: Linux 6.12 takes that one for the default {what}"
            yield Finding("VT904", node, message, name, (found[-1],))


RULES = (
    sizes_are_in_cells_of_the_root,
    reservations_find_a_place,
    areas_are_made_of_page_blocks,
    there_is_one_default,
)
