"""What Xen builds at boot: dom0less guests, static shared memory, event channels, CPU pools, heap.

Everything becomes nodes under /chosen (Xen docs/misc/arm/device-tree/booting.txt and cpupools.txt).
Guest-physical places of regions lie above the guest's RAM, in its first bank as long as there is room, in the order of
the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping

from vtool.base.units import MIB, AddressRange, format_size, free_ranges
from vtool.diagnostics import Diagnostic, VtoolError
from vtool.model import command_lines
from vtool.model.board_facts import BoardFacts
from vtool.model.grants import EVENT_PORTS, free_port
from vtool.model.host_requests import static_key
from vtool.model.load_windows import module_windows, windows_in
from vtool.model.topology import (
    OWN_RAMDISKS,
    Domain,
    Enhanced,
    Region,
    RegionUse,
    Role,
    Start,
    Xen,
)
from vtool.plan import passthrough, xen_pv, xen_virtio
from vtool.plan import types as plan
from vtool.plan.access import plan_access, plan_required
from vtool.plan.lock import port_key, view_key
from vtool.plan.paths import every_planning, kernel_words
from vtool.plan.placement import KEPT, cannot_keep
from vtool.plan.scope import BoardScope, domain_unit, fixed_by_user, join
from vtool.plan.xen_settings import settings_of
from vtool.platform import layouts

_ID_LENGTH = 15
"""Xen xen/include/public/... MAX_SHM_ID_LENGTH 16, its NUL included."""

SPIS_WITH_VIRTIO = 32
"""The UART's and eleven of virtio-mmio, in Xen's steps of 32."""


def boot_guests(scope: BoardScope) -> dict[str, Domain]:
    """Return the guests that Xen starts itself, in the order of the file."""
    return {name: domain for name, domain in scope.guests.items() if domain.start is Start.DOM0LESS}


def plan_boot(scope: BoardScope, hypervisor: Xen, placed: Mapping[str, plan.StaticRange]) -> plan.XenBoot:
    """Decide everything that Xen is told at boot, beside dom0."""
    ends = _event_channels(scope)
    more = windows_in(placed["modules"].range) if "modules" in placed else ()
    modules = _Modules((*module_windows(scope.facts, beside_ramdisk=scope.control.ramdisk_named is not None), *more))
    guests = tuple(
        _plan_guest(scope, name, domain, placed, modules, ends) for name, domain in boot_guests(scope).items()
    )
    return plan.XenBoot(
        guests=guests,
        shared=_views(scope, scope.control_name, placed),
        event_channels=tuple(end for end in ends if end.domain == scope.control_name),
        xsm_policy=_policy(hypervisor, scope.facts, modules),
        cpupools=plan_pools(hypervisor),
        static_heap=placed.get("heap"),
    )


def _policy(hypervisor: Xen, facts: BoardFacts, modules: _Modules) -> plan.BootModule | None:
    """Decide where FLASK's policy is loaded, behind what guests have; under UEFI Xen itself loads it."""
    if hypervisor.xsm_policy is None or facts.load is None:
        return None
    return modules.take_own(plan.XSM_POLICY, hypervisor.xsm_policy, "xen,xsm-policy")


def plan_pools(hypervisor: Xen) -> tuple[plan.XenCpuPool, ...]:
    """Decide the pools in the order of the file; in the tree merging turns it round, as it does that of the guests."""
    pools = hypervisor.cpupools
    numbers = pool_numbers({name: pools[name].cpus for name in reversed(pools)})
    return tuple(
        plan.XenCpuPool(
            name,
            numbers[name],
            f"cpupool_{_label(name)}",
            f"cpupool-{name}",
            tuple(sorted(pool.cpus)),
            pool.scheduler,
        )
        for name, pool in pools.items()
    )


def pool_numbers(pools: Mapping[str, Collection[int]]) -> dict[str, int]:
    """Return the numbers that Xen gives to pools which stand in this order in its tree, with their CPUs.

    From 0; then the pool of CPU 0, which is that of all CPUs left over where none has it, changes places with the
    first (xen/common/sched/boot-cpupool.c btcpupools_allocate_pools).
    """
    numbers = {name: number for number, name in enumerate(pools)}
    first = next((name for name, cpus in pools.items() if 0 in cpus), None)
    changed = numbers[first] if first is not None else len(pools)
    return {name: 0 if name == first else number or changed for name, number in numbers.items()}


