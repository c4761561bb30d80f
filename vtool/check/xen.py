"""Rules on Xen: what is wished exists in that release and build, and Xen will take it.

Most of what is refused here would stop the whole host before its console is up, or be accepted
without a word (xen.md 1.5): nothing on a board tells the user afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool import layouts
from vtool.check.context import Context, XenBuild
from vtool.check.xen_virtio import xen_virtio
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.grants import (
    DEFAULT_FRAMES,
    GRANTS_PER_FRAME,
    RESERVED_GRANTS,
    available_grants,
    grants_of,
)
from vtool.model.board_facts import SystemdBoot
from vtool.model.combinations import combination_of
from vtool.model.devices import DataPath, Program, is_ring
from vtool.model.topology import Capability, Domain, Enhanced, RegionUse, Role, Start, Xen, XenDomain
from vtool.records import record
from vtool.source import DataPathTuple
from vtool.units import PAGE_BYTES, AddressRange

MODULES = 32
"""Xen xen/include/xen/bootfdt.h MAX_MODULES, which counts Xen itself and its device tree."""


@record
class Feature:
    """Something a Xen needs to have: the first release with it, and the Kconfig option since when it is one."""

    since: tuple[int, int]
    option: str | None
    what: str
    option_since: tuple[int, int] = (4, 0)
    without: str = "such a Xen stops before its console is up, or ignores the node: see what `image: vtool:xen` has"


STATIC_MEMORY = Feature((4, 16), "STATIC_MEMORY", "static memory")
DIRECT_MAP = Feature((4, 17), None, "direct-map")
STATIC_HEAP = Feature((4, 17), "STATIC_MEMORY", "a static heap")
SHARED_MEMORY = Feature((4, 17), "STATIC_SHM", "static shared memory")
UNPLACED = Feature((4, 19), "STATIC_SHM", "shared memory without a host address")
POOL = Feature((4, 19), "STATIC_SHM", "a pool, which Linux must find in a guest's /memory,")
EVENT_CHANNELS = Feature((4, 17), "STATIC_EVTCHN", "static event channels", (4, 19))
CPUPOOLS = Feature((4, 17), "BOOT_TIME_CPUPOOLS", "boot-time CPU pools")
DOM0LESS = Feature((4, 12), "DOM0LESS_BOOT", "dom0less domains", (4, 19))
ENHANCED = Feature((4, 17), None, "xen,enhanced")
ENHANCED_LEGACY = Feature((4, 21), None, "xen,enhanced = legacy")
GRANT_LIMITS = Feature((4, 18), None, "grant limits in the device tree")
AFFINITY = Feature((4, 21), None, "keeping a dom0less guest on CPUs")
CAPABILITIES = Feature((4, 21), None, "capabilities of dom0less guests")
UNTRAPPED = Feature((4, 21), None, "not trapping unmapped accesses")
SVE = Feature((4, 18), "ARM64_SVE", "SVE in guests")
LLC_COLORS = Feature((4, 20), "LLC_COLORING", "cache colouring")
SCMI = Feature((4, 21), "SCMI_SMC", "SCMI for guests")
PASSTHROUGH = Feature((4, 19), None, "passthrough without a partial device tree")
_SETTINGS = {
    "static_memory": STATIC_MEMORY,
    "direct_map": DIRECT_MAP,
    "capabilities": CAPABILITIES,
    "sve": SVE,
    "llc_colors": LLC_COLORS,
    "scmi_smc": SCMI,
    "max_grant_version": GRANT_LIMITS,
    "max_grant_frames": GRANT_LIMITS,
    "max_maptrack_frames": GRANT_LIMITS,
}
_LIMITS = frozenset({"max_grant_version", "max_grant_frames", "max_maptrack_frames"})
"""What xl has a key for, too."""
SHARES = Feature((4, 19), None, "xl's p9 of type xen_9pfsd")
_NO_IOREQ = (
    "no backend can register for a guest's virtio-mmio accesses then: Debian's has it not, `image: vtool:xen` does"
)
VIRTIO = Feature((4, 15), "IOREQ_SERVER", "a virtio backend", without=_NO_IOREQ)
VIRTIO_OF_XL = Feature((4, 18), "IOREQ_SERVER", "xl's `virtio` list", without=_NO_IOREQ)
VIRTIO_DISK_OF_XL = Feature((4, 19), "IOREQ_SERVER", "`grant_usage` of xl's virtio disks", without=_NO_IOREQ)


def features_wished(context: Context) -> Iterator[tuple[str, Feature, DataPathTuple]]:
    """Yield (board, feature, place) for everything that asks something of a Xen."""
    for board, declared in context.topology.boards.items():
        if isinstance(declared.hypervisor, Xen):
            at = ("boards", board, "hypervisor")
            if declared.hypervisor.static_heap is not None:
                yield board, STATIC_HEAP, (*at, "static_heap")
            if declared.hypervisor.cpupools:
                yield board, CPUPOOLS, (*at, "cpupools")
    for name, domain in context.topology.domains.items():
        board_name = context.board_of.get(name)
        if board_name is None or not isinstance(context.hypervisor_of(name), Xen):
            continue
        if domain.start is Start.DOM0LESS:
            for path, feature in _asked_of(domain):
                yield board_name, feature, ("domains", name, *path)
    yield from _shares_wished(context)
    for name, region in context.topology.regions.items():
        if context.is_static_shared(region):
            board_name = context.board_of[context.members_of(region)[0]]
            pool = region.use is RegionUse.RESTRICTED_DMA_POOL
            feature = POOL if pool else SHARED_MEMORY if region.placed else UNPLACED
            yield board_name, feature, ("regions", name)
    yield from _virtio_wished(context)
    for name, channel in context.topology.event_channels.items():
        board_name = context.board_of.get(channel.between[0])
        if board_name is not None and isinstance(context.hypervisor_of(channel.between[0]), Xen):
            yield board_name, EVENT_CHANNELS, ("event_channels", name)


def _shares_wished(context: Context) -> Iterator[tuple[str, Feature, DataPathTuple]]:
    for name, device in context.sound_devices():
        if device.program is Program.XEN_9PFSD and isinstance(context.hypervisor_of(device.frontend), Xen):
            yield context.board_of[device.frontend], SHARES, ("devices", name, "program")


def _virtio_wished(context: Context) -> Iterator[tuple[str, Feature, DataPathTuple]]:
    for name, device, _ in xen_virtio(context):
        row = combination_of("xen", device)
        by_xl = context.topology.domains[device.frontend].start is Start.XL
        feature = (VIRTIO_OF_XL if row and row.xl_type else VIRTIO_DISK_OF_XL) if by_xl else VIRTIO
        yield context.board_of[device.frontend], feature, ("devices", name, "data_path")


def _asked_of(domain: Domain) -> Iterator[tuple[tuple[str, ...], Feature]]:
    settings = domain.xen or XenDomain()
    yield ("start",), DOM0LESS
    if domain.host_cpus:
        yield ("host_cpus",), AFFINITY
    if domain.passthrough and domain.device_tree is None:
        yield ("passthrough",), PASSTHROUGH
    if settings.enhanced is not None:
        yield ("xen", "enhanced"), ENHANCED_LEGACY if settings.enhanced is Enhanced.LEGACY else ENHANCED
    if not settings.trap_unmapped_accesses:
        yield ("xen", "trap_unmapped_accesses"), UNTRAPPED
    for key, feature in _SETTINGS.items():
        value = getattr(settings, key)
        if key in settings.model_fields_set and value is not False and value != ():
            yield ("xen", key), feature


def features_are_built(context: Context) -> Iterator[Diagnostic]:
    """VT370, VT371, VT379: the board's Xen is new enough and was built with the option."""
    for board, feature, path in features_wished(context):
        xen = context.xens.get(board)
        if xen is None:
            message = f"{feature.what}: whether the Xen of board '{board}' has that is not known"
            hint = "its image does not say its release: write `version`, and best `config`"
            yield context.find("VT379", message, ("boards", board, "hypervisor"), key=True, hints=(hint,))
            continue
        label = Label(context.span("boards", board, "hypervisor"), f"this Xen: {xen.source}")
        key = len(path) == 2
        if xen.version < feature.since:
            since = ".".join(map(str, feature.since))
            message = f"{feature.what} needs Xen {since} or later, board '{board}' has {xen.release}"
            yield context.find("VT370", message, path, key=key, labels=(label,))
        elif _lacks(xen, feature):
            message = f"{feature.what} needs a Xen built with CONFIG_{feature.option}, this one is built without"
            yield context.find("VT371", message, path, key=key, labels=(label,), hints=(feature.without,))


