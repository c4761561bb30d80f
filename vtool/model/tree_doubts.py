"""What a board's tree does not tell, and what in it makes a hypervisor stumble: the warnings of an import.

Pure. Enter at ``doubts``. That a boot loader knows better, that a kernel skips a node, that Xen goes by another rule
than Linux: the facts are made all the same, and whoever uses them has read of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vtool.base.units import dotted
from vtool.diagnostics import Diagnostic, Severity, Span
from vtool.diagnostics.codes import declare
from vtool.lint.context import Context
from vtool.lint.dynamic import sizes_are_in_cells_of_the_root
from vtool.lint.finding import printable
from vtool.lint.memory import memory_nodes_are_taken
from vtool.lint.xen_host import untranslatable
from vtool.model.board_facts import InterruptController
from vtool.model.gic import name_of, unusable, unusable_by_xen
from vtool.platform.devicetree import (
    Node,
    Tree,
    booted_by_uefi,
    describes_nothing,
    odd_cpu_nodes,
)
from vtool.platform.xen_releases import DISABLED_MEMORY_IGNORED, MEMORY_BY_TYPE, NEWEST

_DELETE = "delete the node from the tree that Xen boots with, or correct `reg` or `ranges`"
FROM_THE_BOARD = "import from the running board as root: --ssh root@HOST"

declare(
    "VT807",
    what="a device tree is one that Xen made",
    why="Under Xen dom0 sees a tree that Xen made: its share of RAM, its vCPUs, no virtual interfaces of the GIC.",
    example="--ssh to a board that runs Xen",
    fix="Import while the board runs without Xen, or from the tree that its boot loader hands over.",
)


def refusals(tree: Tree) -> Iterator[Diagnostic]:
    """Yield why a tree is none of a board that could be planned for, VT803 and VT807, whatever it holds."""
    if describes_nothing(tree) and booted_by_uefi(tree):
        yield acpi_board("the board", "its device tree is /chosen alone, made by Linux's EFI stub", tree.root.place)
    hypervisor = tree.root.children.get("hypervisor")
    if hypervisor is not None and "xen,xen" in hypervisor.compatible:
        message = "the tree is what Xen made for a guest of its own: RAM, CPUs and GIC in it are the guest's"
        hint = "import the tree that the board's boot loader hands to Xen, or from the board without Xen"
        yield Diagnostic("VT807", message, hypervisor.place, hints=(hint,))


declare(
    "VT803",
    what="a board describes itself by ACPI",
    why="vtool plans from a device tree and merges into one; such a board has none but /chosen.",
    example="--ssh to a server whose UEFI hands Linux ACPI's tables",
    fix="Set the firmware to hand over a device tree, or import a kernel's tree of the board with --memory.",
)


def acpi_board(who: str, how_seen: str, place: Span | None = None) -> Diagnostic:
    """Make the finding VT803: a board is named as what it is, without hints that help with device trees only."""
    hints = (
        "many boards' firmware can be set to hand over a device tree instead of ACPI's tables",
        "or import a tree of this board from a kernel's source, with --memory for what it leaves out",
    )
    message = f"{who} describes itself by ACPI, vtool needs a device tree: {how_seen}"
    return Diagnostic("VT803", message, place, hints=hints)


declare(
    "VT858",
    what="a CPU is counted by Linux alone, or by Xen alone (warning)",
    why="Linux leaves out what failed and takes nodes named cpu; Xen wants device_type, and starts whatever has it.",
    example='status = "fail" in cpu@200',
    fix="Delete the node from the tree that Xen boots with.",
)


def doubts(tree: Tree, gic: InterruptController) -> Iterator[Diagnostic]:
    """Yield the warnings on a tree whose facts could be made: VT804 to VT806, VT858 and lint's VT902, VT911, VT912."""
    context = Context(tree, NEWEST, asked=True)
    for rule in (sizes_are_in_cells_of_the_root, memory_nodes_are_taken):
        yield from (replace(found.diagnostic(), severity=Severity.WARNING) for found in rule(context))
    yield from _empty_reservations(tree)
    yield from _memory_of_old_xens(tree)
    for node, how in odd_cpu_nodes(tree):
        yield _warning("VT858", f"'{node.path}' {how}; their numbers of CPUs may differ", node)
    yield from _lost_addresses(tree)
    at = tree.node(gic.path) if gic.path else None
    for who, why in (("neither KVM nor Xen runs", unusable(gic)), ("Xen does not run", unusable_by_xen(gic))):
        for reason in why:
            yield _warning("VT804", f"{who} on this board: its {name_of(gic)} {reason}", at)


