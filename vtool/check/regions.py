"""Rules on memory: regions lie where they can, pools are large enough, a board has what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import MIB, PAGE_BYTES, AddressRange, align_up, format_size
from vtool.check.alignment import address_unit, size_unit
from vtool.check.context import Context
from vtool.check.memory_needs import asked_shares
from vtool.check.pools import least_pool, pool_shares, spread_beside_disks
from vtool.check.shares import largest_first, listed
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.diagnostics.codes import rule
from vtool.model.devices.base import LEAST_POOL_BYTES
from vtool.model.topology import POOL_USES, Kvm, Region, RegionUse, Role, Vmm, Xen
from vtool.platform import layouts
from vtool.reading.source import KeyPath


@rule("VT400")
@rule(
    "VT402",
    what="a pool that no device uses (warning)",
    why="It costs memory and protects nothing.",
    example="a restricted-dma-pool without a device",
    fix="Name it in a device, or remove it.",
)
def use_fits_owner(context: Context) -> Iterator[Diagnostic]:
    """What a region is for can be had for that owner and hypervisor, and a pool is used."""
    for name, region in context.topology.regions.items():
        path = ("regions", name, "use")
        if region.owner is None:
            continue
        owner = context.topology.domains.get(region.owner)
        hypervisor = context.hypervisor_of(region.owner)
        if owner is None or hypervisor is None or region.use is RegionUse.SHARED_DMA_POOL:
            continue
        pool = region.use is RegionUse.RESTRICTED_DMA_POOL
        if pool and owner.role is Role.CONTROL:
            message = f"region '{name}': a restricted-dma-pool belongs to a frontend, '{region.owner}' is not one"
            yield context.find("VT400", message, path)
        elif (
            not pool
            and owner.role is Role.GUEST
            and isinstance(hypervisor, Kvm)
            and not _may_be_between_guests(context, name)
        ):
            message = f"region '{name}': shared-memory is set aside in the host, '{region.owner}' is a guest"
            hint = "let the control domain own it"
            yield context.find("VT400", message, path, hints=(hint,))
        elif pool and not region.device_nodes and not context.lookup.users_of[name] and _all_are_known(context):
            message = f"region '{name}' is a pool that no device uses"
            yield context.find("VT402", message, path, severity=Severity.WARNING)


def _all_are_known(context: Context) -> bool:
    """Whether every device that needs a pool names one (VT311): any could be meant."""
    devices = context.topology.devices.values()
    return all(device.region is not None for device in devices if device.data_path.traits.pooled)


@rule(
    "VT400",
    what="a region's use is not possible for its owner or borrowers",
    why=(
        "Pools belong to frontends and are lent to the backends of their devices; shared memory is for the host; "
        "nobody else is served yet."
    ),
    example="use: restricted-dma-pool for a region of dom0",
    fix="Follow the hint.",
)
@rule("VT402")
def dma_pools_are_possible(context: Context) -> Iterator[Diagnostic]:
    """A shared-dma-pool is its owner's alone, and what belongs to pools is said of pools."""
    users: dict[tuple[str | None, str], str] = {}
    for name, region in context.topology.regions.items():
        path: KeyPath = ("regions", name)
        if region.reusable and region.use is not RegionUse.SHARED_DMA_POOL:
            message = f"region '{name}' is a {region.use.value}, only a shared-dma-pool can be reusable"
            yield context.find("VT400", message, (*path, "reusable"))
        if region.device_nodes and region.use not in POOL_USES:
            message = f"region '{name}' is {region.use.value}, which devices do not name in memory-region"
            yield context.find("VT400", message, (*path, "device_nodes"), key=True)
        for index, node in enumerate(region.device_nodes):
            other = users.setdefault((region.owner, node), name)
            if other != name:
                message = f"'{node}' already has the pool '{other}'; Linux takes the first that a device names"
                yield context.find("VT400", message, (*path, "device_nodes", index))
        if region.use is RegionUse.SHARED_DMA_POOL and region.owner in context.topology.domains:
            yield from _shared_dma_pool(context, name, region)