def _lacks(xen: XenBuild, feature: Feature) -> bool:
    if feature.option is None or xen.options is None or xen.version < feature.option_since:
        return False
    return xen.options.get(feature.option) != "y"


def settings_fit_the_start(context: Context) -> Iterator[Diagnostic]:
    """VT372: what only a dom0less guest can have is not given to others, and the reverse."""
    for name, domain in context.topology.domains.items():
        hypervisor = context.hypervisor_of(name)
        if hypervisor is None:
            continue
        is_xen, dom0less = isinstance(hypervisor, Xen), domain.start is Start.DOM0LESS
        guest = domain.role is Role.GUEST
        wrong: list[tuple[DataPathTuple, str]] = []
        if not is_xen:
            for key in {"xen", "start", "cpupool", "device_tree", "passthrough"} & domain.model_fields_set:
                wrong.append((("domains", name, key), f"`{key}` is Xen's; board '{context.board_of[name]}' runs KVM"))
        elif not guest:
            for key in {"xen", "start", "device_tree", "passthrough"} & domain.model_fields_set:
                wrong.append((("domains", name, key), f"`{key}` is for guests, '{name}' is the control domain"))
        elif not dom0less and domain.xen is not None:
            for key in domain.xen.model_fields_set - _LIMITS:
                message = f"`{key}` is for guests that Xen starts at boot, '{name}' is started by xl"
                wrong.append((("domains", name, "xen", key), message))
        for path, message in wrong:
            yield context.find("VT372", message, path, key=True, hints=("`start: dom0less` makes Xen start it",))


