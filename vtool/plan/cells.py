"""Numbers and the cells they are written in: a board's own tree says how wide those are, and keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vtool.base.units import PAGE_BYTES, AddressRange
from vtool.diagnostics import Diagnostic
from vtool.diagnostics.codes import declare
from vtool.plan.types import BoardPlan
from vtool.platform.host_memory import Taken


def too_few_cells(board: BoardPlan) -> Iterator[Diagnostic]:
    """Yield a finding (VT821) for each number of a plan that the cells of the board's device tree cannot hold."""
    facts, boot = board.facts.device_tree, board.xen_boot
    in_chosen = [Taken(f"memory of '{g.name}'", s.range) for g in board.guests for s in g.static_memory]
    for view in boot.shared:
        in_chosen += [Taken(f"region '{view.region}'", where) for where in (view.host, view.inside) if where]
    load = board.facts.load
    if board.xen_image is not None and load is not None:
        in_chosen.append(Taken(f"the kernel of '{board.control.name}'", AddressRange.of_size(load.kernel, PAGE_BYTES)))
        if board.control.ramdisk_window is not None:
            in_chosen.append(Taken(f"the ramdisk of '{board.control.name}'", board.control.ramdisk_window))
    heap = [Taken("the static heap", boot.static_heap.range)] if boot.static_heap else []
    regions = [Taken(f"region '{region.region}'", region.range) for region in board.host_regions]
    yield from _too_few("/chosen", facts.chosen_cells, in_chosen)
    yield from _too_few("/reserved-memory", facts.region_cells, regions)
    yield from _too_few("/", (facts.address_cells, facts.size_cells), heap)


declare(
    "VT821",
    what="a number cannot be written into the base tree",
    why="Nodes keep the cells that they have, since changing them would change the meaning of everything in them.",
    example="static memory above 4GiB, and /chosen with #address-cells 1",
    fix="Fix an address that the cells can hold, or use a tree with wider cells.",
)


def _too_few(path: str, cells: tuple[int, int], written: Iterable[Taken]) -> Iterator[Diagnostic]:
    address, size = cells
    for taken in dict.fromkeys(written):
        what = f"{taken.what} {taken.range} cannot be written into '{path}' of the device tree"
        if not {address, size} <= {1, 2}:
            yield Diagnostic("VT821", f"{what}: its cells are {address} and {size}: neither 1 nor 2")
        elif taken.range.base >> 32 * address or taken.range.size_bytes >> 32 * size:
            yield Diagnostic("VT821", f"{what}: its cells are {address} and {size}")
