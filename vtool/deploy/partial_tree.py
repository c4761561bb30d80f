"""A partial device tree of the user's own, beside the nodes that its guest gets. Enter at ``other_nodes``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from vtool.diagnostics import Diagnostic
from vtool.diagnostics.codes import declare
from vtool.plan.types import BoardPlan, PassthroughNode, XenBootGuest, XenGuest
from vtool.platform.devicetree import Tree, read_blob

declare(
    "VT496",
    what="a partial device tree has other devices than `passthrough` names",
    why="Xen gives away what `xen,path` names, dom0 leaves alone what `passthrough` names, and xl maps that.",
    example="passthrough: [/axi/ethernet@ff0e0000] and a device_tree with xen,path = /axi/ethernet@ff0c0000",
    fix="Name the same nodes in both, or leave `device_tree` out and let vtool write it.",
)


def other_nodes(board: BoardPlan, image_path: Callable[[str], Path]) -> Iterator[Diagnostic]:
    """Yield a finding (VT496) for each node that a user's own partial tree and ``passthrough`` do not both have."""
    for guest in board.xen_boot.guests:
        if guest.passthrough and guest.device_tree is not None and guest.device_tree.image:
            yield from _by_path(guest, read_blob(image_path(guest.device_tree.image).read_bytes()))
    for of_xl in board.xen_guests:
        if of_xl.passthrough and of_xl.device_tree_image is not None:
            yield from _by_registers(of_xl, read_blob(image_path(of_xl.device_tree_image).read_bytes()))


def _by_path(guest: XenBootGuest, tree: Tree) -> Iterator[Diagnostic]:
    named = [path for node in tree.root.walk() if (path := node.string("xen,path"))]
    for node in guest.passthrough:
        if node.path not in named:
            others = ", ".join(f"'{path}'" for path in named)
            also = f", but {others}" if named else ""
            yield _finding(node, f"the device tree of '{guest.name}' has no `xen,path` of '{node.path}'{also}")
    given = [node.path for node in guest.passthrough]
    for path in named:
        if path not in given and set(given) <= set(named):
            message = f"the device tree of '{guest.name}' has '{path}' (`xen,path`), which dom0 is not kept from"
            yield _finding(guest.passthrough[0], message)


def _by_registers(guest: XenGuest, tree: Tree) -> Iterator[Diagnostic]:
    top = tree.node("/passthrough")
    try:
        found = [where for node in (top.walk() if top else ()) for where in node.ranges()]
    except ValueError:
        return  # lint says it
    for node in guest.passthrough:
        for registers in node.registers:
            if not any(registers.inside.overlaps(where) for where in found):
                message = f"the device tree of '{guest.name}' has nothing at {registers.inside}, where '{node.path}' is"
                yield _finding(node, message)


def _finding(node: PassthroughNode, message: str) -> Diagnostic:
    return Diagnostic("VT496", message, node.place)