declare(
    "VT802",
    what="a tree lacks what UEFI knows of the board's memory (warning)",
    why="Linux's EFI stub removes every /memreserve/ and takes RAM from UEFI's map, so a tree read there lacks both.",
    example="a tree with linux,uefi-mmap-start in /chosen",
    fix="Import with --ssh as root, which reads /proc/iomem there, too; or give RAM with --memory, and add carve-outs.",
)


def firmware_is_unknown(tree: Tree) -> Iterator[Diagnostic]:
    """VT802: what firmware keeps is in UEFI's map of memory, which is in no tree."""
    if booted_by_uefi(tree):
        message = "UEFI started the system that this tree is from: which RAM there is and what of it firmware keeps"
        message += " is in UEFI's own map; of that the tree has nothing"
        yield _warning("VT802", message, tree.root.children["chosen"], FROM_THE_BOARD)


declare(
    "VT806",
    what="a bank of RAM, or a reservation, has no size (warning)",
    why="The tree comes from a source, and the boot loader fills in the size on the board.",
    example="memory@0 with a second bank of size 0",
    fix="Import from the running board with --ssh, or give RAM with --memory.",
)


def _empty_reservations(tree: Tree) -> Iterator[Diagnostic]:
    for node in reservations(tree):
        if any(not size for _, size in _pairs(node)):
            yield _warning("VT806", f"'{node.path}' reserves 0 bytes until a boot loader fills it in", node)


def reservations(tree: Tree) -> Iterator[Node]:
    """Yield the nodes of /reserved-memory that are not switched off."""
    parent = tree.root.children.get("reserved-memory")
    if parent is not None and parent.available:
        yield from (node for node in parent.children.values() if node.available)


declare(
    "VT805",
    what="a node is RAM to Xen alone, before 4.20 (warning)",
    why="Until 4.19 Xen takes every node named memory for RAM, at any depth; until 4.18 one that is disabled, too.",
    example="memory@2000 of a controller below /soc",
    fix="Use Xen 4.20 or later, or rename the node.",
)


def _memory_of_old_xens(tree: Tree) -> Iterator[Diagnostic]:
    """VT805: until 4.19 Xen goes by the name of a node alone, at any depth, until 4.18 whatever the status.

    xen/arch/arm/bootfdt.c early_scan_node, device_tree_get_meminfo; mended in 4.20, device_tree_is_memory_node.
    """
    reserved = tree.root.children.get("reserved-memory")
    for node in tree.root.walk():
        if not node.name.startswith("memory") or node.base_name != "memory" or node.parent is reserved:
            continue
        is_ram = node.parent is tree.root and node.string("device_type") == "memory" and node.available
        if not is_ram and "reg" in node.values:
            before = dotted((MEMORY_BY_TYPE if node.available else DISABLED_MEMORY_IGNORED).since)
            yield _warning("VT805", f"Xen before {before} takes '{node.path}' for RAM, going by its name alone", node)


def _lost_addresses(tree: Tree) -> Iterator[Diagnostic]:
    found = list(untranslatable(tree))
    if found:
        node, number = found[0]
        more = f" (and {len(found) - 1} more such nodes)" if found[1:] else ""
        message = f"Xen panics while it builds dom0: it cannot translate address {number} of '{node.path}'{more}"
        yield _warning("VT911", message, node, _DELETE)


def empty_banks(node: Node) -> Iterator[Diagnostic]:
    """VT806: what a memory node says of banks without a size is left out."""
    for base, size in _pairs(node):
        if not size:
            message = f"'{node.path}' has a bank at {base:#x} of size 0, which is left out"
            yield _warning("VT806", message, node, "a boot loader may fill it in: import from the running board, --ssh")


def _pairs(node: Node) -> list[tuple[int, int]]:
    try:
        return node.reg()
    except ValueError:
        return []


def _warning(code: str, message: str, node: Node | None, *hints: str) -> Diagnostic:
    place = node.place if node else None
    return Diagnostic(code, printable(message), place, hints=hints, severity=Severity.WARNING)
