"""Rules on memory: regions lie where they can, pools are large enough, a board has what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator

from vtool import layouts
from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.model.devices import POOLS
from vtool.model.topology import Kvm, Region, RegionUse, Role
from vtool.source import DataPathTuple
from vtool.units import KIB, MIB, PAGE_BYTES, AddressRange, format_size

POOL_BASE_ALIGNMENT = 64 * KIB
MINIMUM_POOL = 4 * MIB
POOL_NEED = {"rng": 256 * KIB, "console": 256 * KIB}
"""The least a device takes of a pool: one segment for those with few small buffers, else the least pool. A
disk keeps its queue's depth in flight, a network device its receive ring (2 MiB a queue pair) for ever."""


def use_fits_owner(context: Context) -> Iterator[Diagnostic]:
    """VT400, VT402: what a region is for can be had for that owner and hypervisor, and a pool is used."""
    for name, region in context.topology.regions.items():
        path = ("regions", name, "use")
        if region.owner is None:
            if not context.is_static_shared(region) or region.use is RegionUse.RESTRICTED_DMA_POOL:
                message = f"region '{name}' needs an `owner`"
                hint = "only shared-memory between dom0less guests of Xen can belong to Xen itself"
                yield context.find("VT400", message, ("regions", name), key=True, hints=(hint,))
            continue
        owner = context.topology.domains.get(region.owner)
        hypervisor = context.hypervisor_of(region.owner)
        if owner is None or hypervisor is None:
            continue
        pool = region.use is RegionUse.RESTRICTED_DMA_POOL
        if pool and owner.role is Role.CONTROL:
            message = f"region '{name}': a restricted-dma-pool belongs to a frontend, '{region.owner}' is none"
            yield context.find("VT400", message, path)
        elif (
            not pool
            and owner.role is Role.GUEST
            and isinstance(hypervisor, Kvm)
            and not _is_between_guests(context, name)
        ):
            message = f"region '{name}': shared-memory is set aside in the host, '{region.owner}' is a guest"
            hint = "let the control domain own it"
            yield context.find("VT400", message, path, hints=(hint,))
        elif pool and all(device.region != name for device in context.topology.devices.values()):
            message = f"region '{name}' is a pool that no device uses"
            yield context.find("VT402", message, path, severity=Severity.WARNING)


def _is_between_guests(context: Context, region: str) -> bool:
    """Tell whether an ivshmem device shows the region to two guests; VT346 is on those."""
    return any(d.type == "ivshmem" and d.region == region for d in context.topology.devices.values())


def borrowers_are_served(context: Context) -> Iterator[Diagnostic]:
    """VT400: whoever borrows a region gets it, which only the backend of a pool's device does."""
    for name, region in context.topology.regions.items():
        pool = region.use is RegionUse.RESTRICTED_DMA_POOL
        shared = context.is_static_shared(region)
        users = [device for device in context.topology.devices.values() if device.region == name]
        # A device whose own ends are wrong (VT301, VT305) says nothing of the pool's borrowers.
        known = all(user.backend in context.topology.domains and user.backend != user.frontend for user in users)
        for index, borrower in enumerate(region.borrowers):
            domain = context.topology.domains.get(borrower)
            message = hint = None
            if borrower == region.owner:
                message = f"region '{name}' is lent to its own owner '{borrower}'"
            elif borrower in region.borrowers[:index]:
                message = f"region '{name}' is lent to '{borrower}' twice"
            elif domain is None or _is_between_guests(context, name):
                continue
            elif not pool and not shared:
                message = f"region '{name}' is lent to '{borrower}', but nothing hands shared memory over yet"
                hint = "leave out `borrowers`: the region is set aside in the host, for the host"
            elif pool and users and known and all(user.backend != borrower for user in users):
                message = f"pool '{name}' is lent to '{borrower}', which serves no device with it"
                hint = "lend a pool to the backend of its devices only"
            if message:
                path = ("regions", name, "borrowers", index)
                yield context.find("VT400", message, path, hints=(hint,) if hint else ())


