"""Rules on memory that Xen hands out at boot: static memory, shared regions, where guests see them."""

from __future__ import annotations

from collections.abc import Iterator

from vtool import layouts
from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Severity
from vtool.model.devices import Transport
from vtool.model.topology import Domain, Role, Start, Xen, XenDomain
from vtool.units import PAGE_BYTES, AddressRange

MODULES = 32
"""Xen xen/include/xen/bootfdt.h MAX_MODULES, which counts Xen itself and its device tree."""


def regions_are_shared_at_boot(context: Context) -> Iterator[Diagnostic]:
    """VT373: only domains that Xen builds itself, dom0 and dom0less guests, can share static memory."""
    for name, region in context.topology.regions.items():
        if not context.is_static_shared(region):
            if {"host_address", "addresses", "placed"} & region.model_fields_set:
                message = f"region '{name}': only memory that Xen shares at boot has further addresses"
                keys = {"host_address", "addresses", "placed"} & region.model_fields_set
                yield context.find("VT373", message, ("regions", name, min(keys)), key=True)
            continue
        members = context.members_of(region)
        for member in members:
            domain = context.topology.domains[member]
            if domain.role is Role.GUEST and domain.start is Start.XL:
                message = f"region '{name}': xl has no static shared memory, and '{member}' is started by xl"
                yield context.find("VT373", message, ("domains", member), key=True, hints=("start: dom0less",))
        boards = {context.board_of[member] for member in members}
        if len(boards) > 1:
            message = f"region '{name}' is shared between the boards {', '.join(sorted(boards))}"
            yield context.find("VT373", message, ("regions", name), key=True)
        if region.owner and not region.borrowers:
            message = f"region '{name}' is shared with nobody: it has an owner and no borrowers"
            yield context.find("VT373", message, ("regions", name), key=True)
        for key in region.addresses.keys() & set(context.topology.domains):
            if key not in region.borrowers:
                message = f"region '{name}': '{key}' is no borrower of it"
                hint = "where the owner sees it is `address`"
                yield context.find("VT373", message, ("regions", name, "addresses", key), key=True, hints=(hint,))


def guests_are_told_of_regions(context: Context) -> Iterator[Diagnostic]:
    """VT397: a Xen that shares a region also writes it into the guest's /memory."""
    for board, xen in context.xens.items():
        if xen.version not in ((4, 17), (4, 18)):
            continue
        for name, region in context.lookup.regions_on[board].items():
            if context.is_static_shared(region) and region.placed:
                message = f"region '{name}': Xen {xen.release} leaves it out of the /memory of its guests"
                hint = "Xen 4.19 tells them; with this one Linux has no mapping of it, and no pool works there"
                path = ("regions", name)
                yield context.find("VT397", message, path, key=True, hints=(hint,), severity=Severity.WARNING)


def static_memory_is_sound(context: Context) -> Iterator[Diagnostic]:
    """VT374: direct-map needs static memory, and equal addresses inside and outside."""
    for name, domain in context.topology.domains.items():
        settings = domain.xen
        if settings is None:
            continue
        path = ("domains", name, "xen")
        if settings.direct_map and not settings.static_memory:
            message = f"`direct_map` of '{name}' needs `static_memory: true`: Xen stops without it"
            yield context.find("VT374", message, (*path, "direct_map"))
        if settings.memory_address is not None and not settings.static_memory:
            message = f"`memory_address` of '{name}' needs `static_memory: true`"
            yield context.find("VT374", message, (*path, "memory_address"))
        elif settings.memory_address is not None and settings.memory_address % PAGE_BYTES:
            message = f"memory of '{name}' at {settings.memory_address:#x} is not at a multiple of 4KiB"
            yield context.find("VT403", message, (*path, "memory_address"))
    for name, region in context.topology.regions.items():
        if not context.is_static_shared(region):
            continue
        fixed = context.lookup.host_address_of(region)
        for member in context.members_of(region):
            inside, place = region.address_in(member)
            if not context.topology.domains[member].is_direct:
                continue
            if not region.placed:
                message = f"region '{name}': '{member}' sees host addresses, so the region needs one"
                yield context.find("VT374", message, ("regions", name, "placed"))
            elif inside is not None and fixed is not None and inside != fixed[0]:
                message = (
                    f"region '{name}': '{member}' sees host addresses, so {inside:#x} has to be "
                    f"`{'.'.join(fixed[1])}` {fixed[0]:#x}"
                )
                yield context.find("VT374", message, ("regions", name, *place))
        if not region.placed and region.host_address is not None:
            message = f"region '{name}' has a `host_address` and `placed: false`"
            yield context.find("VT374", message, ("regions", name, "placed"))


def limits_hold(context: Context) -> Iterator[Diagnostic]:
    """VT375: Xen has room for that many regions and boot modules."""
    for board, xen in context.xens.items():
        shared = {
            name: region
            for name, region in context.lookup.regions_on[board].items()
            if context.is_static_shared(region) and context.board_of[context.members_of(region)[0]] == board
        }
        most = 256 if xen.version < (4, 19) else 32
        for name in list(shared)[most:]:
            message = f"region '{name}' is one more than the {most} shared regions that Xen {xen.release} takes"
            yield context.find("VT375", message, ("regions", name), key=True)
        for guest, domain in context.domains_on(board):
            mine = [name for name, region in shared.items() if guest in context.members_of(region)]
            if xen.version < (4, 22) and domain.role is Role.GUEST and len(mine) > 20:
                message = f"domain '{guest}' has {len(mine)} shared regions, Xen {xen.release} has room for 20 of one"
                yield context.find("VT375", message, ("domains", guest), key=True)
        boot = [d for _, d in context.domains_on(board) if d.role is Role.GUEST and d.start is Start.DOM0LESS]
        modules = 3 + sum(1 + (d.ramdisk is not None) + (d.device_tree is not None) for d in boot)
        if modules > MODULES:
            message = f"board '{board}' needs {modules} boot modules, Xen takes {MODULES}"
            yield context.find("VT375", message, ("boards", board), key=True)


def guest_addresses_are_free(context: Context) -> Iterator[Diagnostic]:
    """VT376: a fixed guest-physical address of a region hits nothing of the guest: Xen does not look."""
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
                    hint = "leave the address out and let vtool choose; Xen takes this one and says nothing"
                    yield context.find("VT376", message, path, hints=(hint,))
            taken.append((f"region '{name}'", where))


def _windows(context: Context, guest: str, domain: Domain) -> Iterator[tuple[str, AddressRange]]:
    """Yield what Xen emulates for a guest: the board's version of a GIC, no PCI, no ACPI: vtool asks for none."""
    loaded, settings = context.facts.get(context.board_of[guest]), domain.xen or XenDomain()
    lacking = {layouts.XEN_PCI_CONFIGURATION, layouts.XEN_PCI_MEMORY, layouts.XEN_PCI_PREFETCHABLE, layouts.XEN_ACPI}
    if not settings.uart:
        lacking.add(layouts.XEN_UART)
    if not any(d.transport is Transport.MMIO and d.frontend == guest for _, d in context.sound_devices(guest)):
        lacking.add(layouts.XEN_VIRTIO_WINDOW)
    for window in layouts.xen_guest_windows(loaded.facts.gic.version if loaded else 3):
        if window.range not in lacking:
            yield f"the {window.name}", window.range


RULES = (
    regions_are_shared_at_boot,
    guests_are_told_of_regions,
    static_memory_is_sound,
    limits_hold,
    guest_addresses_are_free,
)
