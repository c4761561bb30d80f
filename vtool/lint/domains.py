"""Rules on the domains that Xen builds at boot."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import PAGE_BYTES, AddressRange, dotted, format_size
from vtool.diagnostics import Severity
from vtool.diagnostics.codes import rule
from vtool.lint.context import (
    GIC_V2,
    Context,
    direct_mapped,
    memory_bytes,
    tuples,
)
from vtool.lint.finding import Finding
from vtool.platform import layouts
from vtool.platform.command_lines import dom0_memory
from vtool.platform.devicetree import Node
from vtool.platform.xen_properties import DIRECT_MAP, ENHANCED, PROPERTIES, Where

MOST_CPUS = 128
MOST_CPUS_GIC_V2 = 8
GUEST_RAM_BYTES = sum(bank.size_bytes for bank in layouts.XEN_GUEST_RAM)
WARNING = Severity.WARNING

ENHANCED_WORDS = ("", "enabled", "disabled", "no-xenstore")


@rule(
    "VT870",
    what="a domain has no memory or cpus",
    why="Both are mandatory; memory is in KiB in two cells.",
    example="xen,domain without cpus",
    fix="Add memory = <0x0 0x40000> (256 MiB) and cpus = <1>.",
)
def domains_have_memory_and_cpus(context: Context) -> Iterator[Finding]:
    """``memory`` (KiB, two cells) and ``cpus`` are there and can be had."""
    for domain in context.domains:
        found = domain.properties.get("memory")
        if found is None:
            message = f"`memory` is missing: {context.xen} cannot read it and panics"
            yield Finding("VT870", domain, message, hints=("256 MiB is memory = <0x0 0x40000>, in KiB",))
        elif len(found.value) != 8:
            message = f"`memory` has {len(found.value) // 4} cells, not two: {context.xen} "
            message += "panics" if len(found.value) < 8 else "reads the first two"
            yield Finding("VT870", domain, message, "memory", hints=("256 MiB is memory = <0x0 0x40000>, in KiB",))
        elif not memory_bytes(domain):
            yield Finding("VT870", domain, "`memory` is 0: its kernel does not fit", "memory")
        cpus = domain.number("cpus")
        most = MOST_CPUS_GIC_V2 if context.gic_version == 2 else MOST_CPUS
        if "cpus" not in domain.values:
            message = f"`cpus` is missing: {context.xen} panics, \"Missing property 'cpus' for domain\""
            yield Finding("VT870", domain, message)
        elif not 0 < cpus <= most:
            version = f" with a GICv{context.gic_version} ({GIC_V2[0]})" if context.gic_version == 2 else ""
            message = f"`cpus` is {cpus}, Xen allows 1 to {most}{version}: it panics, 'Error creating domain'"
            yield Finding("VT870", domain, message, "cpus")


@rule(
    "VT872",
    what="static memory is not in the right form",
    why="Its cells are those of /chosen, not of the domain; it comes in pages; cache colours exclude it.",
    example="xen,static-mem in the domain's cells",
    fix="Write address and size in the cells of /chosen, multiples of 4 KiB.",
)
@rule(
    "VT873",
    what="static memory is not what memory says",
    why="Xen panics unless the sum is exact; mixing with the heap is not supported.",
    example="memory of 256 MiB with 128 MiB of xen,static-mem",
    fix="Make them equal.",
)
def static_memory_is_read_as_meant(context: Context) -> Iterator[Finding]:
    """``xen,static-mem`` is in cells of ``/chosen``, in pages, and sums up to ``memory``."""
    for domain in context.domains:
        found, parent = domain.properties.get("xen,static-mem"), domain.parent
        if found is None or parent is None:
            continue
        widths = context.cells(parent)
        pairs = tuples(found, *widths)
        if not pairs:
            message = f"`xen,static-mem` has {len(found.value)} bytes, not a multiple of {4 * sum(widths)}"
            message += f": its cells are those of '{parent.path}' ({widths[0]} and {widths[1]}), not the domain's"
            yield Finding("VT872", domain, message, found.name, (parent,))
            continue
        for base, size in pairs:
            if base % PAGE_BYTES or size % PAGE_BYTES or not size:
                message = f"static memory {base:#x}, size {size:#x} is not whole pages of {format_size(PAGE_BYTES)}"
                yield Finding("VT872", domain, message, found.name)
        if "llc-colors" in domain.values:
            message = "`llc-colors` and `xen,static-mem` exclude each other: Xen panics"
            yield Finding("VT872", domain, message, "llc-colors")
        total, wanted = sum(size for _, size in pairs), memory_bytes(domain)
        if wanted and total != wanted:
            message = f"`xen,static-mem` sums up to {format_size(total)}, `memory` is {format_size(wanted)}"
            own = tuples(found, *context.cells(domain)) or []
            hints = [f"its cells are those of '{parent.path}' ({widths[0]} and {widths[1]})"]
            if sum(size for _, size in own) == wanted:
                hints.append("in the domain's own cells it would be right")
            yield Finding("VT873", domain, f"{message}: Xen panics", found.name, hints=tuple(hints))


@rule(
    "VT879",
    what="static memory is not available",
    why="It is outside RAM, or claimed by something else too.",
    example="xen,static-mem over /reserved-memory",
    fix="Move it.",
)
def static_memory_is_memory(context: Context) -> Iterator[Finding]:
    """Static memory lies in RAM."""
    for domain in context.domains:
        for where in context.static_memory(domain):
            if context.outside_memory(where):
                banks = ", ".join(map(str, context.memory))
                message = f"static memory {where} is not inside RAM ({banks}): Xen aborts without a clear message"
                yield Finding("VT879", domain, message, "xen,static-mem")


@rule(
    "VT874",
    what="direct-map without static memory",
    why="A domain can be mapped 1:1 only where its memory is fixed.",
    example="direct-map without xen,static-mem",
    fix="Add xen,static-mem, or leave direct-map out.",
)
def direct_map_has_static_memory(context: Context) -> Iterator[Finding]:
    """A domain is mapped 1:1 only with memory at fixed places."""
    for domain in context.domains:
        if not context.has(DIRECT_MAP):
            return
        if "direct-map" in domain.values and "xen,static-mem" not in domain.values:
            message = "`direct-map` without `xen,static-mem`: Xen panics, 'direct-map is not valid for domain'"
            yield Finding("VT874", domain, message, "direct-map")


@rule(
    "VT875",
    what="xen,enhanced is not possible",
    why="Xenstore runs in dom0; words that Xen does not know silently give the domain nothing.",
    example="xen,enhanced without dom0",
    fix="Use no-xenstore, or add a dom0.",
)
def enhanced_can_be_had(context: Context) -> Iterator[Finding]:
    """``xen,enhanced`` is a word that this Xen knows, and xenstore has a dom0 to run in."""
    if not context.has(ENHANCED):
        return
    newer = [word for word, since in ENHANCED.values_since if context.version >= since]
    for domain in context.domains:
        if "xen,enhanced" not in domain.values:
            continue
        word = domain.string("xen,enhanced")
        if word not in (*ENHANCED_WORDS, *newer):
            message = f'{context.xen} does not know xen,enhanced = "{word}": the domain silently gets nothing of it'
            yield Finding("VT875", domain, message, "xen,enhanced", hints=("enabled, no-xenstore or disabled",))
        elif word in ("", "enabled", "legacy") and not context.has_dom0:
            message = "`xen,enhanced` with xenstore needs a dom0, and there is none: Xen panics"
            yield Finding("VT875", domain, message, "xen,enhanced", hints=('"no-xenstore" needs none',))


@rule(
    "VT876",
    what="nr_spis is not possible",
    why="Xen allows 960, and vpl011 needs the first one.",
    example="nr_spis = <1000>",
    fix="Choose a number that covers the domain's devices.",
)
def interrupts_suffice(context: Context) -> Iterator[Finding]:
    """``nr_spis`` is what Xen allows and covers the virtual UART."""
    for domain in context.domains:
        if "nr_spis" not in domain.values:
            continue
        spis = domain.number("nr_spis")
        if spis > layouts.XEN_MOST_SPIS:
            message = f"`nr_spis` is {spis}, Xen allows {layouts.XEN_MOST_SPIS}: it panics, 'Error creating domain'"
            yield Finding("VT876", domain, message, "nr_spis")
        elif not spis and "vpl011" in domain.values and not direct_mapped(domain):
            message = "`nr_spis` is 0, `vpl011` needs interrupt 32, the first: Xen cannot set up the domain"
            yield Finding("VT876", domain, message, "nr_spis")


@rule(
    "VT877",
    what="more memory is asked for than there is",
    why="Xen panics when it cannot allocate it.",
    example="memory = <0x0 0x40000000>, bytes taken for KiB",
    fix="Write memory in KiB; leave some for Xen.",
)
def memory_can_be_had(context: Context) -> Iterator[Finding]:
    """Domains ask for no more than their layout and the host have."""
    total = 0
    available = sum(bank.size_bytes for bank in context.memory)
    for domain in context.domains:
        wanted = memory_bytes(domain)
        total += wanted
        if wanted > GUEST_RAM_BYTES and not direct_mapped(domain):
            message = f"`memory` is {format_size(wanted)}, a guest's layout has {format_size(GUEST_RAM_BYTES)}"
            yield Finding("VT877", domain, message, "memory", hints=("it is in KiB",))
        elif available and wanted > available:
            message = f"`memory` is {format_size(wanted)}, the host has {format_size(available)}: Xen panics"
            yield Finding("VT877", domain, message, "memory", hints=("it is in KiB",))
            total -= wanted
    dom0 = dom0_memory(context.xen_arguments or "") if context.has_dom0 else 0
    total += dom0 or 0
    if context.chosen and available and total > available:
        message = f"dom0 and domains ask for {format_size(total)}, the host has {format_size(available)}: Xen panics"
        yield Finding("VT877", context.chosen, message)


@rule(
    "VT878",
    what="this Xen does not know a property or node",
    why="It is newer than the release and is ignored, mostly without a word.",
    example="capabilities with --xen-version 4.20",
    fix="Leave it out, or use a newer Xen.",
)
def this_xen_knows_it(context: Context) -> Iterator[Finding]:
    """What is newer than this Xen is ignored, mostly without a word."""
    places = {Where.DOMAIN: context.domains, Where.CHOSEN: [context.chosen] if context.chosen else []}
    for row in PROPERTIES:
        if context.has(row):
            continue
        if row.where is Where.BELOW:
            for node in context.chosen.walk() if context.chosen else ():
                if row.name in node.compatible:
                    message = f"`{row.name}` came with Xen {dotted(row.since)}: {context.xen} ignores the node"
                    yield Finding("VT878", node, message, "compatible")
            continue
        for node in places.get(row.where, ()):
            if row.name in node.values and row.feature.is_in_fixes_to(context.version):
                yield Finding("VT878", node, f"`{row.name}` {row.since_words}", row.name, severity=WARNING)
            elif row.name in node.values:
                message = f"`{row.name}` came with Xen {dotted(row.since)}: {context.xen} ignores it"
                yield Finding("VT878", node, message, row.name)


def guest_memory(context: Context, domain: Node) -> list[AddressRange]:
    """Return where a domain sees its RAM: at host addresses when mapped 1:1, else in the layout's banks."""
    if direct_mapped(domain):
        return context.static_memory(domain)
    left, found = memory_bytes(domain), []
    for bank in layouts.XEN_GUEST_RAM:
        if size := min(left, bank.size_bytes):
            found.append(AddressRange.of_size(bank.base, size))
            left -= size
    return found
