"""Rules for every tree: cells, phandles, interrupt parents."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vtool.base.units import PAGE_BYTES, AddressRange
from vtool.diagnostics import Severity
from vtool.diagnostics.codes import declare, rule
from vtool.lint.context import MOST_ADDRESS_BITS, Context, Kind, tuples
from vtool.lint.finding import Finding
from vtool.platform.devicetree import UNRESOLVED, Node, booted_by_uefi, describes_nothing
from vtool.platform.layouts import XEN_GIC_PHANDLE

_HEXADECIMAL = re.compile(r"[0-9a-f]{1,16}\Z")
_CELLS = ((1, 1), (2, 2), (2, 1), (1, 2))


declare(
    "VT830",
    what="a file is an overlay, not a tree",
    why="What it means depends on the tree that it is merged into.",
    example="vtool lint pool.dtbo",
    fix="Merge it with fdtoverlay and lint the result.",
)


def is_no_overlay(context: Context) -> Iterator[Finding]:
    """VT830: an overlay says what is to change, not what the tree will be."""
    for child in context.tree.root.children.values():
        if "__overlay__" in child.children:
            hint = "merge it first: fdtoverlay -i base.dtb -o merged.dtb overlay.dtbo"
            yield Finding(
                "VT830", child, "this is an overlay; what it makes of a tree cannot be seen here", hints=(hint,)
            )
            return


@rule(
    "VT859",
    what="a tree describes no board",
    why=(
        "Where a board describes itself by ACPI, Linux's EFI stub makes a tree of /chosen alone; nothing else is in "
        "it to judge."
    ),
    example="/sys/firmware/fdt of a server",
    fix="Set the firmware to hand over a device tree, and lint that.",
)
def describes_a_board(context: Context) -> Iterator[Finding]:
    """The tree is more than what Linux's EFI stub makes where a board describes itself by ACPI."""
    if describes_nothing(context.tree) and booted_by_uefi(context.tree):
        message = "there is nothing but /chosen, made by Linux's EFI stub: the board describes itself by ACPI"
        hint = "many boards' firmware can be set to hand over a device tree instead of ACPI's tables"
        yield Finding("VT859", context.tree.root, message, hints=(hint,))


@rule(
    "VT831",
    what="a reg, ranges or dma-ranges is no whole number of entries",
    why=(
        "A reg is addresses and sizes in the parent's cells; a row of ranges is an address in its own, one in the "
        "parent's, and a size."
    ),
    example="reg = <0x40000000 0x1000> under a parent with 2 and 2 cells",
    fix="Write every address and size with as many cells as the parent says.",
)
def reg_divides_into_cells(context: Context) -> Iterator[Finding]:
    """``reg`` is a whole number of entries of the parent's cells."""
    for node in context.having("reg") if context.for_xen else context.used("reg"):  # Xen looks at no status
        length, parent = len(node.values["reg"]), node.parent
        if parent is None:
            continue
        address, size = context.reg_cells(parent)
        each = 4 * (address + size)
        if length and each and length % each == 0:
            continue
        said = f"#address-cells {address} and #size-cells {size}"
        message = f"`reg` has {length} bytes, not a multiple of {each} ({said} of '{parent.path}')"
        hint = f"'{parent.path}' does not state its cells; 2 and 1 are the defaults"
        silent = not {"#address-cells", "#size-cells"} <= set(parent.values)
        yield Finding("VT831", node, message, "reg", (parent,), hints=(hint,) if silent else ())


