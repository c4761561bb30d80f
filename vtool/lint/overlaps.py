"""One rule for everything that claims host memory: no two overlap."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from vtool.base.units import AddressRange
from vtool.diagnostics import Severity
from vtool.diagnostics.codes import rule
from vtool.lint.context import POOL, Context, Kind, ranges
from vtool.lint.finding import Finding
from vtool.lint.regions import initrd
from vtool.platform.devicetree import Node
from vtool.platform.xen_releases import MEMRESERVE_CHECKED, MEMRESERVE_HOLDS_MORE, OVERLAPS_CHECKED


@dataclass(frozen=True, eq=False)
class Claim:
    """Who claims which host addresses; ``key`` is the same for claims that are allowed to coincide."""

    kind: str
    node: Node
    name: str
    range: AddressRange
    what: str
    key: object = None


# The more particular side of a clash names it.
CODES = {
    "shared": "VT893",
    "module": "VT863",
    "static": "VT879",
    "heap": "VT882",
    "initrd": "VT854",
    "memreserve": "VT843",
    "reserved": "VT842",
}


def claims(context: Context) -> list[Claim]:
    """Return every claim in the order in which Xen meets them: the reservation block, then the tree."""
    found = [
        Claim("memreserve", context.tree.root, "", where, f"/memreserve/ {where}")
        for where in context.tree.memory_reservations
    ]
    inside = []
    for node in context.reserved:
        inside += [Claim("reserved", node, "reg", r, f"'{node.path}' {r}") for r in ranges(node)]
    ramdisk = initrd(context)
    if ramdisk and context.chosen and context.kind is Kind.LINUX:
        inside.append(Claim("initrd", context.chosen, "linux,initrd-start", ramdisk, f"the ramdisk {ramdisk}"))
    if context.kind is Kind.XEN:
        inside += _of_xen(context)
    if ramdisk or context.kind is Kind.XEN:  # regions alone are in order
        inside.sort(key=lambda claim: context.position[claim.node])
    return found + inside


def _of_xen(context: Context) -> Iterator[Claim]:
    for module in context.modules:
        if module.range:
            what = f"module '{module.node.path}' {module.range}"
            yield Claim("module", module.node, "reg", module.range, what, (module.kind, module.range.base))
    for domain in context.domains:
        for r in context.static_memory(domain):
            yield Claim("static", domain, "xen,static-mem", r, f"static memory of '{domain.path}' {r}")
    for r in context.static_heap:
        if context.chosen:
            yield Claim("heap", context.chosen, "xen,static-heap", r, f"the static heap {r}")
    ids: set[str] = set()
    for shared in context.shared:
        # A second node of the same id is the same region; one that differs is VT891's.
        if shared.host_range and shared.id not in ids:
            ids.add(shared.id)
            what = f"shared memory '{shared.id}' {shared.host_range}"
            key = (shared.host_range, "shared")  # the same region by two names is VT892's
            yield Claim("shared", shared.node, "xen,shared-mem", shared.host_range, what, key)


@rule(
    "VT842",
    what="two reserved regions overlap",
    why="Linux sets up both (a warning unless one is DMA memory); Xen 4.18 and later stop at it.",
    example="two children of /reserved-memory with the same reg",
    fix="Move or shrink one, or merge them.",
)
@rule(
    "VT843",
    what="a reserved region overlaps a /memreserve/",
    why=(
        "Before Linux 6.4 no-map then fails and the memory stays mapped (a warning); a pool is written over what the "
        "firmware left there."
    ),
    example="/memreserve/ over a region with no-map",
    fix="Name the memory once.",
)
@rule(
    "VT854",
    what="the ramdisk lies in a reserved region",
    why="Linux disables the ramdisk, or both use the memory.",
    example="linux,initrd-start inside a pool",
    fix="Move the region, or let the boot loader put the ramdisk elsewhere.",
)
@rule(
    "VT863",
    what="a boot module overlaps something",
    why="From 4.18 on Xen drops the module (or what comes later in the tree) early; before, both use the memory.",
    example="a ramdisk that begins inside the kernel",
    fix="Move it; mind that the size is the file's.",
)
@rule("VT879")
@rule("VT882")
@rule(
    "VT893",
    what="shared memory overlaps something",
    why="It must be clear of other regions, reserved memory, modules and, from 4.19 on, /memreserve/.",
    example="a region inside the dom0 kernel's module",
    fix="Move it.",
)
def host_memory_is_claimed_once(context: Context) -> Iterator[Finding]:
    """No address of the host is claimed twice."""
    earlier: list[Claim] = []
    for claim in claims(context):
        for other in earlier:
            if claim.range.overlaps(other.range) and not (claim.key and claim.key == other.key):
                yield from _clash(context, other, claim)
        earlier.append(claim)


def _clash(context: Context, other: Claim, claim: Claim) -> Iterator[Finding]:
    kinds = {other.kind, claim.kind}
    code = next(CODES[kind] for kind in CODES if kind in kinds)
    effect, severity = _effect(context, other, claim)
    if effect:
        others = () if other.kind == "memreserve" or other.node is claim.node else (other.node,)
        message = f"{claim.range} overlaps {other.what}: {effect}"
        yield Finding(code, claim.node, message, claim.name, others, severity=severity)


def _effect(context: Context, other: Claim, claim: Claim) -> tuple[str, Severity]:
    """Say what happens; nothing where it is harmless."""
    kinds = {other.kind, claim.kind}
    if kinds == {"memreserve"}:
        return "", Severity.ERROR
    if kinds <= {"reserved", "memreserve", "initrd"}:
        return _effect_in_linux(context, other, claim)
    if other.kind == "memreserve" and claim.kind == "module":
        return _effect_on_a_module(context, other, claim)
    if other.kind == "memreserve":
        within = other.range.contains(claim.range)
        checked = context.has(MEMRESERVE_CHECKED) and (claim.kind == "shared" or not within)
    elif "shared" in kinds and kinds <= {"shared", "static", "heap", "reserved"}:
        checked = True
    else:
        checked = context.has(OVERLAPS_CHECKED)
    if not checked:
        return f"{context.xen} does not check, and both use the memory", Severity.ERROR
    if claim.kind == "module":
        return f"{context.xen} drops the module, before its console is up", Severity.ERROR
    return context.early_failure, Severity.ERROR


def _effect_on_a_module(context: Context, memreserve: Claim, module: Claim) -> tuple[str, Severity]:
    """Say what happens to a boot module where a /memreserve/ is: boot loaders list there what they load."""
    if not context.has(MEMRESERVE_CHECKED):
        return "", Severity.ERROR
    if not memreserve.range.contains(module.range):
        return f"{context.xen} drops the module, before its console is up", Severity.ERROR
    if context.has(MEMRESERVE_HOLDS_MORE):
        return "", Severity.ERROR
    return f"Xen {MEMRESERVE_HOLDS_MORE.points_without} drop the module", Severity.WARNING


def _effect_in_linux(context: Context, other: Claim, claim: Claim) -> tuple[str, Severity]:
    kinds = {other.kind, claim.kind}
    properties = {*other.node.values, *claim.node.values}
    pool = POOL in (*other.node.compatible, *claim.node.compatible)
    effect, severity = "", Severity.ERROR
    if kinds == {"memreserve", "reserved"}:
        checked, within = context.for_xen and context.has(MEMRESERVE_CHECKED), other.range.contains(claim.range)
        if checked and not within:
            effect = context.early_failure
        elif checked and not context.has(MEMRESERVE_HOLDS_MORE):
            effect = f"Xen {MEMRESERVE_HOLDS_MORE.points_without} panic before their console is up"
            severity = Severity.WARNING
        elif "no-map" in claim.node.values:
            effect = "Linux before 6.4 fails to reserve it (`no-map` comes too late) and keeps it mapped"
            severity = Severity.WARNING
        elif pool:
            effect = "devices write where the boot firmware's own data are"
    elif kinds == {"initrd", "reserved"}:
        effect = "Linux disables the ramdisk or uses its memory for both"
    elif kinds == {"reserved"} and context.for_xen and context.has(OVERLAPS_CHECKED):
        effect = context.early_failure
    elif kinds == {"reserved"}:
        severity = Severity.ERROR if pool or "reusable" in properties else Severity.WARNING
        effect = _of_two_regions(context, other, claim)
    return effect, severity


def _of_two_regions(context: Context, other: Claim, claim: Claim) -> str:
    """Say what Linux 6.12 makes of two regions that overlap (drivers/of/of_reserved_mem.c).

    It reserves them in the order of the tree (early_init_dt_reserve_memory: what is reserved does not become
    `no-map`), and of those sorted by address compares neighbours only (__rmem_check_for_overlap).
    """
    said = "says 'OVERLAP DETECTED'" if (other.range, claim.range) in _neighbours(context) else "does not notice"
    late = "no-map" in claim.node.values and "no-map" not in other.node.values
    if late and (not context.memory or any(bank.overlaps(claim.range) for bank in context.memory)):
        return f"Linux {said}, and fails to reserve the later one, whose `no-map` comes too late: it stays mapped"
    return f"Linux {said} and sets up both"


def _neighbours(context: Context) -> set[tuple[AddressRange, AddressRange]]:
    """Return the pairs of regions that Linux compares, each both ways; of a region it keeps the first range."""
    first = sorted(found[0] for node in context.reserved if (found := ranges(node)))
    pairs = list(itertools.pairwise(first))
    return {*pairs, *((later, earlier) for earlier, later in pairs)}
