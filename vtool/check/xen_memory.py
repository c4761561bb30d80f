"""Rules on memory that Xen hands out at boot: static memory, shared regions, where guests see them."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import PAGE_BYTES, AddressRange, dotted, format_size
from vtool.check.context import Context
from vtool.check.free import free_in_guest
from vtool.check.shares import Share, largest_first, listed
from vtool.data_paths.facts import Transport
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.diagnostics.codes import rule
from vtool.model.topology import Domain, Region, Role, Start, Xen
from vtool.platform import layouts
from vtool.platform.xen_properties import SHARED_MEMORY
from vtool.platform.xen_releases import (
    GUESTS_ARE_TOLD,
    LARGE_TREES,
    MOST_REGIONS_OF_A_SMALL_TREE,
    most_shared_regions,
)

MODULES = 32
"""Xen xen/include/xen/bootfdt.h MAX_MODULES, which counts Xen itself and its device tree."""
OWN_MODULES = 3
"""Xen, its device tree and dom0's kernel."""


@rule(
    "VT373",
    what="a region cannot be shared between these domains",
    why="Static shared memory exists only for dom0 and dom0less guests of one board; xl has no key for it.",
    example="a borrower that xl starts",
    fix="Start the domain with dom0less.",
)
def regions_are_shared_at_boot(context: Context) -> Iterator[Diagnostic]:
    """Only domains that Xen builds itself, dom0 and dom0less guests, can share static memory."""
    by_xl: dict[str, list[str]] = {}
    for name, region in context.topology.regions.items():
        if not context.is_static_shared(region):
            keys = {"host_address", "addresses", "placed"} & region.model_fields_set
            owner = context.topology.domains.get(region.owner or "")
            if owner is not None and owner.role is Role.CONTROL:
                keys -= {"host_address"}  # what it sees is the host's memory
            if keys:
                message = f"region '{name}': only memory that Xen shares at boot has further addresses"
                yield context.find("VT373", message, ("regions", name, min(keys)), key=True)
            continue
        members = context.members_of(region)
        for member in members:
            domain = context.topology.domains[member]
            if domain.role is Role.GUEST and domain.start is Start.XL:
                by_xl.setdefault(member, []).append(f"'{name}'")
        if region.owner and not region.borrowers and not context.lookup.users_of[name]:  # else VT311
            message = f"region '{name}' is shared with nobody: it has an owner and no borrowers"
            yield context.find("VT373", message, ("regions", name), key=True)
        for key in region.addresses.keys() & set(context.topology.domains):
            if key not in region.borrowers:
                message = f"region '{name}': '{key}' is not a borrower of it"
                hint = "where the owner sees it is `address`"
                yield context.find("VT373", message, ("regions", name, "addresses", key), key=True, hints=(hint,))
    for member, names in by_xl.items():
        which = f"region{'s' if len(names) > 1 else ''} {', '.join(names)}"
        message = f"{which}: xl has no static shared memory, and '{member}' is started by xl"
        yield context.find("VT373", message, ("domains", member), key=True, hints=("start: dom0less",))


@rule(
    "VT397",
    what="memory is shared that guests are not told of (warning)",
    why="Xen 4.17 and 4.18 leave a shared region out of the guest's /memory, and make dom0 a second /reserved-memory.",
    example="a region between dom0less guests on Xen 4.17",
    fix="Use Xen 4.19 or later; or let the guests map the region by its address, without a pool.",
)
def guests_are_told_of_regions(context: Context) -> Iterator[Diagnostic]:
    """A Xen that shares a region also writes it into the guest's /memory."""
    for board, xen in context.xens.items():
        if GUESTS_ARE_TOLD.is_in(xen.version) or not SHARED_MEMORY.is_in(xen.version):
            continue
        for name, region in context.lookup.regions_on[board].items():
            if context.is_static_shared(region) and region.placed:
                message = f"region '{name}': Xen {xen.release} leaves it out of the /memory of its guests"
                hint = f"Xen {dotted(GUESTS_ARE_TOLD.since)} tells them; with this one Linux has no mapping of it, "
                hint += "and no pool works there"
                path = ("regions", name)
                yield context.find("VT397", message, path, key=True, hints=(hint,), severity=Severity.WARNING)


