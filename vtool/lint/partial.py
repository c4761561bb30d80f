"""Rules on partial trees: the fragment that Xen or xl copies into a domain's generated tree."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import PAGE_BYTES
from vtool.diagnostics import Severity
from vtool.diagnostics.codes import rule
from vtool.lint.context import XEN_IOMMU_PHANDLE, Context, tuples
from vtool.lint.finding import Finding
from vtool.platform.devicetree import Node
from vtool.platform.layouts import XEN_GIC_PHANDLE, XEN_VIRTIO_MMIO

COPIED = ("passthrough", "aliases", "gic")
VIRTIO = "virtio,mmio"


def passthrough(context: Context) -> Node:
    """Return ``/passthrough``, which a partial tree has."""
    return next(node for node in context.tree.root.children.values() if node.base_name == "passthrough")


@rule(
    "VT836",
    what="a node of a partial tree is dropped",
    why="Xen and xl copy /passthrough and /aliases only; a memory-region beside them is left dangling.",
    example="/reserved-memory in a partial tree",
    fix="Declare the region as static shared memory, or let the domain's firmware edit its tree.",
)
def only_passthrough_is_copied(context: Context) -> Iterator[Finding]:
    """What stands beside ``/passthrough``, ``/aliases`` and ``/gic`` never reaches the domain."""
    for node in context.tree.root.children.values():
        if node.base_name in COPIED or node.base_name.startswith("__"):
            continue
        message = f"{context.xen} copies /passthrough and /aliases only: this node is dropped"
        users = [
            user
            for user in passthrough(context).walk()
            for _, region in context.referenced(user, "memory-region")
            if region is not None and (region.path == node.path or region.path.startswith(f"{node.path}/"))
        ]
        if users:
            message += f", and the memory-region of '{users[0].path}' leads nowhere, which Linux does not mention"
            hint = "declare the region as static shared memory, or let the domain's firmware edit its tree"
            yield Finding("VT836", node, message, None, (users[0],), (hint,))
        else:
            yield Finding("VT836", node, message, severity=Severity.WARNING)


@rule(
    "VT837",
    what="a partial tree uses a phandle of Xen's own",
    why="65000 is the interrupt controller that Xen makes, 65001 the IOMMU for grants of xl.",
    example="phandle = <65001> in /passthrough/dev",
    fix="Use labels, or other numbers.",
)
def phandles_of_xen_are_left_alone(context: Context) -> Iterator[Finding]:
    """The numbers that Xen and xl give to nodes of their own are not used by others."""
    own = {XEN_GIC_PHANDLE: "its interrupt controller", XEN_IOMMU_PHANDLE: "xl's IOMMU for grants"}
    for node in context.nodes:
        if node.phandle in own and not (node.phandle == XEN_GIC_PHANDLE and node.path == "/gic"):
            message = f"phandle {node.phandle} is {own[node.phandle]}: the domain's tree gets it twice"
            yield Finding("VT837", node, message, "phandle")


@rule(
    "VT838",
    what="the /passthrough of a partial tree is no bus",
    why="Linux makes devices only of children of a bus that it can translate.",
    example="passthrough { dev { }; };",
    fix='Give it compatible = "simple-bus", ranges, #address-cells and #size-cells.',
)
def passthrough_is_a_bus(context: Context) -> Iterator[Finding]:
    """Linux makes devices of the children of a bus with ``ranges`` and cells only."""
    node = passthrough(context)
    missing = [] if "simple-bus" in node.compatible else ['compatible = "simple-bus"']
    missing += [name for name in ("ranges", "#address-cells", "#size-cells") if name not in node.values]
    if missing:
        message = f"{', '.join(f'`{name}`' for name in missing)} missing: Linux makes no devices of its children"
        yield Finding("VT838", node, message)


@rule(
    "VT839",
    what="a device of the host is handed over incompletely",
    why="xen,reg and xen,path go together, and registers are mapped in pages.",
    example="xen,reg without xen,path",
    fix="Give both, aligned to 4 KiB; xen,force-assign-without-iommu may stand for xen,path.",
)
def assigned_devices_are_complete(context: Context) -> Iterator[Finding]:
    """A device of the host is handed over whole, in pages, and is named."""
    for node in passthrough(context).walk():
        registers, parent = node.properties.get("xen,reg"), node.parent
        named = "xen,path" in node.values
        forced = "xen,force-assign-without-iommu" in node.values
        if (named and registers is None) or (registers is not None and not named and not forced):
            message = "`xen,reg` and `xen,path` go together: Xen refuses to build the domain (-22)"
            yield Finding("VT839", node, message, "xen,path" if named else "xen,reg")
        if registers is None or parent is None:
            continue
        numbers = tuples(registers, parent.address_cells, parent.size_cells, parent.address_cells)
        if not numbers:
            message = f"`xen,reg` is not host, size, guest in cells of '{parent.path}': Xen reads something else"
            yield Finding("VT839", node, message, "xen,reg")
        elif any(number % PAGE_BYTES for row in numbers for number in row):
            message = "`xen,reg` is not aligned to pages: Xen refuses to build the domain (-22)"
            yield Finding("VT839", node, message, "xen,reg")


@rule(
    "VT856",
    what="a guest of Xen has more virtio-mmio devices than it can have (warning)",
    why="The guest layout keeps 11 interrupts for them, INTID 33 to 43; xl then runs out, QEMU's xenpvh already at 10.",
    example="12 virtio,mmio nodes in a partial tree",
    fix="Use fewer devices, or several functions behind one.",
)
def virtio_devices_have_interrupts(context: Context) -> Iterator[Finding]:
    """A guest has no more virtio-mmio devices than its layout has interrupts for."""
    devices = [node for node in passthrough(context).walk() if VIRTIO in node.compatible and node.available]
    for number, node in enumerate(devices[XEN_VIRTIO_MMIO.count :], XEN_VIRTIO_MMIO.count + 1):
        kept = XEN_VIRTIO_MMIO.count
        message = f"this is virtio-mmio device {number}, the layout of a guest keeps interrupts for {kept}"
        yield Finding("VT856", node, message, "compatible", (devices[0],), severity=Severity.WARNING)
