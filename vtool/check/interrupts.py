"""Rules on the interrupt controller of the board: a hypervisor can use it."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.gic import name_of, unusable, unusable_by_xen
from vtool.model.topology import Xen


@rule(
    "VT804",
    what="no hypervisor can use a board's GIC (warning from vtool board import)",
    why=(
        "A hypervisor needs GICv2's virtual interfaces, and of any GIC its maintenance interrupt; Xen also a GIC it "
        "knows."
    ),
    example="a GICv2 whose reg says a distributor and a CPU interface alone",
    fix="Add to the tree what the chip's manual says of GICH and GICV, or use another board.",
)
def gic_serves_a_hypervisor(context: Context) -> Iterator[Diagnostic]:
    """The GIC has what KVM or Xen needs to give guests interrupts."""
    for board, loaded in context.facts.items():
        gic = loaded.facts.gic
        is_xen = isinstance(context.topology.boards[board].hypervisor, Xen)
        name = "Xen" if is_xen else "KVM"
        for why in (*unusable(gic), *(unusable_by_xen(gic) if is_xen else ())):
            message = f"{name} cannot run on board '{board}': its {name_of(gic)} {why}"
            label = Label(loaded.document.span(("gic",), key=True), "the GIC is here")
            yield context.find("VT804", message, ("boards", board, "facts"), labels=(label,))
