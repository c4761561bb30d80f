"""Rules for every tree: cells, phandles, interrupt parents."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.devicetree import Node
from vtool.diagnostics import Severity
from vtool.layouts import XEN_GIC_PHANDLE
from vtool.lint.context import Context, Kind, tuples
from vtool.lint.finding import Finding


def is_no_overlay(context: Context) -> Iterator[Finding]:
    """VT830: an overlay says what is to change, not what the tree will be."""
    for child in context.tree.root.children.values():
        if "__overlay__" in child.children:
            hint = "merge it first: fdtoverlay -i base.dtb -o merged.dtb overlay.dtbo"
            yield Finding(
                "VT830", child, "this is an overlay; what it makes of a tree is not to be seen", hints=(hint,)
            )
            return


def reg_divides_into_cells(context: Context) -> Iterator[Finding]:
    """VT831: ``reg`` is a whole number of entries of the parent's cells."""
    for node in context.nodes:
        found, parent = node.properties.get("reg"), node.parent
        if found is None or parent is None:
            continue
        # Xen lets /chosen and its domains inherit their cells; VT860 says so.
        inherits = parent is context.chosen or parent in context.domains
        address, size = context.cells(parent) if inherits else (parent.address_cells, parent.size_cells)
        if tuples(found, address, size):
            continue
        said = f"#address-cells {address} and #size-cells {size}"
        each = 4 * (address + size)
        message = f"`reg` has {len(found.value)} bytes, not a multiple of {each} ({said} of '{parent.path}')"
        hint = f"'{parent.path}' does not say its cells; 2 and 1 are the defaults"
        silent = not {"#address-cells", "#size-cells"} <= set(parent.properties)
        yield Finding("VT831", node, message, "reg", (parent,), hints=(hint,) if silent else ())


def phandles_are_unique(context: Context) -> Iterator[Finding]:
    """VT832, VT833: a phandle names one node, and is a number that may be one."""
    seen: dict[int, Node] = {}
    for node in context.nodes:
        for name in ("phandle", "linux,phandle"):
            if name in node.properties and node.number(name) in (0, 0xFFFF_FFFF):
                yield Finding("VT833", node, f"`{name}` is {node.number(name):#x}, which names nothing", name)
        both = node.number("phandle"), node.number("linux,phandle")
        if all(both) and both[0] != both[1]:
            message = f"`phandle` is {both[0]:#x} and `linux,phandle` {both[1]:#x}; readers take either"
            yield Finding("VT833", node, message, "phandle")
        if (number := node.phandle) is None:
            continue
        other = seen.setdefault(number, node)
        if other is not node:
            message = f"phandle {number:#x} is also that of '{other.path}': who refers to one may get the other"
            hint = "leave phandles out and refer to labels; dtc then numbers the nodes"
            yield Finding("VT832", node, message, "phandle", (other,), (hint,))


def interrupt_parents_lead_to_controllers(context: Context) -> Iterator[Finding]:
    """VT834: an interrupt parent is there and is an interrupt controller or a nexus."""
    hint = "refer to the controller's label: phandle numbers change when dtc assigns them anew"
    for node in context.nodes:
        if "interrupt-parent" not in node.properties:
            continue
        number = node.number("interrupt-parent")
        parent = context.by_phandle.get(number)
        if parent is None:
            # Without a /gic node in the fragment Xen names its own controller so.
            if context.kind is Kind.PARTIAL and number == XEN_GIC_PHANDLE:
                continue
            message = f"`interrupt-parent` is {number:#x}, and no node has that phandle: its interrupts are lost"
            yield Finding("VT834", node, message, "interrupt-parent", hints=(hint,))
        elif not {"interrupt-controller", "interrupt-map", "#interrupt-cells"} & set(parent.properties):
            message = f"`interrupt-parent` {number:#x} is '{parent.path}', which is no interrupt controller"
            yield Finding("VT834", node, message, "interrupt-parent", (parent,), (hint,))


def memory_regions_exist(context: Context) -> Iterator[Finding]:
    """VT835: what ``memory-region`` names is there."""
    for node in context.nodes:
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


RULES = (
    reg_divides_into_cells,
    phandles_are_unique,
    interrupt_parents_lead_to_controllers,
    memory_regions_exist,
)