@rule(
    "VT374",
    what="static memory and addresses contradict each other",
    why="direct-map needs static memory, and then guest and host addresses are the same; cache colours exclude it.",
    example="direct_map: true without static_memory",
    fix="Follow the message.",
)
@rule("VT403")
def static_memory_is_sound(context: Context) -> Iterator[Diagnostic]:
    """Direct-map needs static memory, and equal addresses inside and outside."""
    for name, domain in context.topology.domains.items():
        settings = domain.xen
        if settings is None:
            continue
        path = ("domains", name, "xen")
        if settings.direct_map and not domain.has_static_memory:
            message = f"`direct_map` of '{name}' needs `static_memory: true`: Xen stops without it"
            yield context.find("VT374", message, (*path, "direct_map"))
        if settings.memory_address is not None and not settings.static_memory:
            message = f"`memory_address` of '{name}' needs `static_memory: true`"
            yield context.find("VT374", message, (*path, "memory_address"))
        elif settings.memory_address is not None and settings.memory_address % PAGE_BYTES:
            message = f"memory of '{name}' at {settings.memory_address:#x} is not at a multiple of 4KiB"
            yield context.find("VT403", message, (*path, "memory_address"))
        if settings.static_ranges:
            yield from _ranges_are_the_memory(context, name, domain)
    for name, region in context.topology.regions.items():
        if not context.is_static_shared(region):
            yield from _said_twice(context, name, region)
            continue
        fixed = context.lookup.host_address_of(region)
        direct = [member for member in context.members_of(region) if context.topology.domains[member].is_direct]
        if not region.placed and region.host_address is not None:
            message = (
                f"region '{name}' has a `host_address` and `placed: false`, by which Xen takes pages from its heap"
            )
            label = Label(context.span("regions", name, "host_address"), "the address is here")
            yield context.find("VT374", message, ("regions", name, "placed"), labels=(label,))
        elif not region.placed and direct:
            who = " and ".join(f"'{member}'" for member in direct)
            see = "see" if len(direct) > 1 else "sees"
            message = f"region '{name}': {who} {see} host addresses, so the region needs one"
            yield context.find("VT374", message, ("regions", name, "placed"))
        for member in direct if region.placed else ():
            inside, place = region.address_in(member)
            if inside is not None and fixed is not None and inside != fixed[0]:
                message = (
                    f"region '{name}': '{member}' sees host addresses, so {inside:#x} has to be "
                    f"`{'.'.join(fixed[1])}` {fixed[0]:#x}"
                )
                yield context.find("VT374", message, ("regions", name, *place))


def _said_twice(context: Context, name: str, region: Region) -> Iterator[Diagnostic]:
    """Find a region of the control domain that is to be at two places: both keys are host addresses."""
    if region.host_address is not None and region.address not in (None, region.host_address):
        message = f"region '{name}': its owner sees host addresses, so {region.address:#x} has to be `host_address` "
        yield context.find("VT374", f"{message}{region.host_address:#x}", ("regions", name, "address"))


def _ranges_are_the_memory(context: Context, name: str, domain: Domain) -> Iterator[Diagnostic]:
    """Find ranges that are not the guest's memory: Xen panics unless their sum is (static-memory.c)."""
    path, ranges = ("domains", name, "xen", "static_ranges"), domain.under_xen.static_ranges
    if domain.under_xen.memory_address is not None:
        message = f"`static_ranges` of '{name}' say where its memory is, and so does `memory_address`"
        yield context.find("VT374", message, ("domains", name, "xen", "memory_address"))
    uneven = [index for index, part in enumerate(ranges) if part.size % PAGE_BYTES]
    for index in uneven:
        message = f"memory of '{name}': {format_size(ranges[index].size)} is not a multiple of 4KiB"
        yield context.find("VT403", message, (*path, index, "size"))
    total = sum(part.size for part in ranges)
    if not uneven and domain.memory is not None and total != domain.memory:
        message = f"`static_ranges` of '{name}' are {format_size(total)}, its memory {format_size(domain.memory)}"
        label = Label(context.span("domains", name, "memory"), "the memory is here")
        yield context.find("VT374", f"{message}: Xen stops", path, key=True, labels=(label,))


