"""Rules on devices that Xen is to hand to a domain: which can be, and the IOMMUs that are before them."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.diagnostics import Severity
from vtool.diagnostics.codes import rule
from vtool.lint.context import GIC_V2, GIC_V3, PASSTHROUGH, Context
from vtool.lint.finding import Finding
from vtool.lint.modules import console_of
from vtool.platform.command_lines import keeps_iommus_off, xen_words
from vtool.platform.devicetree import Node

_KEPT_COMPATIBLES = {
    **dict.fromkeys((*GIC_V2, *GIC_V3), "the interrupt controller, without which Xen panics"),
    **dict.fromkeys(("arm,armv8-timer", "arm,armv7-timer"), "the CPUs' timer: Xen gives every domain one of its own"),
    **dict.fromkeys(("arm,psci", "arm,psci-0.2", "arm,psci-1.0"), "how Xen starts and stops CPUs"),
}
_KEPT_PATHS = {
    "/aliases": "names of other nodes",
    "/chosen": "what the boot loader tells Xen",
    "/cpus": "a node of the CPUs: Xen runs on them all the same",
    "/hypervisor": "what Xen tells dom0",
    "/psci": "how Xen starts and stops CPUs",
    "/reserved-memory": "the board's memory: Xen keeps it from free RAM all the same",
}


@rule("VT416")
def what_everybody_needs_stays(context: Context) -> Iterator[Finding]:
    """What Xen or every domain needs is handed to none: CPUs, RAM, the GIC, the timer, the console.

    Xen 4.20: xen/arch/arm/domain_build.c handle_node, xen/common/device.c device_init.
    """
    path, _ = console_of(context)
    console = context.tree.node(path) if path else None
    for node in context.having(PASSTHROUGH):
        why = _why_kept(node, console)
        if why is not None:
            yield Finding("VT416", node, f"`{PASSTHROUGH}` in {why}", PASSTHROUGH)


def _why_kept(node: Node, console: Node | None) -> str | None:
    if node is console:
        return "Xen's console: Xen leaves it alone and prints nothing, 'Unable to initialize dtuart'"
    of_compatible = next((_KEPT_COMPATIBLES[name] for name in node.compatible if name in _KEPT_COMPATIBLES), None)
    if of_compatible is not None:
        return of_compatible
    if node.parent is not None and node.parent.parent is None and node.string("device_type") == "memory":
        return "the board's memory: Xen uses it as RAM all the same"
    top = "/" + node.path.split("/")[1]
    return _KEPT_PATHS.get(top.partition("@")[0]) if node.path != "/" else None


@rule("VT356")
def iommus_are_driven(context: Context) -> Iterator[Finding]:
    """Xen's command line leaves it the IOMMUs that are before what it hands over."""
    word = keeps_iommus_off(xen_words(context.xen_arguments or ""))
    given = next((node for node in context.having(PASSTHROUGH) if any(_iommus(context, node))), None)
    if word is not None and given is not None and context.chosen is not None:
        message = f"`{word.text}`: then Xen drives no IOMMU, and refuses to assign '{given.path}'"
        message += ", or, if forced, nothing keeps its DMA within its guest"
        yield Finding("VT356", context.chosen, message, context.name_of_arguments, (given,))


@rule(
    "VT910",
    what="the IOMMU of a device for a guest is off",
    why="Xen drives no IOMMU that is switched off or handed over itself, and assigns no device behind it.",
    example="xen,passthrough in a device whose iommus names a disabled SMMU",
    fix="Switch the IOMMU on.",
)
def passthrough_is_behind_an_iommu(context: Context) -> Iterator[Finding]:
    """The IOMMU of a device that Xen is to hand over is one that Xen drives.

    Xen 4.20: xen/drivers/passthrough/device_tree.c iommu_add_dt_device, xen/common/device.c device_init; of what is
    above the IOMMU Xen looks at no status.
    """
    for device in context.having(PASSTHROUGH):
        for name, iommu in _iommus(context, device):
            if not iommu.available or PASSTHROUGH in iommu.values:
                why = f"is itself `{PASSTHROUGH}`" if iommu.available else "is switched off"
                message = f"the IOMMU '{iommu.path}' {why}, so Xen does not drive it: Xen refuses to assign the device"
                message += ", or, if forced, nothing keeps its DMA within its guest"
                yield Finding("VT910", device, message, name, (iommu,))
            elif off := next((node for node in _above(iommu) if not node.available), None):
                message = f"the IOMMU '{iommu.path}' is below '{off.path}', which is switched off"
                message += ": Xen drives it all the same, whether or not it answers"
                yield Finding("VT910", device, message, name, (off,), severity=Severity.WARNING)


def _above(node: Node) -> Iterator[Node]:
    at = node.parent
    while at is not None:
        yield at
        at = at.parent


def _iommus(context: Context, device: Node) -> Iterator[tuple[str | None, Node]]:
    """Yield what a device is behind, and the property that says so (None when the IOMMU itself does)."""
    seen: set[Node] = set()
    for name in ("iommus", "iommu-map"):
        cells, at = device.cells(name), 0 if name == "iommus" else 1
        while at < len(cells):
            iommu = context.by_phandle.get(cells[at])
            if iommu is None:
                break
            if iommu not in seen:
                seen.add(iommu)
                yield name, iommu
            at += 1 + iommu.number("#iommu-cells") if name == "iommus" else 4
    for iommu in context.having("mmu-masters"):
        cells, at = iommu.cells("mmu-masters"), 0
        while at < len(cells) and (master := context.by_phandle.get(cells[at])) is not None:
            if master is device and iommu not in seen:
                seen.add(iommu)
                yield None, iommu
            at += 1 + master.number("#stream-id-cells")