def loaders_bring_guests(context: Context) -> Iterator[Diagnostic]:
    """VT399: what Xen starts at boot is in memory by then: U-Boot loads it, systemd-boot does not."""
    for name, domain in context.topology.domains.items():
        board = context.board_of.get(name, "")
        loaded = context.facts.get(board)
        if domain.start is Start.DOM0LESS and loaded and isinstance(loaded.facts.boot, SystemdBoot):
            message = f"nothing loads domain '{name}' for Xen: board '{board}' boots by systemd-boot"
            label = Label(loaded.document.span(("boot", "loader")), "so its facts say")
            hints = ("`start: xl` makes dom0 start it",)
            yield context.find("VT399", message, ("domains", name, "start"), labels=(label,), hints=hints)


def devices_fit_the_start(context: Context) -> Iterator[Diagnostic]:
    """VT372: a PV device's two ends are started by xl, which sets it up; a dom0less guest has virtio by a pool only."""
    for name, device in context.sound_devices():
        frontend = context.topology.domains[device.frontend]
        if device.data_path is DataPath.POOL or is_ring(device):
            continue  # VT389 warns of the order; both ends of a ring wait for the other
        if frontend.start is Start.DOM0LESS and isinstance(context.hypervisor_of(device.frontend), Xen):
            message = f"device '{name}': '{device.frontend}' is started by Xen at boot, before any backend is there"
            hint = "start it by xl, or let it use shared regions and event channels only"
            yield context.find("VT372", message, ("devices", name, "frontend"), hints=(hint,))
        backend = context.topology.domains[device.backend]
        if backend.start is Start.DOM0LESS and isinstance(context.hypervisor_of(device.backend), Xen):
            message = (
                f"device '{name}': its driver domain '{device.backend}' is started by Xen at boot, xl has no name of it"
            )
            yield context.find("VT372", message, ("devices", name, "backend"), hints=("start it by xl",))


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


