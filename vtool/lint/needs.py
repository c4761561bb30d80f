"""Rules on what dom0 and domains need in order to run: CPUs that are started, and memory for what is loaded.

Of Xen 4.20: xen/common/sched/boot-cpupool.c, xen/arch/arm/smpboot.c start_secondary, xen/arch/arm/kernel.c
place_modules, xen/arch/arm/domain_build.c dom0_max_vcpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vtool.base.units import MIB, align_up, format_size
from vtool.diagnostics import Severity
from vtool.diagnostics.codes import rule
from vtool.lint.context import Context, memory_bytes
from vtool.lint.finding import Finding
from vtool.lint.modules import owner_name
from vtool.platform.command_lines import dom0_memory, last, number_of, starts_every_kind, xen_words
from vtool.platform.devicetree import Node
from vtool.platform.xen_properties import CPUPOOLS

LOADED_IN_BYTES = 2 * MIB
"""Xen gives ramdisk and device tree of a domain whole pieces of 2 MiB each."""


@dataclass(frozen=True, eq=False)
class Pool:
    """A CPU pool as Xen makes it; ``node`` is /chosen of the one of the CPUs that no other has."""

    node: Node
    name: str
    """The property that says its scheduler."""
    scheduler: str
    cpus: tuple[Node, ...]
    is_first: bool
    """Whether it has the CPU that Xen boots on, and so dom0 and the domains that name no pool."""


def cpus_of(context: Context) -> tuple[Node, ...]:
    """Return the CPUs that Xen counts, the one that it boots on first: as trees have it, the first."""
    cpus = context.tree.root.children.get("cpus")
    found = cpus.children.values() if cpus else ()
    return tuple(node for node in found if node.string("device_type") == "cpu" and "reg" in node.values)


def pools_of(context: Context) -> Iterator[Pool]:
    """Yield the CPU pools; nothing where the tree, or what a boot loader will add to it, does not tell."""
    chosen, cpus = context.chosen, cpus_of(context)
    if chosen is None or not cpus or context.completed_later:
        return
    word = last(xen_words(context.xen_arguments or ""), "sched")
    by_default, said = word.value if word else "credit2", context.name_of_arguments
    rest = list(cpus)
    declared = [node for node in chosen.children.values() if CPUPOOLS.name in node.compatible]
    for node in declared if context.has(CPUPOOLS) else ():
        own = tuple(cpu for _, cpu in context.referenced(node, "cpupool-cpus") if cpu in rest)
        rest = [cpu for cpu in rest if cpu not in own]
        name = "cpupool-sched" if "cpupool-sched" in node.values else "cpupool-cpus"
        yield Pool(node, name, node.string("cpupool-sched") or by_default, own, cpus[0] in own)
    if cpus[0] in rest:
        yield Pool(chosen, said, by_default, tuple(rest), True)


@rule(
    "VT354",
    what="a vCPU that the null scheduler never runs",
    why="It gives each CPU to one vCPU for good. In the pool of CPU 0, dom0's vCPUs count, too.",
    example='two guests of one vCPU in a pool of one CPU with scheduler: "null"',
    fix="Give the pool as many CPUs as its domains have vCPUs, or use another scheduler.",
)
def null_pools_have_the_cpus(context: Context) -> Iterator[Finding]:
    """The null scheduler gives a CPU to one vCPU for good; one that gets none never runs."""
    for pool in pools_of(context):
        asked = _vcpus(context, pool)
        total, count = sum(asked.values()), len(pool.cpus)
        if pool.scheduler == "null" and count and total > count:
            whose = ", ".join(f"{owner_name(node)} {number}" for node, number in asked.items())
            message = f"the pool has {count} CPU{'s' * (count != 1)} for {total} vCPUs ({whose})"
            others = tuple(node for node in asked if node is not pool.node)
            yield Finding("VT354", pool.node, f"{message}: the null scheduler never runs the rest", pool.name, others)


def _vcpus(context: Context, pool: Pool) -> dict[Node, int]:
    """Return how many vCPUs dom0 (``/chosen``) and each domain have in a pool."""
    asked: dict[Node, int] = {}
    if pool.is_first and context.has_dom0 and context.chosen:
        word = last(xen_words(context.xen_arguments or ""), "dom0_max_vcpus")
        asked[context.chosen] = (number_of(word.value) if word else None) or len(pool.cpus)
    for domain in context.domains:
        named = next((node for _, node in context.referenced(domain, "domain-cpupool")[:1]), None)
        if named is pool.node or (named is None and pool.is_first):
            asked[domain] = domain.number("cpus")
    return asked


@rule(
    "VT357",
    what="cores of two kinds",
    why="Xen starts CPUs of the kind that it boots on; a pool of others stops it, and a vCPU that moves can lose data.",
    example="cpupools: {rt: {cpus: 0-3}} on a Juno, whose first two are Cortex-A72 and whose rest Cortex-A53",
    fix="Name CPUs of one kind; hmp-unsafe=1 in the hypervisor's bootargs starts those of every kind.",
)
def pools_are_of_cpus_that_start(context: Context) -> Iterator[Finding]:
    """Xen starts the CPUs of the kind that it boots on; a pool of others stops it, of several is unsafe."""
    cpus = cpus_of(context)
    word = starts_every_kind(xen_words(context.xen_arguments or ""))
    for pool in pools_of(context):
        kinds = {cpu: cpu.string("compatible") for cpu in (cpus[0], *pool.cpus)}
        if pool.node is context.chosen or not all(kinds.values()):
            continue
        other = next((cpu for cpu in pool.cpus if kinds[cpu] != kinds[cpus[0]]), None)
        if other is not None and word is None:
            message = f"'{other.path}' is of kind {kinds[other]}, the CPU that Xen boots on of {kinds[cpus[0]]}"
            message += ": Xen does not start it, and panics, 'contains cpu... that is not online'"
            hint = "hmp-unsafe=1 among the words for Xen starts CPUs of every kind"
            yield Finding("VT357", pool.node, message, "cpupool-cpus", (other,), (hint,))
        elif word is not None and len({kinds[cpu] for cpu in pool.cpus}) > 1:
            message = "the pool has CPUs of several kinds: a vCPU that moves from one to another can corrupt its data"
            yield Finding("VT357", pool.node, message, "cpupool-cpus", severity=Severity.WARNING)


@rule("VT421")
def memory_holds_what_is_loaded(context: Context) -> Iterator[Finding]:
    """Dom0 and domains have memory for their kernel, ramdisk and device tree.

    Not of a tree that the boot loader completes: there `reg` says the room of a module, and not yet its size.
    """
    if context.completed_later:
        return
    arguments = context.xen_arguments
    for owner in (context.chosen, *context.domains):
        if owner is None or not context.kernels(owner):
            continue
        is_dom0 = owner is context.chosen
        memory = dom0_memory(arguments or "") if is_dom0 else memory_bytes(owner)
        what = {
            kind: next((m.range for m in context.modules if m.owner is owner and m.kind == kind and m.range), None)
            for kind in ("kernel", "ramdisk")
        }
        needs = {kind: where.size_bytes for kind, where in what.items() if where}
        if "ramdisk" in needs:
            needs["ramdisk"] = align_up(needs["ramdisk"], LOADED_IN_BYTES)
        if not memory or "kernel" not in needs or memory >= sum(needs.values()) + LOADED_IN_BYTES:
            continue
        told = ", ".join(f"{format_size(size)} for the {kind}" for kind, size in needs.items())
        message = f"{'dom0_mem' if is_dom0 else '`memory`'} is {format_size(memory)}, and Xen needs {told} and "
        message += (
            f"{format_size(LOADED_IN_BYTES)} for the device tree: it panics, 'Not enough memory in the first bank'"
        )
        name = context.name_of_arguments if is_dom0 else "memory"
        yield Finding("VT421", owner, message, name, tuple(m.node for m in context.kernels(owner)[:1]))
