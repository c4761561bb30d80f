"""Rules on what a device can address: bus windows for DMA."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vtool.base.units import AddressRange, joined
from vtool.diagnostics.codes import rule
from vtool.lint.context import POOL, Context, ranges, whole_rows
from vtool.lint.finding import Finding
from vtool.lint.regions import CMA, is_cma
from vtool.platform.devicetree import Node

POOLS = {POOL, CMA}


_BEYOND_REACH: tuple[tuple[Callable[[Node], bool], str], ...] = (
    (lambda pool: POOL in pool.compatible, "Linux fails every transfer, 'swiotlb addr ... overflow'"),
    (is_cma, "Linux takes nothing of it for this device"),
    (lambda _: True, "Linux gives the device addresses that it cannot reach"),
)
"""What becomes of a pool out of reach (kernel/dma/swiotlb.c, direct.c and coherent.c of 6.12)."""


def is_pci(node: Node) -> bool:
    """Whether Linux takes a node for a PCI bus (drivers/of/address.c of_bus_pci_match)."""
    return node.string("device_type") in ("pci", "pciex", "vci", "ht") or node.base_name == "pcie"


def dma_windows(context: Context, device: Node) -> list[AddressRange] | None:
    """Return the RAM that a device can address, as the CPU sees it; None when the tree sets no bounds.

    As Linux 6.12 does in drivers/of/address.c, of_dma_get_range: from the device's bus upwards the first bus with a
    `dma-ranges` that is not empty; two buses without any end the search. A host bridge stands for what is behind it.
    """
    bus = device if is_pci(device) else _dma_parent(context, device)
    passed = False
    while bus is not None:
        found = bus.properties.get("dma-ranges")
        if found is not None and found.value:
            # Of a property without one whole row Linux says -EINVAL and gives the device all addresses (VT831).
            return _windows(context, bus) if _rows(bus) else None
        if passed and found is None:
            return None
        passed, bus = True, _dma_parent(context, bus)
    return None


def _dma_parent(context: Context, node: Node) -> Node | None:
    """Return the bus through which DMA goes: the parent, or what the interconnect `dma-mem` names."""
    names = node.strings("interconnect-names") if "interconnect-names" in node.values else ()
    if "dma-mem" not in names:
        return node.parent
    cells, at = node.cells("interconnects"), 0
    for name in names:
        provider = context.by_phandle.get(cells[at]) if at < len(cells) else None
        if provider is None:
            break
        if name == "dma-mem":
            return provider
        at += 1 + provider.number("#interconnect-cells")
    return node.parent


def _windows(context: Context, bus: Node) -> list[AddressRange]:
    found = []
    for address, size in _rows(bus):
        at: int | None = address
        above = _dma_parent(context, bus)
        while at is not None and above is not None and above.parent is not None:
            at = _through(above, at)
            above = _dma_parent(context, above)
        if at is not None and size:
            found.append(AddressRange.of_size(at, size))
    return joined(found)


def _rows(bus: Node) -> list[tuple[int, int]]:
    """Return the `dma-ranges` of a bus as addresses of the bus above it, with sizes."""
    above = bus.parent.address_cells if bus.parent else 2
    widths = bus.address_cells, above, bus.size_cells
    return [(parent, size) for _, parent, size in whole_rows(bus.properties.get("dma-ranges"), *widths)]


def _through(bus: Node, address: int) -> int | None:
    """Translate an address of a bus to the one above; without `dma-ranges`, or with empty ones, it stays itself."""
    found = bus.properties.get("dma-ranges")
    if found is None or not found.value or bus.parent is None:
        return address
    rows = whole_rows(found, bus.address_cells, bus.parent.address_cells, bus.size_cells)
    return next((address - child + parent for child, parent, size in rows if child <= address < child + size), None)


@rule(
    "VT905",
    what="a device cannot reach its pool",
    why="The dma-ranges of the buses above it say what RAM it can address; nested ones are taken together.",
    example="a pool at 0x50000000 for a device whose bus reaches the first GiB",
    fix="Move the pool, or correct dma-ranges.",
)
def pools_are_within_reach(context: Context) -> Iterator[Finding]:
    """A device can address the pool that it is to use."""
    pools = {node for node in context.reserved if not POOLS.isdisjoint(node.compatible)}
    for device in context.used("memory-region") if pools else ():
        own = [node for _, node in context.referenced(device, "memory-region") if node in pools]
        windows = dma_windows(context, device) if own else None
        if windows is None:
            continue
        for pool in own:
            for where in ranges(pool)[:1] if pool is not None else ():
                if not any(window.contains(where) for window in windows):
                    reach = ", ".join(map(str, windows)) or "nothing"
                    message = f"its bus reaches {reach} (`dma-ranges`), the pool '{pool.path}' is {where}"
                    effect = next(words for test, words in _BEYOND_REACH if test(pool))
                    yield Finding("VT905", device, f"{message}: {effect}", "memory-region", (pool,))