def domain_id(scope: BoardScope, name: str) -> int:
    """Return the number that Xen gives to a guest: from 1, in the order of the nodes.

    Merging an overlay puts each node before those that are there already (libfdt fdt_add_subnode), so that the
    last guest of the file is the first; ``vtool.deploy.merged_tree`` compares.
    """
    guests = list(boot_guests(scope))
    return len(guests) - guests.index(name)


class _Modules:
    """Hands out load windows, in order."""

    def __init__(self, windows: tuple[AddressRange, ...]) -> None:
        self._windows = iter(windows)

    def take(self, name: str, file: str, image: str, compatible: str) -> plan.BootModule:
        return self.take_own(f"{name}.{file}", image, compatible)

    def take_own(self, file: str, image: str, compatible: str) -> plan.BootModule:
        window = next(self._windows)
        return plan.BootModule(file, image, window, f"module@{window.base:x}", compatible)


def _plan_guest(
    scope: BoardScope,
    name: str,
    domain: Domain,
    placed: Mapping[str, plan.StaticRange],
    modules: _Modules,
    ends: list[plan.EventChannelEnd],
) -> plan.XenBootGuest:
    assert domain.memory is not None
    settings = domain.under_xen
    keys = [static_key(name, index) for index in range(len(settings.static_ranges))] or [f"domain {name}"]
    static = tuple(placed[key] for key in keys if key in placed)
    channels = tuple(end for end in ends if end.domain == name)
    shared = _views(scope, name, placed)
    # Merging turns the order round, as it does that of the guests.
    virtio = xen_virtio.plan_devices(scope, name, [v.region for v in reversed(shared) if v.role == "owner"])
    attached = xen_pv.plan_attached(scope, name)
    otherwise = Enhanced.ENABLED if virtio or attached else Enhanced.NO_XENSTORE if channels else None
    enhanced = settings.enhanced or otherwise
    cpupool = f"cpupool_{_label(domain.cpupool)}" if domain.cpupool else None
    ram = _ram(domain, static)
    in_dom0 = {view.region: view.inside for view in _views(scope, scope.control_name, placed)}
    inside = {view.region: view.inside for view in shared}
    rings = tuple(ring for path in every_planning() for ring in path.xen_rings(scope, name, inside, in_dom0))
    # QEMU must take the pools for RAM, too.
    reach = max(where.end for where in (*ram, *(view.inside for view in shared))) - layouts.XEN_GUEST_RAM[0].base
    return plan.XenBootGuest(
        name=name,
        domain_id=domain_id(scope, name),
        unit=domain_unit(name),
        ready=domain.says_when_ready if settings.uart else "",
        ready_timeout_s=domain.ready_timeout_s,
        access=plan_access(scope, name, domain),
        require=plan_required(domain),
        node_name=f"domain-{name}",
        cpus=domain.cpus,
        memory_bytes=domain.memory,
        ram=ram,
        static_memory=static,
        direct_map=settings.direct_map,
        uart=settings.uart,
        enhanced=enhanced,
        cpupool=cpupool,
        affinity=domain.affinity,
        passthrough=passthrough.wished(scope, name, domain),
        settings=settings_of(
            domain,
            spis=settings.spis or (SPIS_WITH_VIRTIO if virtio and not domain.passthrough else None),
            enhanced=enhanced.value if enhanced else None,
            static_memory=tuple(part.range for part in static),
            cpupool=cpupool,
        ),
        kernel=modules.take(name, "Image", domain.kernel, "multiboot,kernel"),
        ramdisk=modules.take(name, "ramdisk", domain.ramdisk, "multiboot,ramdisk") if domain.ramdisk else None,
        device_tree=modules.take(name, "dtb", domain.device_tree or "", "multiboot,device-tree")
        if "device_tree" in scope.boot_modules_of(name)
        else None,
        bootargs=join(
            *command_lines.of_guest(domain, is_xen=True),
            *_looked_for(virtio),
            *(xen_pv.looked_for(attached) if domain.is_ours else ()),
            *_shares(scope, shared),
            *(ring.kernel_word for ring in rings),
            *kernel_words(virtio),
            plan.TRACK_HIWATER if any(device.pool for device in virtio) else "",
            domain.bootargs,
        ),
        gic_version=scope.facts.gic.version,
        shared=shared,
        event_channels=channels,
        virtio=virtio,
        qemu=xen_virtio.plan_qemu(scope, name, virtio, reach, domain.cpus, domain_id(scope, name)),
        rings=rings,
        attached=attached,
        grants=xen_pv.grants_of(domain, scope.devices_of(name)) if attached else None,
        not_checked=tuple(line.strip().removesuffix(";") for line in domain.extra),
    )


