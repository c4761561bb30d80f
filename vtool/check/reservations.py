"""Rules on what a board's own tree reserves: lint's, asked of the facts that were made of it."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.diagnostics.codes import rule
from vtool.model.board_facts import BoardFacts
from vtool.model.topology import Xen
from vtool.model.validate import LoadedFacts
from vtool.platform.devicetree import Node, Tree
from vtool.platform.xen_releases import NEWEST, XenVersion

_FORM = {"#address-cells": b"\0\0\0\2", "#size-cells": b"\0\0\0\2", "ranges": b""}


@rule(
    "VT453",
    what="reservations of the board overlap, and this Xen stops at it (a warning where its release is not known)",
    why="Xen checks what the device tree reserves, from 4.18 on, before its console is up; Linux lives with it.",
    example="two nodes of /reserved-memory that share a page, under Xen 4.20",
    fix="Correct the board's device tree and import it again, or use a Xen that does not check.",
)
def reservations_let_xen_start(context: Context) -> Iterator[Diagnostic]:
    """The reservations of a board under Xen do not overlap in a way that stops this release."""
    for board, loaded in context.facts.items():
        reserving = any(carve.of_tree for carve in loaded.facts.carve_outs)
        if reserving and isinstance(context.topology.boards[board].hypervisor, Xen):
            yield from _stops(context, board, loaded)


def _stops(context: Context, board: str, loaded: LoadedFacts) -> Iterator[Diagnostic]:
    from vtool.lint import Context as LintContext  # noqa: PLC0415 - most boards need none of it
    from vtool.lint.overlaps import host_memory_is_claimed_once  # noqa: PLC0415

    build, facts = context.xens.get(board), loaded.facts
    version = XenVersion(*build.version) if build else NEWEST
    for finding in host_memory_is_claimed_once(LintContext(_reserved_in(facts), version, asked=True)):
        if "Xen" not in finding.message or finding.severity is not Severity.ERROR:
            continue
        paths = [carve.of_tree for carve in facts.carve_outs]
        at = ("carve_outs", paths.index(finding.node.path), "name")
        label = Label(loaded.document.span(at), f"'{finding.node.path}' is here")
        yield context.find(
            "VT453",
            f"board '{board}': {finding.node.path}: {finding.message}",
            ("boards", board, "facts"),
            labels=(label,),
            hints=("only the board's device tree can change that; an older Xen may start all the same",),
            # Of a Xen whose release is not known, the newest is judged.
            severity=Severity.ERROR if build else Severity.WARNING,
        )


def _reserved_in(facts: BoardFacts) -> Tree:
    """Return a tree with nothing but what a board's own tree reserves, as far as its facts tell."""
    root = Node("", "/", None)
    parent = Node("reserved-memory", "/reserved-memory", root)
    for node in (root, parent):
        node.values.update(_FORM)
    root.children[parent.name] = parent
    firmware = []
    for carve in facts.carve_outs:
        if carve.of_tree.startswith(f"{parent.path}/"):
            name = carve.of_tree.removeprefix(f"{parent.path}/")
            node = parent.children.setdefault(name, Node(name, carve.of_tree, parent))
            numbers = (carve.base, carve.size)
            node.values["reg"] = node.values.get("reg", b"") + b"".join(n.to_bytes(8, "big") for n in numbers)
        elif carve.of_tree:
            firmware.append(carve.range)
    return Tree(root, tuple(firmware))
