"""What Xen makes of the host's own nodes when it builds dom0: which addresses it cannot find.

Enter at `untranslatable`, which import asks, too. Of Xen 4.20: xen/arch/arm/domain_build.c handle_node,
xen/arch/arm/device.c handle_device, xen/common/device-tree/device-tree.c __dt_translate_address. It looks at no
status: what is switched off counts, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.diagnostics.codes import rule
from vtool.lint.context import Context
from vtool.lint.finding import Finding
from vtool.platform.devicetree import DEFAULT_ADDRESS_CELLS, DEFAULT_SIZE_CELLS, Node, Tree

SKIPPED = {
    "xen,domain", "xen,domain-shared-memory-v1", "xen,evtchn-v1", "xen,xen", "xen,multiboot-module",
    "multiboot,module", "arm,psci", "arm,psci-0.2", "arm,psci-1.0", "arm,cortex-a7-pmu", "arm,cortex-a15-pmu",
    "arm,cortex-a53-edac", "arm,armv8-pmuv3", "arm,armv7-timer-mem", "arm,armv7-timer", "arm,armv8-timer",
    "arm,gic-v3", "arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic",
    "arm,smmu-v3", "arm,smmu-v1", "arm,smmu-v2", "arm,mmu-400", "arm,mmu-401", "arm,mmu-500",
    "renesas,ipmmu-r8a7795", "renesas,ipmmu-r8a77965", "renesas,ipmmu-r8a7796", "renesas,ipmmu-r8a77961",
    "renesas,ipmmu-r8a779f0", "renesas,ipmmu-r8a779g0",
}  # fmt: skip
"""Nodes that Xen replaces, keeps or leaves out, with all below them."""
_SKIPPED = frozenset(name.encode() for name in SKIPPED)
_PCI_TYPES = ("pci", "pciex", "vci", "ht")
_PCI_CELLS = (3, 2)
_MOST_ADDRESS_CELLS = 4
_PPI = 1
_SPACE_SHIFT = 24
_SPACES = {1: 1, 2: 2, 3: 2}
"""PCI space codes of an address' first cell: I/O, and memory of 32 or 64 bits, which count as one."""


def untranslatable(tree: Tree) -> Iterator[tuple[Node, int]]:
    """Yield the nodes for whose sake Xen does not build dom0, each with the number of the address in question."""
    rest = [tree.root]
    while rest:
        bus = rest.pop()
        children = [node for node in bus.children.values() if not _left_out(node)]
        rest.extend(reversed(children))
        if bus.parent is None or not _is_bus(bus):
            continue  # on the root addresses are the CPU's own, on what is no bus they are none
        for node in children:
            number = _first_lost(node, bus)
            if number is not None:
                yield node, number


def _left_out(node: Node) -> bool:
    compatible = node.values.get("compatible")
    if compatible is not None and not _SKIPPED.isdisjoint(compatible.split(b"\0")):
        return True
    if node.path == "/cpus" or node.string("device_type") == "memory":
        return True
    cells = node.cells("interrupts") if "interrupts" in node.values else ()
    return bool(cells) and len(cells) % 3 == 0 and _PPI in cells[::3]  # Xen hands no PPIs on


def _first_lost(node: Node, bus: Node) -> int | None:
    """Return the number of the first address of a node that leads nowhere, None when all are found."""
    cells = node.cells("assigned-addresses" if _is_pci(bus) else "reg")
    address, size = _cells_in(bus)
    if not cells or not _count(address, size):
        return None
    each = address + size
    for number in range(len(cells) // each):
        if not _leads_to_the_root(bus, cells[number * each : number * each + address]):
            return number
    return None


def _is_bus(node: Node) -> bool:
    """Whether Xen takes a node for a bus; addresses on what is none are no addresses."""
    return node.parent is None or "ranges" in node.values or _is_pci(node)


def _is_pci(node: Node) -> bool:
    if "device_type" in node.values and node.string("device_type") in _PCI_TYPES:
        return True
    return node.name.startswith("pci") and node.base_name in ("pci", "pcie")


def _cells_in(bus: Node) -> tuple[int, int]:
    """Return the cells of addresses and sizes on a bus, inherited from above where it does not say."""
    return (
        _PCI_CELLS
        if _is_pci(bus)
        else (
            _inherited(bus, "#address-cells", DEFAULT_ADDRESS_CELLS),
            _inherited(bus, "#size-cells", DEFAULT_SIZE_CELLS),
        )
    )


def _inherited(node: Node | None, name: str, default: int) -> int:
    while node is not None:
        if name in node.values:
            return node.number(name)
        node = node.parent
    return default


def _count(address: int, size: int) -> bool:
    return 0 < address <= _MOST_ADDRESS_CELLS and size > 0


def _leads_to_the_root(bus: Node, address: tuple[int, ...]) -> bool:
    while bus.parent is not None:
        above = _cells_in(bus.parent)
        if "ranges" not in bus.values or not _is_bus(bus.parent) or not _count(*above):
            return False
        rows = bus.cells("ranges")
        mapped = _through(bus, address, rows, above[0]) if rows else _as_cells(_number(address), above[0])
        if mapped is None:
            return False
        bus, address = bus.parent, mapped
    return True


def _through(bus: Node, address: tuple[int, ...], ranges: tuple[int, ...], above: int) -> tuple[int, ...] | None:
    wide, size = _cells_in(bus)
    step, pci = wide + above + size, _is_pci(bus)
    for at in range(0, len(ranges) - step + 1, step):
        child, length = ranges[at : at + wide], _number(ranges[at + wide + above : at + step])
        if pci and _space(child) != _space(address):
            continue
        if not pci and wide > 2 and child != address:
            continue
        base, wanted = (_number(cells[1:] if pci else cells) for cells in (child, address))
        if base <= wanted < base + length:
            parent = ranges[at + wide : at + wide + above]
            flags = parent[:1] if bus.parent is not None and _is_pci(bus.parent) else ()
            return flags + _as_cells(_number(parent) + wanted - base, above - len(flags))
    return None


def _space(address: tuple[int, ...]) -> int:
    return _SPACES.get(address[0] >> _SPACE_SHIFT & 3, 0)


def _number(cells: tuple[int, ...]) -> int:
    found = 0
    for cell in cells[-2:]:
        found = found << 32 | cell
    return found


def _as_cells(number: int, count: int) -> tuple[int, ...]:
    return tuple(number >> 32 * (count - 1 - at) & 0xFFFF_FFFF for at in range(count))


@rule(
    "VT911",
    what="a node's address leads nowhere, and Xen panics",
    why=(
        "Building dom0 it translates each reg on a bus with ranges up to the root, whatever the status, and panics "
        "when one leads nowhere."
    ),
    example="r5f@1 with a reg that no row of its parent's ranges holds",
    fix="Remove the node from the tree that Xen gets, or complete ranges.",
)
def dom0_gets_every_address(context: Context) -> Iterator[Finding]:
    """Xen finds the addresses of all nodes that dom0 is to get."""
    if context.for_xen and (context.has_dom0 or not context.domains):
        for node, number in untranslatable(context.tree):
            message = f"address {number} leads nowhere through the `ranges` above it: {context.xen} panics on the node"
            message += " while it builds dom0, 'Unable to retrieve address'"
            hint = "Xen looks at no `status`: delete the node from the tree that Xen gets, or complete `ranges`"
            yield Finding("VT911", node, message, "reg", hints=(hint,))