def _looked_for(virtio: tuple[plan.XenVirtio, ...]) -> Iterator[str]:
    """Tell vtool's guest what to look for until dom0 serves it, and what to copy or send back for `verify`."""
    for device in virtio:
        place = f"{device.place.base:x}"
        scratch = next((disk.scratch for disk in device.disks), None)
        if device.frontend_address:
            yield f"vtool.net={place}:{device.frontend_address}"
        elif scratch is None:
            yield f"vtool.find={place}"
        else:
            yield f"vtool.echo={place}:{scratch.base // MIB}:{scratch.base // MIB + 1}"


def _shares(scope: BoardScope, views: tuple[plan.SharedView, ...]) -> Iterator[str]:
    """Tell vtool's guest which slot of a region it writes, and how many there are, for `verify`."""
    for view in views:
        if view.slot is not None:
            yield f"vtool.share={view.inside.base:x}:{view.slot}:{len(_ends(scope.regions[view.region]))}"


def _ends(region: Region) -> tuple[str, ...]:
    return (region.owner, *region.borrowers) if region.owner else region.borrowers


def _ram(domain: Domain, static: tuple[plan.StaticRange, ...]) -> tuple[AddressRange, ...]:
    assert domain.memory is not None
    if domain.is_direct and static:
        return tuple(part.range for part in static)
    return layouts.xen_guest_ram(domain.memory)


def _views(scope: BoardScope, name: str, placed: Mapping[str, plan.StaticRange]) -> tuple[plan.SharedView, ...]:
    """Return how a domain sees each region that is shared with it."""
    domain = scope.domains[name]
    mine = {n: r for n, r in scope.regions.items() if scope.is_static_shared(r) and name in (r.owner, *r.borrowers)}
    if domain.role is Role.CONTROL:
        # A backend in dom0 maps the owner's pages of a pool, and needs none of its own.
        mine = {n: r for n, r in mine.items() if r.use is not RegionUse.RESTRICTED_DMA_POOL}
    fixed = {n: _fixed_inside(scope, name, n, region) for n, region in mine.items()}
    taken = [where.range for where in fixed.values() if where is not None]
    if not domain.is_direct:
        taken += layouts.xen_guest_taken(domain.memory or 0)
        for region_name, region in mine.items():
            kept = _kept_inside(scope, name, region_name, region, taken) if fixed[region_name] is None else None
            if kept is not None:
                fixed[region_name] = kept
                taken.append(kept.range)
    # A ring's region is the ring's alone.
    ringed = {d.region for d in scope.devices.values() if d.data_path.traits.carries_data}
    speaks = domain.role is not Role.CONTROL and domain.ramdisk in OWN_RAMDISKS and domain.under_xen.uart
    views = []
    for region_name, region in mine.items():
        host = placed.get(f"region {region_name}")
        inside = fixed[region_name]
        if domain.is_direct:
            assert host is not None
            inside = plan.StaticRange(host.range, plan.Origin(plan.OriginKind.ALLOCATED, f"'{name}' sees the host's"))
        elif inside is None:
            found = next(layouts.xen_guest_places(region.size, region.step, taken), None)
            if found is None:
                message = f"the layout of '{name}' has no room for region '{region_name}' of {format_size(region.size)}"
                largest = max(gap.size_bytes for gap in free_ranges(layouts.XEN_GUEST_RAM, taken))
                hint = f"the largest gap in it is {format_size(largest)}"
                span = scope.document.span(("regions", region_name, "size"))
                raise VtoolError(Diagnostic("VT352", message, span, hints=(hint,)))
            reason = f"first free range above the RAM of '{name}'"
            inside = plan.StaticRange(found, plan.Origin(plan.OriginKind.ALLOCATED, reason))
            taken.append(inside.range)
        views.append(
            plan.SharedView(
                region=region_name,
                xen_id=xen_id(region_name),
                role=None if region.owner is None else "owner" if region.owner == name else "borrower",
                host=host.range if host else None,
                host_origin=host.origin if host else plan.Origin(plan.OriginKind.ALLOCATED, "by Xen, from its heap"),
                inside=inside.range,
                inside_origin=inside.origin,
                node_name=f"shm@{host.range.base:x}" if host else f"shm-heap@{inside.range.base:x}",
                slot=_ends(region).index(name)
                if speaks and region.use is RegionUse.SHARED_MEMORY and region_name not in ringed
                else None,
            )
        )
    return tuple(views)