def _shared_dma_pool(context: Context, name: str, region: Region) -> Iterator[Diagnostic]:
    assert region.owner is not None
    if context.lookup.users_of[name]:
        return  # VT311
    hypervisor, path = context.hypervisor_of(region.owner), ("regions", name, "use")
    guest = context.topology.domains[region.owner].role is Role.GUEST
    if guest and isinstance(hypervisor, Xen):
        message = f"region '{name}': Xen writes no shared-dma-pool into the device tree of '{region.owner}'"
        yield context.find("VT400", message, path, hints=("let dom0 own it, for devices of the board",))
    elif guest and isinstance(hypervisor, Kvm) and hypervisor.vmm is Vmm.LIBVIRT:
        message = f"region '{name}': libvirt's XML gives '{region.owner}' no device tree of its own"
        yield context.find("VT400", message, path, hints=("use `vmm: qemu`",))
    elif not region.device_nodes:
        message = f"region '{name}' is a pool that no device uses"
        hint = "name the devices' nodes in `device_nodes`; virtio devices never ask for such a pool"
        yield context.find("VT402", message, path, hints=(hint,), severity=Severity.WARNING)
    if region.borrowers:
        message = f"region '{name}': a shared-dma-pool is lent to nobody"
        yield context.find("VT400", message, ("regions", name, "borrowers"), key=True)


def _may_be_between_guests(context: Context, region: str) -> bool:
    """Whether an ivshmem device or a ring shows the region to two guests, or one that lacks its region (VT346)."""
    users = context.lookup.users_of[region].values()
    either = [device for device in context.topology.devices.values() if device.data_path.traits.at_both_ends]
    return any(device in users or device.region is None for device in either)


@rule("VT400")
def borrowers_are_served(context: Context) -> Iterator[Diagnostic]:
    """Whoever borrows a region gets it, which only the backend of a pool's device does."""
    for name, region in context.topology.regions.items():
        pool = region.use is RegionUse.RESTRICTED_DMA_POOL
        shared = context.is_static_shared(region)
        users = [device for device in context.topology.devices.values() if device.region == name]
        lent = all(user.backend in region.borrowers for user in users)  # else VT311
        for index, borrower in enumerate(region.borrowers):
            domain = context.topology.domains.get(borrower)
            message = hint = None
            if domain is None or _may_be_between_guests(context, name) or region.use is RegionUse.SHARED_DMA_POOL:
                continue
            if not pool and not shared:
                message = f"region '{name}' is lent to '{borrower}', but nothing hands shared memory over yet"
                hint = "leave out `borrowers`: the region is set aside in the host, for the host"
            elif pool and users and lent and all(user.backend != borrower for user in users):
                message = f"pool '{name}' is lent to '{borrower}', which serves no device with it"
                hint = "lend a pool to the backend of its devices only"
            if message:
                path = ("regions", name, "borrowers", index)
                yield context.find("VT400", message, path, hints=(hint,) if hint else ())


def _list(ranges: list[AddressRange]) -> str:
    return ", ".join(str(item) for item in ranges)


@rule("VT401")
@rule("VT403")
@rule("VT404")
def guest_pools_fit(context: Context) -> Iterator[Diagnostic]:
    """A pool lies right after the guest's own RAM, where its memory backend is."""
    for name, domain in context.topology.domains.items():
        if domain.memory is None or not isinstance(context.hypervisor_of(name), Kvm):
            continue
        ram = layouts.qemu_guest_memory(domain.memory)
        whole = domain.memory % MIB == 0  # else VT403 is on what makes it odd
        places = layouts.qemu_pools(domain.memory, (region.size for _, region in context.lookup.pools_of(name)))
        for (region_name, region), where in zip(context.lookup.pools_of(name), places, strict=True):
            if region.address is not None and region.address != where.base:
                yield _misplaced_pool(context, region_name, region, ram, where.base)
            elif whole and where.base % address_unit(context, region):
                yield _misaligned_pool(context, region_name, region, where.base, domain.memory)
            whole = whole and region.size % size_unit(context, region) == 0


