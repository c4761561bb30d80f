"""The interrupts of a node of a device tree: which controller each goes to, and what stands for it there.

As Linux finds them (drivers/of/irq.c of_irq_find_parent, of_irq_parse_one, 6.12) without following an
``interrupt-map``. Enter at ``interrupts_of``.
"""

from __future__ import annotations

from collections.abc import Mapping

from vtool.base.records import record
from vtool.platform.devicetree import Node
from vtool.platform.layouts import SPI_FIRST_INTID

_SHARED, _PRIVATE = 0, 1
"""The first cell of an interrupt of a GIC (Linux bindings arm,gic.yaml, arm,gic-v3.yaml)."""


@record
class Interrupt:
    """One interrupt: ``controller`` is the node that it goes to, None where nothing says; ``cells`` mean it there."""

    controller: Node | None
    cells: tuple[int, ...]

    @property
    def intid(self) -> int | None:
        """Return its number at the board's GIC, None where it is none of the shared ones there."""
        controller = self.controller
        of_gic = controller is not None and any("gic" in name for name in controller.compatible)
        if not of_gic or len(self.cells) < 3 or self.cells[0] != _SHARED:
            return None
        return SPI_FIRST_INTID + self.cells[1]

    @property
    def words(self) -> str:
        """Say in words what it is."""
        if self.controller is None:
            return "goes to no controller that the tree names"
        if self.controller.compatible and any("gic" in name for name in self.controller.compatible):
            return (
                "is one of each CPU alone" if self.cells[:1] == (_PRIVATE,) else "is of a kind that Xen does not know"
            )
        return f"goes to '{self.controller.path}', not to the board's GIC"


def interrupts_of(node: Node, by_phandle: Mapping[int, Node]) -> tuple[Interrupt, ...]:
    """Return the interrupts of a node, in its order; those that cannot be told apart are one."""
    if "interrupts-extended" in node.values:
        return tuple(_extended(node.cells("interrupts-extended"), by_phandle))
    cells = node.cells("interrupts")
    if not cells:
        return ()
    controller = _parent_of(node, by_phandle)
    width = controller.number("#interrupt-cells") if controller else 0
    if not width or len(cells) % width:
        return (Interrupt(controller, cells),)
    return tuple(Interrupt(controller, cells[at : at + width]) for at in range(0, len(cells), width))


def _extended(cells: tuple[int, ...], by_phandle: Mapping[int, Node]) -> list[Interrupt]:
    found, at = [], 0
    while at < len(cells):
        controller = by_phandle.get(cells[at])
        width = controller.number("#interrupt-cells") if controller else len(cells)
        found.append(Interrupt(controller, cells[at + 1 : at + 1 + width]))
        at += 1 + width
    return found


def _parent_of(node: Node, by_phandle: Mapping[int, Node]) -> Node | None:
    at: Node | None = node
    seen: set[Node] = set()
    while at is not None and at not in seen:
        seen.add(at)
        own = at.number("interrupt-parent")
        at = by_phandle.get(own) if own else at.parent
        if at is not None and "#interrupt-cells" in at.values:
            return at
    return None