@rule("VT831")
def windows_divide_into_rows(context: Context) -> Iterator[Finding]:
    """``ranges`` and ``dma-ranges`` are whole rows: an address on the bus, one above it, and a size.

    Linux reads whole rows from the first on (6.12 drivers/of/address.c of_translate_one, of_pci_range_parser_one).
    """
    for name in ("ranges", "dma-ranges"):
        for bus in context.having(name) if context.for_xen else context.used(name):
            length, parent = len(bus.values[name]), bus.parent
            silent = not {"#address-cells", "#size-cells"} <= set(bus.values)
            if parent is None or silent or "#address-cells" not in parent.values:
                continue
            own, above, size = bus.address_cells, parent.address_cells, bus.size_cells
            each = 4 * (own + above + size)
            if not each or length % each == 0:
                continue
            rows = length // each
            message = f"`{name}` has {length} bytes, not a multiple of {each} (#address-cells {own} and #size-cells "
            message += f"{size} here, #address-cells {above} of '{parent.path}'): Linux reads "
            message += f"the first {rows} of its rows" if rows else "none of it"
            yield Finding("VT831", bus, message, name, (parent,))


@rule(
    "VT900",
    what="a reg is read with other cell counts than it was written with",
    why=(
        "Its length divides by the parent's cells by chance, and the numbers come out elsewhere than the unit "
        "address says."
    ),
    example="log@b000000 with reg = <0xb000000 0x40000 0xc000000 0x40000> under a parent with 2 and 2 cells",
    fix="Write every address and size with as many cells as the parent says.",
)
def reg_is_where_the_name_says(context: Context) -> Iterator[Finding]:
    """``reg`` does not divide into the parent's cells by mere chance, its numbers being of other cells."""
    in_ram = {*context.reserved, *context.memory_nodes}
    for node in context.having("reg") if context.for_xen else context.used("reg"):
        parent, value, (_, _, unit) = node.parent, node.values["reg"], node.name.partition("@")
        widths = context.reg_cells(parent) if parent else (0, 0)
        if parent is None or not (0 < widths[0] <= 2 and widths[1]) or len(value) % (4 * sum(widths)):
            continue
        first = int.from_bytes(value[: 4 * widths[0]], "big")
        if f"{first:x}" == unit and node not in in_ram:
            continue
        rows = tuples(node.properties["reg"], *widths) or []
        far = next((row for row in rows if node in in_ram and (sum(row) - 1) >> MOST_ADDRESS_BITS and row[1]), None)
        # Small numbers are indexes, of which the first cell of a longer address is one too.
        said = int(unit, 16) if _HEXADECIMAL.match(unit) else 0
        other = _other_cells(node, widths, said) if said >= PAGE_BYTES and (far or said != first) else None
        if not rows or (other is None and far is None):
            continue
        where = AddressRange.of_size(*(far or rows[0]))
        message = f"`reg` is read as {where}, in the cells of '{parent.path}' ({widths[0]} and {widths[1]})"
        if other:
            message += "" if said == first else f", not at {unit}"
            message += f"; it was written in cells of {other[0]} and {other[1]}"
        else:
            message += f": no CPU addresses more than {MOST_ADDRESS_BITS} bits"
        yield Finding("VT900", node, message, "reg", (parent,))


def _other_cells(node: Node, widths: tuple[int, int], unit: int) -> tuple[int, int] | None:
    """Return the cells in which the first address of ``reg`` would be the one in the node's name."""
    for other in _CELLS:
        rows = tuples(node.properties["reg"], *other) if other != widths else None
        if rows and rows[0][0] == unit and all(size for _, size in rows):
            return other
    return None


@rule(
    "VT832",
    what="two nodes have the same phandle",
    why="A reference to one of them may reach the other.",
    example="phandle = <1> in two nodes",
    fix="Leave phandles out, refer to labels, and let dtc number the nodes.",
)
@rule(
    "VT833",
    what="a phandle cannot be one",
    why="0 and 0xffffffff name nothing, and phandle and linux,phandle must agree.",
    example="phandle = <0>",
    fix="Leave it out; dtc numbers what is referred to.",
)
def phandles_are_unique(context: Context) -> Iterator[Finding]:
    """A phandle names one node, and is a number that may be one."""
    for node in context.having("linux,phandle"):
        both = node.number("phandle"), node.number("linux,phandle")
        if all(both) and both[0] != both[1]:
            message = f"`phandle` is {both[0]:#x} and `linux,phandle` {both[1]:#x}; readers take either"
            yield Finding("VT833", node, message, "phandle")
    if len(context.by_phandle) == len(context.numbered) and UNRESOLVED not in context.by_phandle:
        return
    for node, number in context.numbered:
        if number in (0, UNRESOLVED):
            name = "phandle" if "phandle" in node.values else "linux,phandle"
            yield Finding("VT833", node, f"`{name}` is {number:#x}, which names nothing", name)
        elif (other := context.by_phandle[number]) is not node:
            message = f"phandle {number:#x} is also that of '{other.path}': who refers to one may get the other"
            hint = "leave phandles out and refer to labels; dtc then numbers the nodes"
            yield Finding("VT832", node, message, "phandle", (other,), (hint,))