@rule(
    "VT403",
    what="a size or address is not aligned",
    why=(
        "Pages are 4KiB or the region's granule, a pool's segments 256KiB, domains' memory whole MiB; an alignment "
        "is kept."
    ),
    example="address: 0x6000_0800",
    fix="Use the multiple in the message.",
)
def memory_is_whole(context: Context) -> Iterator[Diagnostic]:
    """Memory is whole MiB, in which xl.cfg, dom0_mem= and Xen's page tables count."""
    for name, domain in context.topology.domains.items():
        if domain.memory is not None and domain.memory % MIB:
            message = f"memory of domain '{name}', {format_size(domain.memory)}, is not a multiple of 1MiB"
            hint = f"the next is {format_size(align_up(domain.memory, MIB))}"
            yield context.find("VT403", message, ("domains", name, "memory"), hints=(hint,))
        tables = domain.xen.p2m_memory if domain.xen else None
        if tables is not None and tables % MIB:
            message = f"`p2m_memory` of '{name}', {format_size(tables)}, is not a multiple of 1MiB"
            hint = f"the next is {format_size(align_up(tables, MIB))}"
            yield context.find("VT403", message, ("domains", name, "xen", "p2m_memory"), hints=(hint,))


def _misaligned_pool(context: Context, name: str, region: Region, where: int, memory: int) -> Diagnostic:
    assert region.owner is not None
    mine = [(pool.size, address_unit(context, pool)) for _, pool in context.lookup.pools_of(region.owner)]
    least = layouts.qemu_memory_for_pools(memory, mine)
    unit = format_size(address_unit(context, region))
    message = f"pool '{name}' lies at {where:#x}, right after the memory before it: not a multiple of {unit}"
    hint = f"make pools before this one multiples of {unit}"
    if least is not None:
        hint = f"with {format_size(least)} of memory for '{region.owner}' all its pools are where they have to be"
    path = ("regions", name, "alignment") if region.alignment else ("regions", name)
    return context.find("VT403", message, path, key=region.alignment is None, hints=(hint,))


def _misplaced_pool(context: Context, name: str, region: Region, ram: AddressRange, wanted: int) -> Diagnostic:
    assert region.address is not None
    where, path = AddressRange.of_size(region.address, region.size), ("regions", name, "address")
    hint = f"leave out `address`, or write {wanted:#x}: right after the memory before it"
    if where.overlaps(ram):
        assert region.owner is not None
        label = Label(context.span("domains", region.owner, "memory"), f"its RAM {ram} comes from here")
        message = f"pool '{name}' {where} overlaps the own RAM of guest '{region.owner}' {ram}"
        return context.find("VT401", message, path, labels=(label,), hints=(hint,))
    message = f"pool '{name}' {where} lies outside the RAM of guest '{region.owner}'"
    return context.find("VT404", message, path, hints=(hint,))


@rule(
    "VT405",
    what="a pool is too small",
    why=(
        "It does not fail, it hangs the guest's I/O; a disk's even while most is free, where what a network keeps "
        "leaves no 256KiB in one piece."
    ),
    example="size: 1MiB for a disk, or 8MiB for a disk and a network",
    fix="Give it 4MiB a disk at least; 16MiB is comfortable. Give a network a pool of its own.",
)
def pools_are_large_enough(context: Context) -> Iterator[Diagnostic]:
    """A pool that is too small does not fail, it hangs; so it is refused here."""
    for name, region in context.topology.regions.items():
        shares = pool_shares(context, name)
        if region.size < least_pool(shares):
            message = (
                f"pool '{name}' has {format_size(region.size)}, and its devices need at least "
                f"{format_size(least_pool(shares))}: {listed(shares)}"
            )
            label = Label(context.span(*shares[0].path, key=True), f"{shares[0].who} takes the largest share")
            hints = [
                "slots are 2KiB, one mapping takes up to 256KiB, a disk keeps many in flight: "
                f"{format_size(LEAST_POOL_BYTES)} a disk is the least, 16MiB is comfortable",
                "a pool that is too small hangs the guest's I/O without an error",
            ]
            if spread := spread_beside_disks(context, name):
                hints.append(
                    f"a disk needs whole pieces of 256KiB, and buffers that {' and '.join(map(repr, spread))} "
                    f"keep{'s' if len(spread) == 1 else ''} lie all over: give disks a pool of their own"
                )
            yield context.find("VT405", message, ("regions", name, "size"), labels=(label,), hints=tuple(hints))