def regions_are_aligned(context: Context) -> Iterator[Diagnostic]:
    """VT403: sizes and fixed addresses are multiples of what the kernel needs."""
    for name, region in context.topology.regions.items():
        pool = region.use is RegionUse.RESTRICTED_DMA_POOL
        granule = layouts.SWIOTLB_SEGMENT_BYTES if pool else PAGE_BYTES
        if region.size % granule:
            message = (
                f"region '{name}': its size {format_size(region.size)} is not a multiple of {format_size(granule)}"
            )
            yield context.find("VT403", message, ("regions", name, "size"))
        alignment = POOL_BASE_ALIGNMENT if pool else PAGE_BYTES
        if region.address is not None and region.address % alignment:
            message = f"region '{name}': its address {region.address:#x} is not a multiple of {format_size(alignment)}"
            below = region.address // alignment * alignment
            hint = f"the nearest below is {below:#x}; or leave out `address` and let vtool choose"
            yield context.find("VT403", message, ("regions", name, "address"), hints=(hint,))


def host_regions_fit(context: Context) -> Iterator[Diagnostic]:
    """VT401, VT404: fixed host regions lie in RAM, outside carve-outs and each other."""
    for board, loaded in context.facts.items():
        banks = [bank.range for bank in loaded.facts.ram]
        placed: list[tuple[str, AddressRange]] = []
        for name, region in context.regions_owned(Role.CONTROL, board):
            if region.address is None:
                continue
            where, path = AddressRange.of_size(region.address, region.size), ("regions", name, "address")
            if not any(bank.contains(where) for bank in banks):
                message = f"region '{name}' {where} is not inside the RAM of board '{board}'"
                label = Label(loaded.document.span(("ram",), key=True), f"its RAM: {_list(banks)}")
                yield context.find("VT404", message, path, labels=(label,))
            for index, carve in enumerate(loaded.facts.carve_outs):
                taken = carve.range
                if where.overlaps(taken):
                    message = f"region '{name}' {where} overlaps carve-out '{carve.name}' {taken}: {carve.reason}"
                    span = loaded.document.span(("carve_outs", index, "name"))
                    label = Label(span, f"'{carve.name}' is here")
                    hint = f"leave out `address` and let vtool choose, or start at or above {taken.end:#x}"
                    yield context.find("VT401", message, path, labels=(label,), hints=(hint,))
            for other, other_where in placed:
                if where.overlaps(other_where):
                    message = f"region '{name}' {where} overlaps region '{other}' {other_where}"
                    label = Label(context.span("regions", other, "address"), f"'{other}' is here")
                    hint = f"leave out `address`, or start at or above {other_where.end:#x}"
                    yield context.find("VT401", message, path, labels=(label,), hints=(hint,))
            placed.append((name, where))


def _list(ranges: list[AddressRange]) -> str:
    return ", ".join(str(item) for item in ranges)


def guest_pools_fit(context: Context) -> Iterator[Diagnostic]:
    """VT401, VT404: a fixed pool lies right after the guest's own RAM, where its memory backend is."""
    for name, domain in context.topology.domains.items():
        if domain.memory is None or not isinstance(context.hypervisor_of(name), Kvm):
            continue
        ram = AddressRange.of_size(layouts.QEMU_VIRT_RAM_BASE, domain.memory)
        cursor = ram.end
        for region_name, region in context.lookup.regions_of[name].items():
            if region.owner != name or region.use is not RegionUse.RESTRICTED_DMA_POOL:
                continue
            if region.address is not None and region.address != cursor:
                yield _misplaced_pool(context, region_name, region, ram, cursor)
            cursor += region.size


def memory_is_whole(context: Context) -> Iterator[Diagnostic]:
    """VT403: a domain's memory is whole MiB, in which xl.cfg and dom0_mem= count."""
    for name, domain in context.topology.domains.items():
        if domain.memory is not None and domain.memory % MIB:
            message = f"memory of domain '{name}', {format_size(domain.memory)}, is not a multiple of 1MiB"
            yield context.find("VT403", message, ("domains", name, "memory"))


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