@rule(
    "VT834",
    what="an interrupt parent is no interrupt controller",
    why=(
        "A hard-coded phandle comes to mean another node once phandles are assigned again (a warning where Linux goes "
        "on to a controller)."
    ),
    example="interrupt-parent = <0x4>, where 4 is a reserved region",
    fix="Refer to the controller's label: interrupt-parent = <&gic>.",
)
def interrupt_parents_lead_to_controllers(context: Context) -> Iterator[Finding]:
    """An interrupt parent is there and is an interrupt controller or a nexus.

    Linux goes on from a node without ``#interrupt-cells`` to that one's own parent (drivers/of/irq.c
    of_irq_find_parent, 6.12).
    """
    hint = "refer to the controller's label: phandle numbers change whenever dtc assigns them"
    for node in context.used("interrupt-parent"):
        number = node.number("interrupt-parent")
        parent = context.by_phandle.get(number)
        if parent is None:
            if number == 0 and "interrupt-controller" in node.values:
                continue  # the way to say that a controller is the first
            # Without a /gic node in the fragment Xen names its own controller so.
            if context.kind is Kind.PARTIAL and number == XEN_GIC_PHANDLE:
                continue
            message = f"`interrupt-parent` is {number:#x}, and no node has that phandle: its interrupts are lost"
            yield Finding("VT834", node, message, "interrupt-parent", hints=(hint,))
        elif not {"interrupt-controller", "interrupt-map", "#interrupt-cells"} & set(parent.values):
            message = f"`interrupt-parent` {number:#x} is '{parent.path}', which is not an interrupt controller"
            found = _next_controller(context, parent)
            severity = Severity.WARNING if found else Severity.ERROR
            if found:
                message += f": Linux goes on to '{found.path}'"
            yield Finding("VT834", node, message, "interrupt-parent", (parent,), (hint,), severity)


def _next_controller(context: Context, at: Node) -> Node | None:
    """Return the node with ``#interrupt-cells`` that Linux comes to from one without, None when there is none."""
    seen: set[Node] = set()
    node: Node | None = at
    while node is not None and "#interrupt-cells" not in node.values:
        if node in seen:
            return None
        seen.add(node)
        own = "interrupt-parent" in node.values
        node = context.by_phandle.get(node.number("interrupt-parent")) if own else node.parent
    return node


@rule(
    "VT835",
    what="memory-region names no node",
    why="Linux goes on without the region and does not mention it.",
    example="memory-region = <0x99>",
    fix="Refer to the region's label.",
)
def memory_regions_exist(context: Context) -> Iterator[Finding]:
    """What ``memory-region`` names is there."""
    for node in context.used("memory-region"):
        for number, region in context.referenced(node, "memory-region"):
            if region is not None:
                continue
            message = f"`memory-region` names phandle {number:#x}, which no node has: Linux goes on without the region"
            severity = Severity.ERROR
            if context.kind is Kind.PARTIAL:
                message = f"`memory-region` names phandle {number:#x}, which no node of this fragment has"
                message += "; Linux goes on without the region unless a patched Xen gives it to a node of its own"
                severity = Severity.WARNING
            yield Finding("VT835", node, message, "memory-region", severity=severity)
