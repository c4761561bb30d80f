"""Rules on references: whatever a property names by phandle is there and takes as many cells.

How properties are made up is of the bindings; that Linux looks for the provider's cells, and takes phandle 0 for an
entry left out, is of drivers/of/base.c (of_phandle_iterator_next, 6.12).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence

from vtool.diagnostics import Severity
from vtool.diagnostics.codes import rule
from vtool.lint.context import XEN_PHANDLES, Context, Kind
from vtool.lint.finding import Finding
from vtool.platform.devicetree import UNRESOLVED, Node

WITH_CELLS = {
    "access-controllers": "#access-controller-cells",
    "assigned-clock-parents": "#clock-cells",
    "assigned-clocks": "#clock-cells",
    "clocks": "#clock-cells",
    "cooling-device": "#cooling-cells",
    "dmas": "#dma-cells",
    "hwlocks": "#hwlock-cells",
    "interconnects": "#interconnect-cells",
    "interrupts-extended": "#interrupt-cells",
    "io-backends": "#io-backend-cells",
    "io-channels": "#io-channel-cells",
    "iommus": "#iommu-cells",
    "mboxes": "#mbox-cells",
    "mmu-masters": "#stream-id-cells",
    "msi-parent": "#msi-cells",
    "mux-controls": "#mux-control-cells",
    "nvmem-cells": "#nvmem-cell-cells",
    "performance-domains": "#performance-domain-cells",
    "phys": "#phy-cells",
    "pses": "#pse-cells",
    "power-domains": "#power-domain-cells",
    "pwms": "#pwm-cells",
    "resets": "#reset-cells",
    "sound-dai": "#sound-dai-cells",
    "thermal-sensors": "#thermal-sensor-cells",
}
"""Lists of phandles, each with as many cells as its node says in that property."""
NOT_SAID = {"#msi-cells": 0, "#nvmem-cell-cells": 0}
"""The cells of lists whose nodes need not say them."""
GPIO_CELLS = "#gpio-cells"
MAY_SKIP = {
    "assigned-clock-parents", "assigned-clocks", "clocks", "dmas", "extcon", "gpio-ranges", "interrupts-extended",
    "io-channels", "mboxes", "mux-controls", "phys", "sound-dai", "thermal-sensors",
}  # fmt: skip
"""Lists where bindings, or trees that work, leave entries out with phandle 0; GPIOs are like them."""
ALONE = {
    "backlight", "cpu", "cpu-idle-states", "domain-idle-states", "extcon", "interrupt-affinity", "leds",
    "memory-controllers", "mmc-pwrseq", "next-level-cache", "operating-points-v2", "panel", "pcs-handle", "phy-handle",
    "post-init-providers", "power-supplies", "remote-endpoint", "required-opps", "sfp", "shmem", "sram", "trip",
    "wakeup-parent",
}  # fmt: skip
"""Phandles and nothing else: of drivers/of/property.c of_supplier_bindings, and of common bindings."""
IN_ROWS = {"gpio-ranges": 0, "iommu-map": 1, "msi-map": 1}
"""Rows of four cells, and which is the phandle (gpio.txt, pci-iommu.txt, pci-msi.txt of Linux's bindings)."""
_TOLD = {*IN_ROWS, "interrupt-map", "interrupt-parent", "memory-region"}
"""Other references whose numbers are looked at by themselves."""
_GPIOS = re.compile(r"(?:.*-)?gpios?\Z")
_NO_GPIOS = re.compile(r"(?:.*,)?nr-gpios?\Z")
_MAY_REFER = re.compile(
    r"(?:.*[-,])?(?:affinity|bus|card|companion|controller|cpus?|display|engine|handle|master|mux|node|parent|phy|"
    r"provider|pwrseq|regmap|smmu|sram|switch|syscon)\Z"
)
"""Names that bindings give to references, and to other things: of these only what dtc left unresolved is told."""
_ALONE = re.compile(r"pinctrl-\d+\Z|.*-supply\Z")


@functools.cache
def may_refer(name: str) -> bool:
    """Whether a property whose form is not known here is likely to begin with a reference."""
    return cells_of(name) is None and name not in _TOLD and bool(_MAY_REFER.match(name))


@functools.cache
def cells_of(name: str) -> str | None:
    """Return the property in which the nodes of a list say their cells, the empty one of a list of phandles alone.

    None when a property is no list of references.
    """
    if name in WITH_CELLS:
        return WITH_CELLS[name]
    if _GPIOS.match(name) and not _NO_GPIOS.match(name):
        return GPIO_CELLS
    return "" if name in ALONE or _ALONE.match(name) else None


@rule("VT909")
def references_lead_to_nodes(context: Context) -> Iterator[Finding]:
    """What a list of references names is there, and has the cells that the list gives it."""
    for name, holders in context.holders.items():
        cells_name = cells_of(name)
        if cells_name is None and not may_refer(name):
            continue
        nodes = [node for node in holders if node not in context.off] if context.off else holders
        if cells_name:
            yield from _lists(context, name, cells_name, nodes)
        elif cells_name is not None:
            for node in nodes:
                value = node.values[name]
                if value not in context.phandles and len(value) % 4 == 0:  # else it is a string
                    yield from _each(context, node, name, node.cells(name))
        else:
            for node in nodes:
                if node.number(name) == UNRESOLVED:
                    yield _dangling(context, node, name, UNRESOLVED)
    for name, at in IN_ROWS.items():
        for node in context.used(name):
            cells = node.cells(name)
            yield from _each(context, node, name, cells[at::4] if len(cells) % 4 == 0 else ())


def _each(context: Context, node: Node, name: str, numbers: tuple[int, ...]) -> Iterator[Finding]:
    for number in numbers:
        if number not in context.by_phandle and (number or name not in MAY_SKIP):
            yield _dangling(context, node, name, number)


def _lists(context: Context, name: str, cells_name: str, nodes: Sequence[Node]) -> Iterator[Finding]:
    """Check lists of one name; most are the same few, so that each value is looked at once."""
    sound: set[bytes] = set()
    for node in nodes:
        value = node.values[name]
        if value in sound or (cells_name == GPIO_CELLS and "gpio-hog" in node.values):
            continue
        found = list(_list(context, node, name, cells_name))
        if not found:
            sound.add(value)
        yield from found


def _list(context: Context, node: Node, name: str, cells_name: str) -> Iterator[Finding]:
    cells, at, by_phandle = node.cells(name), 0, context.by_phandle
    while at < len(cells):
        number, at = cells[at], at + 1
        if number == 0:
            if name not in MAY_SKIP and cells_name != GPIO_CELLS:
                yield _dangling(context, node, name, number)
            continue
        provider = by_phandle.get(number)
        if provider is None:
            if context.kind is not Kind.PARTIAL or number not in XEN_PHANDLES:
                yield _dangling(context, node, name, number)
            return  # how many cells belong to it nobody knows
        wanted = provider.number(cells_name, NOT_SAID.get(cells_name, -1))
        if wanted < 0:
            message = f"`{name}` names '{provider.path}', which has no `{cells_name}`: Linux reads no further"
            yield Finding("VT909", node, message, name, (provider,), severity=Severity.WARNING)
            return
        if at + wanted > len(cells):
            message = f"`{name}` gives '{provider.path}' {len(cells) - at} cells, it takes {wanted} (`{cells_name}`)"
            yield Finding("VT909", node, f"{message}: Linux refuses the list", name, (provider,))
        at += wanted


def _dangling(context: Context, node: Node, name: str, number: int) -> Finding:
    if number == 0:
        message = f"`{name}` names phandle 0: to Linux nothing is there"
        return Finding("VT909", node, message, name, severity=Severity.WARNING)
    message = f"`{name}` names phandle {number:#x}, which no node has: Linux cannot follow it"
    hints = ("0xffffffff is what dtc leaves of a label that it does not find",) if number == UNRESOLVED else ()
    severity = Severity.WARNING if context.kind is Kind.PARTIAL else Severity.ERROR
    return Finding("VT909", node, message, name, hints=hints, severity=severity)


@rule("VT909")
def interrupt_maps_lead_to_controllers(context: Context) -> Iterator[Finding]:
    """Each row of an ``interrupt-map`` names an interrupt controller that is there.

    A row is a child's address and interrupt, the controller, and the address and interrupt there (drivers/of/irq.c
    of_irq_parse_raw, 6.12: a controller that does not say has addresses of 0 cells).
    """
    for node in context.used("interrupt-map"):
        cells, at = node.cells("interrupt-map"), 0
        child = node.address_cells + node.number("#interrupt-cells")
        while at + child < len(cells):
            number = cells[at + child]
            controller = context.by_phandle.get(number)
            if controller is None:
                # 0: rows of a form that a driver reads by itself (fsl,ls-extirq leaves the controller's address out).
                if number and (context.kind is not Kind.PARTIAL or number not in XEN_PHANDLES):
                    yield _dangling(context, node, "interrupt-map", number)
                break
            at += child + 1 + controller.number("#address-cells") + controller.number("#interrupt-cells")


@rule(
    "VT909",
    what="a reference leads nowhere",
    why=(
        "No node has the phandle (0xffffffff is a label that dtc did not find), or it takes another number of cells; "
        "0 is nothing (a warning)."
    ),
    example="clocks = <0xffffffff 1>",
    fix="Refer to a label that exists, with as many cells as its node says.",
)
def labels_are_resolved(context: Context) -> Iterator[Finding]:
    """Labels that are referred to are there; of a plugin's (``/__fixups__``) none is left in a booted tree."""
    fixups = context.tree.root.children.get("__fixups__")
    for label in fixups.values if fixups else ():
        for place in fixups.strings(label) if fixups else ():
            path, name, *_ = [*place.split(":"), "", ""]
            node = context.tree.node(path) if path.startswith("/") else None
            if node is not None and name in node.values and cells_of(name) is None and name not in _TOLD:
                message = f"`{name}` refers to the label '{label}', which this tree does not have"
                yield Finding("VT909", node, message, name)
    # Where another rule knows the property, it says so itself, of a blob too.
    for path, name, label in context.tree.unresolved:
        node = context.tree.node(path)
        known = cells_of(name) is not None or may_refer(name) or name in _TOLD
        if node is not None and node not in context.off and not known:
            yield Finding("VT909", node, f"`{name}` refers to the label '{label}', which no node has", name)