def _fixed_inside(scope: BoardScope, name: str, region_name: str, region: Region) -> plan.StaticRange | None:
    address, key = region.address_in(name)
    if address is None:
        return None
    origin = fixed_by_user(scope.document, ("regions", region_name, *key))
    return plan.StaticRange(AddressRange.of_size(address, region.size), origin)


def _kept_inside(
    scope: BoardScope, name: str, region_name: str, region: Region, taken: list[AddressRange]
) -> plan.StaticRange | None:
    base = scope.kept(view_key(name, region_name))
    if base is None:
        return None
    where = AddressRange.of_size(base, region.size)
    inside = any(bank.contains(where) for bank in layouts.XEN_GUEST_RAM)
    what = f"region '{region_name}' in '{name}'"
    if region.alignment and base % region.alignment:
        why = f"which is not a multiple of {format_size(region.alignment)}"
        raise VtoolError(cannot_keep(scope.document, what, ("regions", region_name), str(where), why))
    if not inside or any(where.overlaps(other) for other in taken):
        raise VtoolError(cannot_keep(scope.document, what, ("regions", region_name), str(where)))
    return plan.StaticRange(where, KEPT)


def _event_channels(scope: BoardScope) -> list[plan.EventChannelEnd]:
    """Give every end a port: what the user fixed, else the lowest that the domain has free."""
    used: dict[str, set[int]] = {name: set() for name in scope.domains}
    kept: dict[tuple[str, str], int] = {}
    for channel in scope.event_channels.values():
        for end, port in channel.ports.items():
            used[end].add(port)
    for name, channel in scope.event_channels.items():
        for end in channel.between:
            number = scope.kept(port_key(name, end))
            if number is None or end in channel.ports:
                continue
            if number in used[end] or number not in EVENT_PORTS:
                what = f"event channel '{name}' of '{end}'"
                raise VtoolError(cannot_keep(scope.document, what, ("event_channels", name), f"port {number}"))
            kept[name, end] = number
            used[end].add(number)
    ends: list[plan.EventChannelEnd] = []
    for name, channel in scope.event_channels.items():
        ports: dict[str, tuple[int, plan.Origin]] = {}
        for end in channel.between:
            if end in channel.ports:
                origin = fixed_by_user(scope.document, ("event_channels", name, "ports", end))
                ports[end] = channel.ports[end], origin
                continue
            if (name, end) in kept:
                ports[end] = kept[name, end], KEPT
                continue
            free = free_port(used[end])
            assert free is not None  # VT377
            used[end].add(free)
            ports[end] = free, plan.Origin(plan.OriginKind.ALLOCATED, f"lowest free port of '{end}'")
        for end, other in (channel.between, channel.between[::-1]):
            ends.append(
                plan.EventChannelEnd(
                    channel=name,
                    domain=end,
                    port=ports[end][0],
                    origin=ports[end][1],
                    label=_channel_label(name, end),
                    other_label=_channel_label(name, other),
                    other_domain=other,
                    other_port=ports[other][0],
                )
            )
    return ends


def xen_id(region: str) -> str:
    """Return a region's name for Xen, at most 15 characters: its own, or a shortened one with a digest."""
    if len(region) <= _ID_LENGTH:
        return region
    return f"{region[:8]}-{hashlib.sha256(region.encode()).hexdigest()[:6]}"


def _channel_label(channel: str, end: str) -> str:
    # Names have no capitals, so that two pairs of names never become one label.
    return f"evtchn_{_label(channel)}_AT_{_label(end)}"


def _label(name: str) -> str:
    """Write a name as a device-tree label, which has no hyphens; two names never become one."""
    return name.replace("-", "_")
