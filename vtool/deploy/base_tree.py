"""The tree that a plan is merged into: what of the plan it has no room for, and what merging changed of it.

Facts say what a board is like; here the tree itself is asked, which may be another one. Enter at `fitted`, `refused`
and `changes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from vtool.diagnostics import Diagnostic, Severity, VtoolError
from vtool.lint.context import Context, ranges
from vtool.lint.general import is_no_overlay
from vtool.lint.overlaps import claims
from vtool.model.facts_import import device_tree_facts, memory_facts, why_ignored
from vtool.model.tree_doubts import refusals
from vtool.plan.cells import too_few_cells
from vtool.plan.tree_devices import with_devices
from vtool.plan.types import BoardPlan, KvmGuest
from vtool.platform.devicetree import Node, Tree
from vtool.platform.host_memory import HostMemory, Taken
from vtool.platform.xen_releases import NEWEST

_MERGED_ALREADY = "that is vtool's own: take the tree as it was before it was merged"
_NOT_IN_FACTS = "facts that say so keep clear of it: vtool board import of this tree"


def fitted(board: BoardPlan, tree: Tree, name: str) -> BoardPlan:
    """Return the plan for a board whose tree this is: with its cells, and with what it says of devices for guests.

    Raises VtoolError VT830 when it is an overlay, VT813 when they are not 1 or 2, VT821 for each number of the plan
    that they cannot hold; as ``with_devices`` for what cannot be passed through.
    """
    if overlay := [finding.diagnostic() for finding in is_no_overlay(Context(tree, NEWEST))]:
        raise VtoolError(overlay)
    found = device_tree_facts(tree.root)
    if found is None:
        message = f"{name} cannot be used: #address-cells and #size-cells are not 1 or 2"
        raise VtoolError(Diagnostic("VT813", message))
    board = replace(board, facts=board.facts.model_copy(update={"device_tree": found}))
    if too_few := list(too_few_cells(board)):
        raise VtoolError(too_few)
    return with_devices(board, tree)


def refused(board: BoardPlan, tree: Tree) -> list[Diagnostic]:
    """Return why a board's plan may not be merged into a tree, VT803, VT807, VT817 to VT820; warnings VT823.

    Ask for a plan that is ``fitted``. VtoolError VT813 for what cannot be read of the tree.
    """
    if of_no_board := list(refusals(tree)):
        return of_no_board
    found = _unread(tree, [region.region for region in board.host_regions])
    return [*found, *_no_room(tree, board.host_claims)]


def refused_loads(tree: Tree, loads: Iterable[Taken]) -> list[Diagnostic]:
    """Return why files may not be loaded where the boot loader puts them: VT818, VT819."""
    return list(_not_free(memory_of(tree), loads))


def refused_in_guest(guest: KvmGuest, tree: Tree) -> list[Diagnostic]:
    """Return why a guest's pools may not be merged into the tree of its machine: VT817 to VT820; warnings VT823."""
    found = _unread(tree, [pool.region for pool in guest.pools])
    return [*found, *_no_room(tree, [Taken(f"pool '{pool.region}'", pool.range) for pool in guest.pools])]


def changes(base: Tree, merged: Tree) -> Iterator[str]:
    """Yield everything of a base tree that is not in the merged one as it was: nodes, properties, /memreserve/."""
    if base.memory_reservations != merged.memory_reservations:
        yield "the memory reservation block is another one"
    yield from _changes(base.root, merged.root)


def _changes(before: Node, after: Node) -> Iterator[str]:
    if before.values != after.values:
        for name, found in before.values.items():
            kept = after.values.get(name)
            if kept is None:
                yield f"'{before.path}' has lost `{name}`"
            elif kept != found:
                yield f"`{name}` of '{before.path}' is another one"
    for name, child in before.children.items():
        if name in after.children:
            yield from _changes(child, after.children[name])
        else:
            yield f"'{child.path}' is gone"


def memory_of(tree: Tree) -> HostMemory:
    """Return a tree's RAM, what is taken of it, and what Linux has to find room for. VtoolError VT813."""
    ram, dynamic = memory_facts(tree)
    taken = [Taken(claim.what, claim.range) for claim in claims(Context(tree, NEWEST))]
    # Drivers of firmware's own pictures go on drawing there (Linux simple-framebuffer.yaml), unless switched off
    # (drivers/of/platform.c of_platform_device_create_pdata).
    pictures = (node for node in tree.compatible("simple-framebuffer") if node.available)
    taken += [Taken(f"'{node.path}' {r}", r) for node in pictures for r in ranges(node)]
    floating = tuple(reservation.floating for reservation in dynamic)
    return HostMemory(tuple(bank.range for bank in ram), tuple(taken), floating)


def _unread(tree: Tree, regions: Sequence[str]) -> list[Diagnostic]:
    ignored = why_ignored(tree.root) if regions else None
    if ignored is None:
        return []
    names = ", ".join(f"'{region}'" for region in regions)
    message = f"Linux would not reserve {names}: it ignores /reserved-memory of the device tree, which has {ignored}"
    hints = ("give that node the cells of the root and an empty `ranges`",)
    return [Diagnostic("VT817", message, tree.root.children["reserved-memory"].place, hints=hints)]


def _no_room(tree: Tree, planned: Iterable[Taken]) -> Iterator[Diagnostic]:
    memory, planned = memory_of(tree), list(planned)
    if planned and not memory.banks:
        message = "the device tree states no RAM: whether the plan lies inside was not checked"
        yield Diagnostic("VT823", message, tree.root.place, severity=Severity.WARNING)
    yield from _not_free(memory, planned)
    if not memory.banks:
        return
    ranges = [claim.range for claim in planned]
    for index, claim in enumerate(planned):
        for floating in memory.crowded_out(claim.range, *ranges[:index]):
            message = f"{claim.what} {claim.range} leaves no room for {floating} of the device tree"
            yield Diagnostic("VT820", f"{message}, which Linux places itself at boot", hints=(_NOT_IN_FACTS,))


def _not_free(memory: HostMemory, planned: Iterable[Taken]) -> Iterator[Diagnostic]:
    for claim in planned:
        if memory.banks and not memory.has(claim.range):
            message = f"{claim.what} {claim.range} is not inside the RAM of the device tree"
            hint = "the tree of the running board has all of its RAM, /sys/firmware/fdt there"
            ram = ", ".join(map(str, memory.banks))
            yield Diagnostic("VT819", f"{message}, {ram}", hints=(hint,))
        for other in memory.met(claim.range):
            message = f"{claim.what} {claim.range} overlaps {other.what} of the device tree"
            hint = _MERGED_ALREADY if "'/reserved-memory/vtool-" in other.what else _NOT_IN_FACTS
            yield Diagnostic("VT818", message, hints=(hint,))
