"""Rules on what else Xen fixes at boot: CPU pools, the static heap, event channels."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import KIB, format_size
from vtool.diagnostics import Severity
from vtool.diagnostics.codes import rule
from vtool.lint.context import DOMAIN, Context, tuples
from vtool.lint.finding import Finding
from vtool.lint.modules import owner_name
from vtool.platform.devicetree import Node
from vtool.platform.xen_properties import CPUPOOLS, EVENT_CHANNELS, STATIC_HEAP

HEAP_ALIGNMENT = 64 * KIB
MOST_PORTS_2L = 4096
MOST_PORTS_FIFO = 1 << 17
LAST_PORT_OF_A_DOMAIN = 1023
SCHEDULERS = ("credit", "credit2", "null", "rtds", "arinc653")


def _cpupools(context: Context) -> list[Node]:
    if context.chosen is None or not context.has(CPUPOOLS):
        return []
    return [node for node in context.chosen.children.values() if CPUPOOLS.name in node.compatible]


@rule(
    "VT880",
    what="a CPU pool cannot be made",
    why="Xen panics when a CPU is not one, does not come up or is in two pools, and on unknown schedulers.",
    example="cpupool-cpus = <&cpu0> in two pools",
    fix="List every CPU once, by label.",
)
def cpupools_share_no_cpu(context: Context) -> Iterator[Finding]:
    """A pool lists CPUs that are there, each CPU is in one pool, its scheduler exists."""
    seen: dict[Node, Node] = {}
    for pool in _cpupools(context):
        cpus = context.referenced(pool, "cpupool-cpus")
        if not cpus:
            yield Finding("VT880", pool, "`cpupool-cpus` is missing or empty: Xen panics", "cpupool-cpus")
        for number, cpu in cpus:
            if cpu is None or not (cpu.string("device_type") == "cpu" or cpu.path.startswith("/cpus/")):
                what = f"'{cpu.path}'" if cpu else "no node"
                message = f"`cpupool-cpus` names {what} (phandle {number:#x}), not a CPU: Xen panics"
                yield Finding("VT880", pool, message, "cpupool-cpus", (cpu,) if cpu else ())
                break  # Xen stops at it
            if not cpu.available:
                message = f"'{cpu.path}' is switched off: a CPU of a pool that does not come up stops Xen"
                yield Finding("VT880", pool, message, "cpupool-cpus", (cpu,))
            other = seen.setdefault(cpu, pool)
            if other is not pool or [c for _, c in cpus].count(cpu) > 1:
                message = f"'{cpu.path}' is listed twice (before: '{other.path}'): Xen panics"
                yield Finding("VT880", pool, message, "cpupool-cpus", (other,) if other is not pool else ())
                break
        scheduler = pool.string("cpupool-sched")
        if scheduler and scheduler not in SCHEDULERS:
            message = f"Xen has no scheduler '{scheduler}' and panics"
            yield Finding("VT880", pool, message, "cpupool-sched", hints=(", ".join(SCHEDULERS),))


@rule(
    "VT881",
    what="domain-cpupool names no CPU pool",
    why="Xen panics, or silently runs the domain in Pool-0.",
    example="domain-cpupool = <&cpu0>",
    fix="Refer to a node compatible with xen,cpupool under /chosen.",
)
def domains_use_cpupools(context: Context) -> Iterator[Finding]:
    """``domain-cpupool`` names a CPU pool."""
    pools = _cpupools(context)
    for domain in context.domains:
        if not context.has(CPUPOOLS):
            return
        for number, pool in context.referenced(domain, "domain-cpupool")[:1]:
            if pool is None or pool not in pools:
                what = f"'{pool.path}'" if pool else "no node"
                # dt_parse_phandle finds nothing, and Xen goes on as if it was not asked.
                effect = "Xen panics" if pool else f"{context.xen} ignores it, the domain runs in Pool-0"
                message = f"`domain-cpupool` {number:#x} is {what}, not a `{CPUPOOLS.name}` under /chosen: {effect}"
                yield Finding("VT881", domain, message, "domain-cpupool", (pool,) if pool else ())


@rule(
    "VT882",
    what="the static heap is not available",
    why="Its cells are the root's; it is aligned to 64 KiB, in RAM and nobody else's.",
    example="xen,static-heap over a module",
    fix="Move it.",
)
def the_heap_is_aligned(context: Context) -> Iterator[Finding]:
    """The static heap is in cells of the root, 64 KiB aligned and in RAM."""
    found = context.chosen.properties.get("xen,static-heap") if context.chosen else None
    if found is None or context.chosen is None or not context.has(STATIC_HEAP):
        return
    widths = context.cells(context.tree.root)
    if not tuples(found, *widths):
        message = f"`xen,static-heap` has {len(found.value)} bytes, not a multiple of {4 * sum(widths)}"
        message += f": its cells are the root's ({widths[0]} and {widths[1]})"
        yield Finding("VT882", context.chosen, message, found.name)
    for where in context.static_heap:
        if where.base % HEAP_ALIGNMENT or where.end % HEAP_ALIGNMENT:
            message = f"the static heap {where} is not aligned to {format_size(HEAP_ALIGNMENT)}"
            yield Finding("VT882", context.chosen, message, found.name)
        if context.outside_memory(where):
            message = f"the static heap {where} is not inside RAM: Xen aborts without a clear message"
            yield Finding("VT882", context.chosen, message, found.name)


def _channels(context: Context) -> list[Node]:
    if context.chosen is None or not context.has(EVENT_CHANNELS):
        return []
    parents = (context.chosen, *context.domains)
    return [c for parent in parents for c in parent.children.values() if EVENT_CHANNELS.name in c.compatible]


@rule(
    "VT883",
    what="an event channel is not set up correctly",
    why="Xen reads xen,evtchn-v1 only, and both ends must name each other.",
    example='compatible = "xen,evtchn"',
    fix="Give each end a port and the other's label.",
)
def event_channels_meet(context: Context) -> Iterator[Finding]:
    """The two ends of an event channel are well formed and name each other."""
    stopped = "Xen panics, 'Could not set up domains evtchn'"
    known = _channels(context)
    for node in context.nodes:
        if "xen,evtchn" in node.values and EVENT_CHANNELS.name not in node.compatible:
            message = (
                f"Xen reads `xen,evtchn` in nodes compatible with `{EVENT_CHANNELS.name}` only and ignores this one"
            )
            yield Finding("VT883", node, message, "compatible")
        elif EVENT_CHANNELS.name in node.compatible and node not in known and context.has(EVENT_CHANNELS):
            yield Finding("VT883", node, "Xen reads event channels under '/chosen' and its domains only")
    for node in known:
        found = node.properties.get("xen,evtchn")
        if found is None or len(found.value) != 8:
            yield Finding("VT883", node, f"`xen,evtchn` is not a port and a phandle: {stopped}", "xen,evtchn")
            continue
        number = found.cells[1]
        other = context.by_phandle.get(number)
        if other is None:
            yield Finding("VT883", node, f"no node has the remote end's phandle {number:#x}: {stopped}", "xen,evtchn")
            continue
        back = other.properties.get("xen,evtchn")
        if back is None or len(back.value) != 8 or back.cells[1] != node.phandle or node.phandle is None:
            message = f"the remote end '{other.path}' does not name this node: {stopped}"
            yield Finding("VT883", node, message, "xen,evtchn", (other,))
        elif other not in known:
            message = f"the remote end '{other.path}' is not under '/chosen' or a domain: {stopped}"
            yield Finding("VT883", node, message, "xen,evtchn", (other,))


@rule(
    "VT884",
    what="an event channel cannot be used",
    why="Ports are 1 to 1023 in a domain, each used once, and the domain needs xen,enhanced.",
    example="xen,evtchn = <0 &other>",
    fix='Choose another port; add xen,enhanced = "no-xenstore".',
)
def event_channels_can_be_used(context: Context) -> Iterator[Finding]:
    """Ports are in range and used once, and the domain can use event channels."""
    ports: dict[tuple[str, int], Node] = {}
    for node in _channels(context):
        domain, found = node.parent, node.properties.get("xen,evtchn")
        if domain is None or found is None or len(found.value) != 8:
            continue
        who, port = owner_name(domain), found.cells[0]
        guest = DOMAIN in domain.compatible
        last = LAST_PORT_OF_A_DOMAIN if guest else MOST_PORTS_FIFO - 1
        if not 0 < port <= last:
            effect = "Xen takes 0 for any free port" if not port else "Xen panics"
            message = f"port {port} of {who} is not in 1 to {last}: {effect}"
            yield Finding("VT884", node, message, "xen,evtchn")
        elif port >= MOST_PORTS_2L:
            message = f"port {port} is beyond the {MOST_PORTS_2L} that a kernel without FIFO event channels can use"
            yield Finding("VT884", node, message, "xen,evtchn", severity=Severity.WARNING)
        other = ports.setdefault((domain.path, port), node)
        if other is not node:
            message = f"port {port} of {who} is already that of '{other.path}': Xen panics"
            yield Finding("VT884", node, message, "xen,evtchn", (other,))
        if guest and domain.string("xen,enhanced", "disabled") == "disabled":
            message = f"{who} has no `xen,enhanced`: its kernel is not told that it runs on Xen"
            hint = 'xen,enhanced = "no-xenstore" is enough'
            yield Finding("VT884", node, message, None, (domain,), (hint,))
        elif not guest and not context.has_dom0:
            yield Finding("VT884", node, "there is no dom0 for this end: Xen sets no channel up")
