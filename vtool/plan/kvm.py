"""KVM guests: guest-physical memory, pools behind it, devices on pinned virtio-mmio slots."""

from __future__ import annotations

from collections.abc import Mapping

from vtool import layouts
from vtool.model.devices import BlockDevice
from vtool.model.topology import Domain
from vtool.plan import types as plan
from vtool.plan.scope import BoardScope, join, scratch
from vtool.units import AddressRange


def plan_guest(scope: BoardScope, name: str, domain: Domain) -> plan.KvmGuest:
    """Decide one KVM guest: memory, kernel, devices, unit, sockets."""
    assert domain.memory is not None
    ram = AddressRange.of_size(layouts.QEMU_VIRT_RAM_BASE, domain.memory)
    pools = _plan_pools(scope, name, ram)
    run_folder = f"{plan.RUN}/domain-{name}"
    pool_by_region = {pool.region: pool for pool in pools}
    devices = tuple(
        _plan_disk(device_name, device, slot, pool_by_region)
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
        bootargs=join("console=ttyAMA0", domain.bootargs),
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


def _plan_pools(scope: BoardScope, name: str, ram: AddressRange) -> tuple[plan.Pool, ...]:
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


def _plan_disk(name: str, device: BlockDevice, slot: int, pools: Mapping[str, plan.Pool]) -> plan.KvmBlockDevice:
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
        scratch=scratch(device),
        backend_unit=f"vtool-backend-{name}.service",
        guest_device=f"{base:x}.virtio_mmio",
    )
