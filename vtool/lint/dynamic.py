"""Rules on reservations that Linux is to place itself (``size``, ``alignment``, ``alloc-ranges``), and on CMAs.

Of Linux 6.12: drivers/of/of_reserved_mem.c (fdt_scan_reserved_mem reserves what has a place and then, in the order of
the tree, __reserved_mem_alloc_size places the rest from the top down), kernel/dma/contiguous.c (rmem_cma_setup),
mm/memblock.c (the page at 0 is never handed out).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vtool.base.units import MIB, PAGE_BYTES, AddressRange, align_up, format_size, free_ranges, joined
from vtool.diagnostics import Severity
from vtool.diagnostics.codes import rule
from vtool.lint.context import Context, Kind, ranges, tuples
from vtool.lint.finding import Finding
from vtool.lint.regions import CMA, initrd, is_cma
from vtool.platform.devicetree import Node, misread_by_linux
from vtool.platform.host_memory import Floating, Taken

PAGE_BLOCK_BYTES = 2 * MIB
"""include/linux/cma.h CMA_MIN_ALIGNMENT_BYTES with pages of 4 KiB; larger pages have larger blocks."""
_NEVER_HANDED_OUT = AddressRange(0, PAGE_BYTES)


def placed_by_linux(context: Context) -> Iterator[Node]:
    """Yield the regions that Linux is to place."""
    return (node for node in context.reserved if "size" in node.values and "reg" not in node.values)


@rule(
    "VT902",
    what="size, alignment or alloc-ranges are in the wrong cells",
    why="They are in cells of the root, alignment in those of an address; Linux skips a region that is not.",
    example="alignment = <0x400000> where an address has two cells",
    fix="Write size in #size-cells, alignment in #address-cells and alloc-ranges in both.",
)
def sizes_are_in_cells_of_the_root(context: Context) -> Iterator[Finding]:
    """``size``, ``alignment`` and ``alloc-ranges`` are in cells of the root, else Linux skips the region."""
    for node in placed_by_linux(context):
        for name, needed in misread_by_linux(context.tree.root, node):
            message = f"`{name}` has {len(node.values[name])} bytes, in cells of the root it is {needed}"
            message += ": Linux skips the region, so nothing is reserved"
            yield Finding("VT902", node, message, name, (context.tree.root,))


def wanted(context: Context, node: Node) -> Floating | None:
    """Return what a region asks for, None when Linux cannot read it (VT902 says so) or it asks for nothing."""
    size, alignment = (_number(node, name) for name in ("size", "alignment"))
    if not size or any(misread_by_linux(context.tree.root, node)):
        return None
    widths = context.tree.root.address_cells, context.tree.root.size_cells
    rows = tuples(node.properties.get("alloc-ranges"), *widths) or ()
    within = tuple(AddressRange.of_size(base, length) for base, length in rows if length)
    return Floating(f"'{node.path}'", size, max(alignment, PAGE_BLOCK_BYTES if is_cma(node) else 1), within)


def _number(node: Node, name: str) -> int:
    return int.from_bytes(node.values[name], "big") if name in node.values else 0


@rule(
    "VT901",
    what="a reservation finds no place",
    why=(
        "Its alloc-ranges are too small, hold no RAM, or what is reserved there leaves no hole (a warning where a "
        "boot loader may yet add RAM)."
    ),
    example="size = <0x0 0x20000000> with alloc-ranges of 256 MiB",
    fix="Ask for less, or widen alloc-ranges.",
)
def reservations_find_a_place(context: Context) -> Iterator[Finding]:
    """There is free RAM for every region that Linux is to place, where it may be."""
    taken = [Taken(f"'{node.path}'", where) for node in context.reserved for where in ranges(node)]
    if ramdisk := initrd(context):
        taken.append(Taken("the ramdisk", ramdisk))
    firmware = context.tree.memory_reservations
    for node in placed_by_linux(context):
        region = wanted(context, node)
        ram = free_ranges(context.memory or joined(region.within if region else ()), [_NEVER_HANDED_OUT])
        if region is None or not (context.memory or region.within):
            continue
        free = free_ranges(ram, [t.range for t in taken])
        place = next(region.candidates(free_ranges(free, firmware)), None)
        if place is None:
            yield _no_place(context, node, region, ram, taken)
        else:
            taken.append(Taken(region.what, place))


def _no_place(context: Context, node: Node, region: Floating, ram: list[AddressRange], taken: list[Taken]) -> Finding:
    """Say why a region finds no place: its ranges are small, hold no RAM, or what stands there leaves no hole."""
    size, said = format_size(region.size_bytes), ", ".join(map(str, region.within))
    effect, severity = "Linux cannot place it, 'failed to allocate memory for node'", Severity.ERROR
    if region.within and max(where.size_bytes for where in region.within) < region.size_bytes:
        return Finding("VT901", node, f"its size is {size}, `alloc-ranges` {said} has less room: {effect}", "size")
    inside = _common(ram, region.within) if region.within else ram
    free = free_ranges(inside, [t.range for t in taken])
    within = f" in {said}" if said else ""
    if any(region.candidates(free)):
        message = f"{size} are free{within} only over a /memreserve/"
        effect = "Linux before 6.4 cannot place it, later ones put it there"
    elif not inside:
        message = f"`alloc-ranges` {said} holds no RAM ({', '.join(map(str, context.memory))})"
    else:
        beside = [t.what for t in taken if any(hole.overlaps(t.range) for hole in inside)]
        fits = any(region.candidates(inside))
        largest = max((_room(region, hole) for hole in (free if fits else inside)), default=0)
        message = f"its size is {size}, and "
        message += f"no more than {_rounded(largest)} are free{within}" if largest else f"nothing is free{within}"
        message += f" beside {', '.join(beside[:3])}" if fits else ""
        if region.alignment > PAGE_BLOCK_BYTES:
            message += f" at a multiple of {format_size(region.alignment)}"
    # Boards ship trees with the least RAM that is sold; their boot loader writes what there is.
    last = max((where.end for where in region.within), default=1 << 64)
    if context.memory and context.kind is Kind.LINUX and last > context.memory[-1].end:
        effect, severity = f"{effect}, unless the boot loader finds more RAM", Severity.WARNING
    name = "alloc-ranges" if region.within else "size"
    return Finding("VT901", node, f"{message}: {effect}", name, severity=severity)


def _common(ram: list[AddressRange], within: Iterable[AddressRange]) -> list[AddressRange]:
    """Return the parts of RAM that lie in some ranges."""
    pairs = ((max(bank.base, w.base), min(bank.end, w.end)) for w in joined(within) for bank in ram)
    return [AddressRange(base, end) for base, end in pairs if base < end]


def _room(region: Floating, hole: AddressRange) -> int:
    """Return the bytes of a hole from its first address that is aligned as the region asks for."""
    return max(0, hole.end - align_up(hole.base, region.alignment))


def _rounded(size_bytes: int) -> str:
    return format_size(size_bytes // MIB * MIB or size_bytes)


@rule(
    "VT903",
    what="the alignment of a reservation is not possible",
    why="A CMA is made of whole page blocks, 2 MiB with pages of 4 KiB; an alignment is a power of two.",
    example="a reusable shared-dma-pool at 0x50100000",
    fix="Use multiples of 2 MiB; of 4 MiB for kernels without huge pages.",
)
def areas_are_made_of_page_blocks(context: Context) -> Iterator[Finding]:
    """A CMA is made of whole page blocks; any alignment is a power of two."""
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
        message = f"`alignment` is {alignment:#x}, not a power of two: Linux computes with one and misplaces the region"
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


@rule(
    "VT904",
    what="two regions are the default",
    why="The one that Linux sets up last wins, which depends on its release.",
    example="linux,cma-default in two nodes",
    fix="Leave it in one.",
)
def there_is_one_default(context: Context) -> Iterator[Finding]:
    """One region is the default CMA, one the default of coherent memory."""
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