def pools_are_large_enough(context: Context) -> Iterator[Diagnostic]:
    """VT405: a pool that is too small does not fail, it hangs; so it is refused here."""
    for name, region in context.topology.regions.items():
        users = {
            device_name: POOL_NEED.get(device.type, MINIMUM_POOL)
            for device_name, device in context.lookup.users_of[name].items()
            if device.data_path in POOLS
        }
        needed = max(MINIMUM_POOL, sum(users.values()))
        if users and region.size < needed:
            message = (
                f"pool '{name}' has {format_size(region.size)}, the devices {', '.join(users)} "
                f"need at least {format_size(needed)}"
            )
            hints = (
                "slots are 2KiB, one mapping takes up to 256KiB, a disk keeps many in flight: "
                f"{format_size(MINIMUM_POOL)} a disk is the least, 16MiB is comfortable",
                "a pool that is too small hangs the guest's I/O without an error",
            )
            yield context.find("VT405", message, ("regions", name, "size"), hints=hints)


def boards_have_the_memory(context: Context) -> Iterator[Diagnostic]:
    """VT406, VT407: what all domains and regions of a board take is there; CPUs are not overcommitted."""
    for board, loaded in context.facts.items():
        domains = dict(context.domains_on(board))
        asked = sum(domain.memory or 0 for domain in domains.values())
        asked += sum(r.size for r in context.topology.regions.values() if r.owner in domains)
        ram = sum(bank.size for bank in loaded.facts.ram)
        if asked > ram:
            message = (
                f"board '{board}' has {format_size(ram)} of RAM, its domains and regions ask for {format_size(asked)}"
            )
            label = Label(loaded.document.span(("ram",), key=True), "its RAM is here")
            yield context.find("VT406", message, ("boards", board), key=True, labels=(label,))
        for name, domain in domains.items():
            if domain.cpus > loaded.facts.cpus:
                message = f"domain '{name}' has {domain.cpus} CPUs, board '{board}' has {loaded.facts.cpus}"
                path = ("domains", name, "cpus")
                yield context.find("VT407", message, path, severity=Severity.WARNING)


def facts_agree_with_themselves(context: Context) -> Iterator[Diagnostic]:
    """VT408: a board's banks of RAM do not overlap, CPUs are as many as their nodes, boot's places are kept free."""
    for board, loaded in context.facts.items():
        facts = loaded.facts
        faults: list[tuple[DataPathTuple, str]] = []
        for index, bank in enumerate(facts.ram):
            for other in facts.ram[:index]:
                if bank.range.overlaps(other.range):
                    faults.append((("ram", index), f"RAM {bank.range} overlaps RAM {other.range}"))
        if facts.cpu_nodes and len(facts.cpu_nodes) != facts.cpus:
            faults.append((("cpus",), f"{facts.cpus} CPUs are not the {len(facts.cpu_nodes)} of `cpu_nodes`"))
        if sum(uart.stdout for uart in facts.uarts) > 1:
            faults.append((("uarts",), "more than one UART is `stdout`"))
        for key, address in facts.boot.load if facts.boot else ():
            if not any(carve.range.base <= address < carve.range.end for carve in facts.carve_outs):
                reason = f"boot loads the {key} at {address:#x}, which no carve-out keeps free"
                faults.append((("boot", "load", key), reason))
        for path, message in faults:
            label = Label(loaded.document.span(path), "here")
            whole = f"the facts of board '{board}' contradict themselves: {message}"
            yield context.find("VT408", whole, ("boards", board, "facts"), labels=(label,))


RULES = (
    facts_agree_with_themselves,
    use_fits_owner,
    borrowers_are_served,
    memory_is_whole,
    regions_are_aligned,
    host_regions_fit,
    guest_pools_fit,
    pools_are_large_enough,
    boards_have_the_memory,
)
