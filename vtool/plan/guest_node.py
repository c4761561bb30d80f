"""A node of the board's tree as a guest's tree has it: with the guest's addresses, and without what stays behind.

What refers to nodes outside is left out: their drivers run in dom0. Clocks are the exception: a driver asks for their
rate, so that each is a fixed clock of its own. Enter at ``guest_node``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from vtool.base.units import AddressRange
from vtool.lint.references import IN_ROWS, cells_of, may_refer
from vtool.plan.types import FixedClock, GuestNode, GuestProperty, Registers
from vtool.platform.devicetree import Node
from vtool.platform.tree_interrupts import interrupts_of

_WRITTEN_ANEW = {
    "reg", "interrupts", "interrupts-extended", "interrupt-parent", "clocks", "status", "iommus", "iommu-map",
    "linux,phandle",
}  # fmt: skip
_REFERS_BY_PAIRS = re.compile(r"assigned-clock")
"""Properties that mean something beside one that refers to nodes outside."""
_MOST_FACTORS = 8


def guest_node(
    node: Node, registers: Sequence[Registers], clocks: Sequence[FixedClock], by_phandle: Mapping[int, Node]
) -> tuple[GuestNode, tuple[str, ...]]:
    """Return a device's node for a guest, and the properties that are left out, those of children by their path.

    ``clocks`` are those of the node, in its order.
    """
    reg = [_inside(own, registers) for own in node.ranges()]
    cells = itertools.chain.from_iterable((each.base, each.size_bytes) for each in reg)
    found = [GuestProperty("reg", b"".join(number.to_bytes(8, "big") for number in cells))]
    if interrupts := interrupts_of(node, by_phandle):
        found.append(GuestProperty("interrupt-parent", labels=("gic",)))
        three = [number for interrupt in interrupts for number in interrupt.cells[:3]]
        found.append(GuestProperty("interrupts", b"".join(number.to_bytes(4, "big") for number in three)))
    if clocks:
        found.append(GuestProperty("clocks", labels=tuple(clock.label for clock in clocks)))
    inner = {each.phandle for each in node.walk() if each.phandle is not None}
    left_out: list[str] = []
    found += _kept(node, _WRITTEN_ANEW, inner, by_phandle, left_out, "")
    children = tuple(_child(child, inner, by_phandle, left_out, child.name) for child in node.children.values())
    return GuestNode(f"{node.base_name}@{reg[0].base:x}", tuple(found), children), tuple(left_out)


def _inside(own: AddressRange, registers: Sequence[Registers]) -> AddressRange:
    page = next(each for each in registers if each.host.contains(own))
    return AddressRange.of_size(page.inside.base + own.base - page.host.base, own.size_bytes)


def _child(node: Node, inner: set[int], by_phandle: Mapping[int, Node], left_out: list[str], path: str) -> GuestNode:
    found = tuple(_kept(node, {"linux,phandle"}, inner, by_phandle, left_out, f"{path}/"))
    children = (_child(child, inner, by_phandle, left_out, f"{path}/{child.name}") for child in node.children.values())
    return GuestNode(node.name, found, tuple(children))


def _kept(
    node: Node, but: set[str], inner: set[int], by_phandle: Mapping[int, Node], left_out: list[str], path: str
) -> Iterator[GuestProperty]:
    for name, value in node.values.items():
        if name in but or name.startswith("xen,"):
            continue
        if _refers_outside(node, name, inner, by_phandle):
            left_out.append(f"{path}{name}")
        else:
            yield GuestProperty(name, value)


def _refers_outside(node: Node, name: str, inner: set[int], by_phandle: Mapping[int, Node]) -> bool:
    if name in ("interrupts", "interrupts-extended", "interrupt-map", "memory-region") or name in IN_ROWS:
        return True
    if _REFERS_BY_PAIRS.match(name):
        return True
    first = node.number(name)
    if cells_of(name) is not None:
        return len(node.values[name]) > 0 and first not in inner
    # Of a property that may be something else a number alone does not tell.
    return may_refer(name) and len(node.values[name]) % 4 == 0 and first in by_phandle and first not in inner


def clocks_of(
    node: Node, given_hz: Sequence[int], by_phandle: Mapping[int, Node]
) -> tuple[tuple[FixedClock, ...], tuple[str, int] | None]:
    """Return the clocks of a node, with the rates that the user gives or the tree says.

    If that cannot be, why in words, and how many clocks there are.
    """
    names, providers = node.strings("clock-names"), list(_providers(node, by_phandle))
    if len(given_hz) > len(providers):
        return (), (f"has {len(providers)} clocks, and {len(given_hz)} rates are given", len(providers))
    found = []
    for index, provider in enumerate(providers):
        rate = given_hz[index] if index < len(given_hz) else _rate_of(provider, by_phandle)
        if rate is None:
            name = f"clock '{names[index]}'" if index < len(names) else f"clock {index}"
            where = f", of '{provider.path}'" if provider else ""
            return (), (f"needs the rate of {name}{where}, which the tree does not say", len(providers))
        found.append(FixedClock(f"clock_{rate}", rate))
    return tuple(found), None


def _providers(node: Node, by_phandle: Mapping[int, Node]) -> Iterator[Node | None]:
    cells, at = node.cells("clocks"), 0
    while at < len(cells):
        provider = by_phandle.get(cells[at])
        yield provider
        at += 1 + (provider.number("#clock-cells") if provider else 0)


def _rate_of(clock: Node | None, by_phandle: Mapping[int, Node], depth: int = 0) -> int | None:
    """Return the rate of a clock that always has one (Linux bindings fixed-clock.yaml, fixed-factor-clock.yaml)."""
    if clock is None or depth > _MOST_FACTORS:
        return None
    if "fixed-clock" in clock.compatible:
        return clock.number("clock-frequency") or None
    if "fixed-factor-clock" in clock.compatible:
        rate = _rate_of(next(_providers(clock, by_phandle), None), by_phandle, depth + 1)
        return None if rate is None else rate * clock.number("clock-mult", 1) // (clock.number("clock-div", 1) or 1)
    return None