def rights_are_free(context: Context) -> Iterator[Diagnostic]:
    """VT415: what one domain alone can have is given to one, and dom0 has most of it."""
    for board, declared in context.topology.boards.items():
        if not isinstance(declared.hypervisor, Xen):
            continue
        first = None
        for name, domain in context.domains_on(board):
            settings = domain.xen or XenDomain()
            for index, capability in enumerate(settings.capabilities):
                if capability is not Capability.CONTROL:
                    message = f"'{name}' cannot be a {capability.value} domain beside dom0: Xen takes one, and stops"
                    yield context.find("VT415", message, ("domains", name, "xen", "capabilities", index))
            if settings.scmi_smc and first is not None:
                message = f"'{first}' has `scmi_smc` already: the firmware serves one domain, and Xen stops"
                yield context.find("VT415", message, ("domains", name, "xen", "scmi_smc"))
            first = name if settings.scmi_smc and first is None else first


def colours_exclude_static_memory(context: Context) -> Iterator[Diagnostic]:
    """VT374: a Xen that colours the cache takes no guest with static memory."""
    for board in context.topology.boards:
        guests = [(name, domain.xen) for name, domain in context.domains_on(board) if domain.xen is not None]
        coloured = next((name for name, settings in guests if settings.llc_colors), None)
        for name, settings in guests:
            if coloured is not None and settings.static_memory:
                message = f"'{name}' cannot have static memory while '{coloured}' has `llc_colors`: Xen stops"
                label = Label(context.span("domains", coloured, "xen", "llc_colors"), "colours here")
                yield context.find("VT374", message, ("domains", name, "xen", "static_memory"), labels=(label,))


def passthrough_can_be(context: Context) -> Iterator[Diagnostic]:
    """VT416: a node goes to one guest, and is none that Xen itself drives."""
    for board, loaded in context.facts.items():
        facts = loaded.facts
        kept = {facts.gic.path: "the interrupt controller"} if facts.gic.path else {}
        kept |= {iommu.path: "an IOMMU" for iommu in facts.iommus} | {cpu.path: "a CPU" for cpu in facts.cpu_nodes}
        given: dict[str, DataPathTuple] = {}
        for name, domain in context.domains_on(board):
            for index, node in enumerate(domain.passthrough):
                path = ("domains", name, "passthrough", index)
                if node in kept:
                    yield context.find("VT416", f"'{node}' is {kept[node]}, which Xen itself drives", path)
                elif node in given:
                    label = Label(context.span(*given[node]), "here first")
                    yield context.find("VT416", f"'{node}' is passed through already", path, labels=(label,))
                given.setdefault(node, path)


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
            taken += layouts.XEN_GUEST_WINDOWS
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


def event_channels_are_sound(context: Context) -> Iterator[Diagnostic]:
    """VT377: a static event channel joins two domains that Xen builds, at ports nobody else has."""
    used: dict[tuple[str, int], str] = {}
    for name, channel in context.topology.event_channels.items():
        path = ("event_channels", name)
        first, second = channel.between
        at: DataPathTuple
        ends = [end for end in channel.between if end in context.topology.domains]
        if first == second:
            message = f"event channel '{name}' leads from '{first}' to itself"
            yield context.find("VT377", message, (*path, "between"))
            continue
        if len({context.board_of.get(end) for end in ends}) > 1:
            message = f"event channel '{name}' leads from one board to another"
            yield context.find("VT377", message, (*path, "between"))
        for index, end in enumerate(channel.between):
            if end not in context.topology.domains:
                continue
            domain, at = context.topology.domains[end], (*path, "between", index)
            if not isinstance(context.hypervisor_of(end), Xen):
                yield context.find("VT377", f"'{end}' runs under KVM, which has no event channels", at)
            elif domain.role is Role.GUEST and domain.start is Start.XL:
                message = f"'{end}' is started by xl; static event channels join domains that Xen starts"
                yield context.find("VT377", message, at, hints=("start: dom0less",))
            elif domain.xen is not None and domain.xen.enhanced is Enhanced.DISABLED:
                message = f"'{end}' has `enhanced: disabled`, so it has no event channels"
                yield context.find("VT377", message, at, hints=("enhanced: no-xenstore",))
        for end, port in channel.ports.items():
            at = (*path, "ports", end)
            if end not in channel.between:
                yield context.find("VT377", f"'{end}' is no end of event channel '{name}'", at, key=True)
            elif (end, port) in used:
                message = f"port {port} of '{end}' belongs to event channel '{used[end, port]}' already"
                yield context.find("VT377", message, at)
            used.setdefault((end, port), name)


