"""From a checked topology to a plan. Pure: same topology and facts in, same plan out.

Owns every derived number and name. Assumes ``vtool.check`` found no error: what it forbids is not
handled again here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from vtool import layouts
from vtool.model.board_facts import BoardFacts
from vtool.model.topology import (
    BlockDevice,
    Board,
    Device,
    Domain,
    Kvm,
    NetworkDevice,
    Region,
    Role,
    Topology,
    VerifyAccess,
    Xen,
)
from vtool.plan import types as plan
from vtool.plan.placement import place_host_regions
from vtool.source import Document
from vtool.units import MIB, AddressRange, exact_division


def make_plan(document: Document, topology: Topology, facts: Mapping[str, BoardFacts]) -> plan.Plan:
    """Decide everything; ``facts`` is keyed by board name. Raises VtoolError VT410 when memory runs out."""
    boards = tuple(
        _plan_board(_BoardScope(document, topology, name, board, facts[name]))
        for name, board in topology.boards.items()
    )
    return plan.Plan(topology.name, boards)


class _BoardScope:
    """The part of a topology that concerns one board; lookups only."""

    def __init__(self, document: Document, topology: Topology, name: str, board: Board, facts: BoardFacts) -> None:
        self.document = document
        self.name = name
        self.board = board
        self.facts = facts
        only_board = next(iter(topology.boards))
        self.domains = {
            domain_name: domain
            for domain_name, domain in topology.domains.items()
            if (domain.board or only_board) == name
        }
        self.regions = {n: r for n, r in topology.regions.items() if r.owner in self.domains}
        self.devices = {n: d for n, d in topology.devices.items() if d.frontend in self.domains}
        self.control_name, self.control = next((n, d) for n, d in self.domains.items() if d.role is Role.CONTROL)
        self.guests = {n: d for n, d in self.domains.items() if d.role is Role.GUEST}

    def devices_of(self, frontend: str) -> dict[str, Device]:
        return {n: d for n, d in self.devices.items() if d.frontend == frontend}

    def regions_of(self, owner: str) -> dict[str, Region]:
        return {n: r for n, r in self.regions.items() if r.owner == owner}


def _plan_board(scope: _BoardScope) -> plan.BoardPlan:
    hypervisor = scope.board.hypervisor
    facts = scope.facts
    is_xen = isinstance(hypervisor, Xen)
    control = plan.ControlDomain(
        name=scope.control_name,
        cpus=min(scope.control.cpus, facts.cpus) if is_xen else facts.cpus,
        memory_bytes=scope.control.memory if is_xen else None,
        kernel_image=scope.control.kernel,
        bootargs=_join(
            f"console={'hvc0' if is_xen else facts.boot.console}",
            f"root={facts.boot.root_device} rootfstype={facts.boot.root_filesystem} rw rootwait",
            scope.control.bootargs,
        ),
    )
    return plan.BoardPlan(
        name=scope.name,
        facts=facts,
        hypervisor=hypervisor.kind,
        control=control,
        xen_image=hypervisor.image if isinstance(hypervisor, Xen) else None,
        xen_bootargs=_xen_bootargs(scope, hypervisor) if isinstance(hypervisor, Xen) else None,
        host_regions=place_host_regions(scope.document, facts, scope.regions_of(scope.control_name)),
        kvm_guests=tuple(_plan_kvm_guest(scope, name, domain) for name, domain in scope.guests.items())
        if isinstance(hypervisor, Kvm)
        else (),
        xen_guests=tuple(_plan_xen_guest(scope, name, domain) for name, domain in scope.guests.items())
        if is_xen
        else (),
        bridges=_plan_bridges(scope),
    )


def _xen_bootargs(scope: _BoardScope, hypervisor: Xen) -> str:
    assert scope.control.memory is not None
    memory_mib = exact_division(scope.control.memory, MIB, "memory of the control domain")
    return _join(
        f"console=dtuart dtuart={scope.facts.boot.xen_console}",
        f"dom0_mem={memory_mib}M dom0_max_vcpus={min(scope.control.cpus, scope.facts.cpus)}",
        hypervisor.bootargs,
    )


def _plan_kvm_guest(scope: _BoardScope, name: str, domain: Domain) -> plan.KvmGuest:
    assert domain.memory is not None
    ram = AddressRange.of_size(layouts.QEMU_VIRT_RAM_BASE, domain.memory)
    pools = _plan_pools(scope, name, ram)
    run_folder = f"{plan.RUN}/domain-{name}"
    pool_by_region = {pool.region: pool for pool in pools}
    devices = tuple(
        _plan_kvm_disk(device_name, device, slot, pool_by_region)
        for slot, (device_name, device) in enumerate(scope.devices_of(name).items())
        if isinstance(device, BlockDevice)
    )
    return plan.KvmGuest(
        name=name,
        cpus=domain.cpus,
        ram=ram,
        pools=pools,
        memory_bytes=(pools[-1].range.end if pools else ram.end) - ram.base,
        kernel=f"{plan.CURRENT}/domains/{name}/Image",
        ramdisk=f"{plan.CURRENT}/domains/{name}/ramdisk" if domain.ramdisk else None,
        bootargs=_join("console=ttyAMA0", domain.bootargs),
        ready=domain.ready,
        devices=devices,
        unit=f"vtool-domain-{name}.service",
        run_folder=run_folder,
        console_socket=f"{run_folder}/console.sock",
        console_log=f"/var/log/vtool/{name}/console.log",
        qmp_socket=f"{run_folder}/qmp.sock",
        overlay=f"{plan.CURRENT}/domains/{name}/{name}.dtbo",
        device_tree=f"{run_folder}/{name}.dtb",
        gic_version=scope.facts.gic.version,
        kernel_image=domain.kernel,
        ramdisk_image=domain.ramdisk,
    )


def _plan_pools(scope: _BoardScope, name: str, ram: AddressRange) -> tuple[plan.Pool, ...]:
    pools: list[plan.Pool] = []
    cursor = ram.end
    for region_name, region in scope.regions_of(name).items():
        where = AddressRange.of_size(cursor, region.size)
        if region.address is None:
            origin = plan.Origin(
                plan.OriginKind.ALLOCATED, f"right after the {len(pools) + 1}. memory backend of '{name}'"
            )
        else:
            place = scope.document.span(("regions", region_name, "address"))
            origin = plan.Origin(plan.OriginKind.FIXED, f"by the user at {place}")
        pools.append(plan.Pool(region_name, where, origin, f"vtool-{region_name}@{where.base:x}", len(pools) + 1))
        cursor = where.end
    return tuple(pools)


def _plan_kvm_disk(name: str, device: BlockDevice, slot: int, pools: Mapping[str, plan.Pool]) -> plan.KvmBlockDevice:
    assert device.region is not None
    base = layouts.QEMU_VIRT_MMIO.address(slot)
    return plan.KvmBlockDevice(
        name=name,
        slot=slot,
        mmio_base=base,
        spi_index=layouts.QEMU_VIRT_MMIO.first_spi_index + slot,
        node_name=f"virtio_mmio@{base:x}",
        pool=pools[device.region],
        socket=f"{plan.RUN}/backend-{name}/vhost-user.sock",
        queues=1,
        disk_path=f"{plan.DISKS}/{device.disk.file}",
        disk_bytes=device.disk.size,
        scratch=_scratch(device),
        backend_unit=f"vtool-backend-{name}.service",
        guest_device=f"{base:x}.virtio_mmio",
    )


def _plan_xen_guest(scope: _BoardScope, name: str, domain: Domain) -> plan.XenGuest:
    assert domain.memory is not None
    disks: list[plan.XenDisk] = []
    interfaces: list[plan.XenInterface] = []
    for device_name, device in scope.devices_of(name).items():
        if isinstance(device, BlockDevice):
            disks.append(_plan_xen_disk(device_name, device, len(disks)))
        else:
            interfaces.append(_plan_xen_interface(scope, device_name, device, len(interfaces)))
    addresses = [f"vtool.ip={interface.frontend_address}" for interface in interfaces[:1]]
    return plan.XenGuest(
        name=name,
        cpus=domain.cpus,
        memory_bytes=domain.memory,
        kernel=f"{plan.CURRENT}/domains/{name}/Image",
        ramdisk=f"{plan.CURRENT}/domains/{name}/ramdisk" if domain.ramdisk else None,
        bootargs=_join("console=hvc0", *addresses, domain.bootargs),
        ready=domain.ready,
        disks=tuple(disks),
        interfaces=tuple(interfaces),
        unit=f"vtool-domain-{name}.service",
        config=f"{plan.CURRENT}/domains/{name}/{name}.cfg",
        console_log=f"/var/log/xen/console/guest-{name}.log",
        kernel_image=domain.kernel,
        ramdisk_image=domain.ramdisk,
    )


def _plan_xen_disk(name: str, device: BlockDevice, index: int) -> plan.XenDisk:
    return plan.XenDisk(
        name=name,
        virtual_device=f"xvd{chr(ord('a') + index)}",
        link=f"{plan.RUN}/backend-{name}/disk",
        disk_path=f"{plan.DISKS}/{device.disk.file}",
        disk_bytes=device.disk.size,
        scratch=_scratch(device),
        backend_unit=f"vtool-backend-{name}.service",
    )


def _plan_xen_interface(scope: _BoardScope, name: str, device: NetworkDevice, index: int) -> plan.XenInterface:
    return plan.XenInterface(
        name=name,
        index=index,
        mac=device.network.mac or derived_mac(scope.name, device.frontend, name),
        bridge=device.network.bridge,
        frontend_address=device.network.frontend_address,
        backend_address=device.network.backend_address,
        backend_unit=_bridge_unit(device.network.bridge),
    )


def _plan_bridges(scope: _BoardScope) -> tuple[plan.Bridge, ...]:
    bridges: dict[str, plan.Bridge] = {}
    for device in scope.devices.values():
        if isinstance(device, NetworkDevice):
            name = device.network.bridge
            bridges.setdefault(name, plan.Bridge(name, device.network.backend_address, _bridge_unit(name)))
    return tuple(bridges.values())


def _bridge_unit(bridge: str) -> str:
    return f"vtool-bridge-{bridge}.service"


def _scratch(device: BlockDevice) -> AddressRange | None:
    if device.disk.verify is VerifyAccess.READ:
        return None
    return AddressRange(device.disk.size - plan.VERIFY_SCRATCH_BYTES, device.disk.size)


def derived_mac(board: str, frontend: str, device: str) -> str:
    """Return a MAC in Xen's range (00:16:3e) that depends on the three names only."""
    tail = hashlib.sha256(f"{board}/{frontend}/{device}".encode()).digest()[:3]
    return "00:16:3e:" + ":".join(f"{byte:02x}" for byte in (tail[0] & 0x7F, *tail[1:]))


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)
