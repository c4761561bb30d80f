"""Rules on nodes of the board's device tree that guests of Xen get."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label
from vtool.source import DataPathTuple


def passthrough_can_be(context: Context) -> Iterator[Diagnostic]:
    """VT416: a node goes to one guest, and is none that Xen itself drives."""
    for board, loaded in context.facts.items():
        facts = loaded.facts
        kept = {facts.gic.path: "the interrupt controller"} if facts.gic.path else {}
        kept |= {iommu.path: "an IOMMU" for iommu in facts.iommus} | {cpu.path: "a CPU" for cpu in facts.cpu_nodes}
        given: dict[str, DataPathTuple] = {}
        for name, domain in context.domains_on(board):
            for index, node in enumerate(domain.passthrough):
                path = ("domains", name, "passthrough", index)
                if node in kept:
                    yield context.find("VT416", f"'{node}' is {kept[node]}, which Xen itself drives", path)
                elif node in given:
                    label = Label(context.span(*given[node]), "here first")
                    yield context.find("VT416", f"'{node}' is passed through already", path, labels=(label,))
                given.setdefault(node, path)


RULES = (passthrough_can_be,)