def cpupools_are_sound(context: Context) -> Iterator[Diagnostic]:
    """VT378: pools have CPUs that exist and are in no other; domains are in pools that exist."""
    for board, declared in context.topology.boards.items():
        hypervisor = declared.hypervisor
        pools = hypervisor.cpupools if isinstance(hypervisor, Xen) else {}
        loaded = context.facts.get(board)
        owner: dict[int, str] = {}
        for name, pool in pools.items():
            for cpu in pool.cpus:
                path = ("boards", board, "hypervisor", "cpupools", name, "cpus")
                if loaded is not None and cpu >= loaded.facts.cpus:
                    message = f"CPU {cpu} of pool '{name}' does not exist: board '{board}' has {loaded.facts.cpus}"
                    yield context.find("VT378", message, path)
                elif cpu in owner:
                    message = f"CPU {cpu} is in pool '{owner[cpu]}' already"
                    yield context.find("VT378", message, path)
                owner.setdefault(cpu, name)
        for name, domain in context.domains_on(board):
            if domain.cpupool is not None and isinstance(hypervisor, Xen) and domain.cpupool not in pools:
                message = f"CPU pool '{domain.cpupool}' does not exist on board '{board}'"
                hint = f"there are: {', '.join(pools)}" if pools else "declare it under hypervisor.cpupools"
                yield context.find("VT378", message, ("domains", name, "cpupool"), hints=(hint,))


def pins_are_in_the_pool(context: Context) -> Iterator[Diagnostic]:
    """VT347: CPUs that a guest is kept on are of the pool that it runs in."""
    for name, domain in context.topology.domains.items():
        hypervisor = context.hypervisor_of(name)
        if not isinstance(hypervisor, Xen) or not hypervisor.cpupools:
            continue
        others = {cpu for pool in hypervisor.cpupools.values() for cpu in pool.cpus}
        # Xen's Pool-0 is the one of the first CPU (xen/common/sched/boot-cpupool.c).
        first = next((pool for pool, declared in hypervisor.cpupools.items() if 0 in declared.cpus), None)
        pool = domain.cpupool or first
        for cpu in domain.host_cpus if pool is None or pool in hypervisor.cpupools else ():
            inside = cpu not in others if pool is None else cpu in hypervisor.cpupools[pool].cpus
            if not inside:
                where = f"pool '{pool}'" if pool else "the pool of those that no pool names"
                message = f"CPU {cpu} is not in {where}, where '{name}' runs"
                yield context.find("VT347", message, ("domains", name, "host_cpus"))


def grants_suffice(context: Context) -> Iterator[Diagnostic]:
    """VT380: a domain has grants for all its devices at their busiest; without, they hang or fail under load."""
    for name, domain in context.topology.domains.items():
        if not isinstance(context.hypervisor_of(name), Xen):
            continue
        devices = [d for _, d in context.sound_devices(name) if d.frontend == name and grants_of(d, domain.cpus)]
        needed = sum(grants_of(device, domain.cpus) for device in devices)
        frames = domain.xen.max_grant_frames if domain.xen else None
        if needed > available_grants(frames):
            path = ("domains", name, "xen", "max_grant_frames") if frames else ("domains", name)
            message = (
                f"the {len(devices)} granting devices of '{name}' hold up to {needed} grants, "
                f"{frames or DEFAULT_FRAMES} frames are {available_grants(frames)}"
            )
            wanted = -(-(needed + RESERVED_GRANTS) // GRANTS_PER_FRAME)
            yield context.find("VT380", message, path, key=not frames, hints=(f"xen: {{max_grant_frames: {wanted}}}",))


RULES = (
    features_are_built,
    settings_fit_the_start,
    loaders_bring_guests,
    devices_fit_the_start,
    regions_are_shared_at_boot,
    guests_are_told_of_regions,
    static_memory_is_sound,
    rights_are_free,
    colours_exclude_static_memory,
    passthrough_can_be,
    limits_hold,
    guest_addresses_are_free,
    event_channels_are_sound,
    cpupools_are_sound,
    pins_are_in_the_pool,
    grants_suffice,
)