@rule(
    "VT406",
    what="a board has less memory than is asked for",
    why="The sum of domains and regions has to be there.",
    example="memory: 8GiB on a board with 3GiB",
    fix="Ask for less; the error points at the largest share, and its hint lists all.",
)
@rule(
    "VT407",
    what="a domain has more CPUs than its board (warning)",
    why="They would share CPUs, and measurements would mean little.",
    example="cpus: 8 on a board with 2",
    fix="Use at most the board's.",
)
def boards_have_the_memory(context: Context) -> Iterator[Diagnostic]:
    """What all domains and regions of a board take is there; CPUs are not overcommitted."""
    for board, loaded in context.facts.items():
        domains = dict(context.domains_on(board))
        shares = asked_shares(context, board)
        ram, asked = sum(bank.size for bank in loaded.facts.ram), sum(share.amount for share in shares)
        if asked > ram:
            shares = largest_first(shares)
            message = (
                f"board '{board}' has {format_size(ram)} of RAM, its domains and regions ask for {format_size(asked)}: "
                f"{shares[0].who} for the most"
            )
            label = Label(loaded.document.span(("ram",), key=True), "its RAM is here")
            hint = f"that is {format_size(asked - ram)} too much: {listed(shares)}"
            yield context.find("VT406", message, shares[0].path, labels=(label,), hints=(hint,))
        for name, domain in domains.items():
            if domain.cpus > loaded.facts.cpus:
                message = f"domain '{name}' has {domain.cpus} CPUs, board '{board}' has {loaded.facts.cpus}"
                path = ("domains", name, "cpus")
                yield context.find("VT407", message, path, severity=Severity.WARNING)


@rule(
    "VT408",
    what="a facts file contradicts itself",
    why="Placing regions by wrong facts corrupts memory.",
    example="two banks of RAM that overlap",
    fix="Correct the facts file at the place shown, or import it again.",
)
def facts_agree_with_themselves(context: Context) -> Iterator[Diagnostic]:
    """A board's banks of RAM do not overlap, CPUs are as many as their nodes."""
    for board, loaded in context.facts.items():
        facts = loaded.facts
        faults: list[tuple[KeyPath, str]] = []
        for index, bank in enumerate(facts.ram):
            for other in facts.ram[:index]:
                if bank.range.overlaps(other.range):
                    faults.append((("ram", index), f"RAM {bank.range} overlaps RAM {other.range}"))
        if facts.cpu_nodes and len(facts.cpu_nodes) != facts.cpus:
            faults.append((("cpus",), f"{facts.cpus} CPUs are not the {len(facts.cpu_nodes)} of `cpu_nodes`"))
        if sum(uart.stdout for uart in facts.uarts) > 1:
            faults.append((("uarts",), "more than one UART is `stdout`"))
        for path, message in faults:
            label = Label(loaded.document.span(path), "here")
            whole = f"the facts of board '{board}' contradict themselves: {message}"
            yield context.find("VT408", whole, ("boards", board, "facts"), labels=(label,))


@rule("VT408")
def ram_is_whole_pages(context: Context) -> Iterator[Diagnostic]:
    """RAM begins and ends at whole pages; what is beyond them neither Linux nor Xen uses.

    Linux drivers/of/fdt.c early_init_dt_add_memory_arch; Xen common/page_alloc.c init_boot_pages.
    """
    for board, loaded in context.facts.items():
        for index, bank in enumerate(loaded.facts.ram):
            if bank.base % PAGE_BYTES or bank.size % PAGE_BYTES:
                label = Label(loaded.document.span(("ram", index)), "here")
                message = (
                    f"the facts of board '{board}' have RAM {bank.range}, which is not whole pages of 4KiB: "
                    "Linux and Xen leave out the parts at its ends"
                )
                path = ("boards", board, "facts")
                yield context.find("VT408", message, path, labels=(label,), severity=Severity.WARNING)