@rule(
    "VT375",
    what="more shared regions or boot modules than Xen has room for",
    why="Since 4.19 Xen takes 32 regions, before 4.22 about 20 in one guest, and 32 modules.",
    example="21 regions shared with one guest on Xen 4.20",
    fix="Join regions, or use a newer Xen.",
)
def limits_hold(context: Context) -> Iterator[Diagnostic]:
    """Xen has room for that many regions and boot modules."""
    for board, xen in context.xens.items():
        shared = {
            name: region
            for name, region in context.lookup.regions_on[board].items()
            if context.is_static_shared(region) and context.board_of[context.members_of(region)[0]] == board
        }
        most = most_shared_regions(xen.version)
        members = {name: context.members_of(region) for name, region in shared.items()}
        of_guests = [
            Share(f"'{name}'", sum(name in having for having in members.values()), ("domains", name), of_key=True)
            for name, domain in context.domains_on(board)
            if domain.role is Role.GUEST
        ]
        for name in list(shared)[most : most + 1]:
            message = f"region '{name}' is number {most + 1} of {len(shared)} on board '{board}'"
            message += f", Xen {xen.release} takes {most} shared regions"
            hint = f"who has how many: {listed(largest_first(of_guests), str)}"
            yield context.find("VT375", message, ("regions", name), key=True, hints=(hint,))
        for share in of_guests if not LARGE_TREES.is_in(xen.version) else ():
            if share.amount > MOST_REGIONS_OF_A_SMALL_TREE:
                message = f"domain {share.who} has {share.amount} shared regions, Xen {xen.release} has room for "
                message += f"{MOST_REGIONS_OF_A_SMALL_TREE} of one"
                yield context.find("VT375", message, share.path, key=True)
        modules = largest_first(
            Share(f"'{name}'", len(context.lookup.boot_modules_of(name)), ("domains", name), of_key=True)
            for name, d in context.domains_on(board)
            if d.role is Role.GUEST and d.start is Start.DOM0LESS
        )
        own = OWN_MODULES + len(context.lookup.own_modules_of(board))
        needed = own + sum(share.amount for share in modules)
        if needed > MODULES:
            message = f"board '{board}' needs {needed} boot modules, Xen takes {MODULES}: {modules[0].who} has the most"
            hint = f"Xen, its tree and dom0's kernel {own}, {listed(modules, str)}"
            yield context.find("VT375", message, modules[0].path, key=True, hints=(hint,))


@rule(
    "VT376",
    what="a region's address lies over something of the guest",
    why="Xen accepts it silently, and the guest finds memory where its interrupt controller or RAM should be.",
    example="addresses: {fe0: 0x0400_0000}, which is the GICv3 redistributors' window",
    fix="Leave the address out and let vtool choose.",
)
def guest_addresses_are_free(context: Context) -> Iterator[Diagnostic]:
    """A fixed guest-physical address of a region hits nothing of the guest: Xen does not look."""
    for guest, domain in context.topology.domains.items():
        if domain.role is not Role.GUEST or not isinstance(context.hypervisor_of(guest), Xen) or domain.memory is None:
            continue
        taken: list[tuple[str, AddressRange]] = []
        if not domain.is_direct:  # else its layout is the host's
            taken += _windows(context, guest, domain)
            taken += [(f"the RAM of '{guest}'", bank) for bank in layouts.xen_guest_ram(domain.memory)]
        for name, region in context.lookup.regions_of[guest].items():
            inside, place = region.address_in(guest)
            if inside is None or not context.is_static_shared(region) or guest not in context.members_of(region):
                continue
            path = ("regions", name, *place)
            if inside % PAGE_BYTES:
                continue  # VT403
            where = AddressRange.of_size(inside, region.size)
            for what, other in taken:
                if where.overlaps(other):
                    message = f"region '{name}' {where} lies over {what} {other} in guest '{guest}'"
                    hint = f"{free_in_guest(context, guest, name)}; Xen takes this one and says nothing"
                    yield context.find("VT376", message, path, hints=(hint,))
            taken.append((f"region '{name}'", where))


def _windows(context: Context, guest: str, domain: Domain) -> Iterator[tuple[str, AddressRange]]:
    """Yield what Xen emulates for a guest: the board's version of a GIC, no PCI, no ACPI: vtool asks for none."""
    loaded, settings = context.facts.get(context.board_of[guest]), domain.under_xen
    lacking = {layouts.XEN_PCI_CONFIGURATION, layouts.XEN_PCI_MEMORY, layouts.XEN_PCI_PREFETCHABLE, layouts.XEN_ACPI}
    if not settings.uart:
        lacking.add(layouts.XEN_UART)
    if not any(d.transport is Transport.MMIO and d.frontend == guest for _, d in context.sound_devices(guest)):
        lacking.add(layouts.XEN_VIRTIO_WINDOW)
    for window in layouts.xen_guest_windows(loaded.facts.gic.version if loaded else 3):
        if window.range not in lacking:
            yield f"the {window.name}", window.range
