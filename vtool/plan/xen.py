"""Xen guests started by xl: PV disks and interfaces, bridges, the hypervisor's command line."""

from __future__ import annotations

from vtool.grants import available_grants, grants_of
from vtool.model.devices import BlockDevice, DataPath, NetworkDevice
from vtool.model.topology import Domain, Xen
from vtool.plan import types as plan
from vtool.plan import xen_virtio
from vtool.plan.networks import bridge_unit, derived_mac
from vtool.plan.scope import BoardScope, join
from vtool.units import MIB, exact_division


def plan_guest(scope: BoardScope, name: str, domain: Domain) -> plan.XenGuest:
    """Decide one domU: memory, kernel, PV devices, unit."""
    assert domain.memory is not None
    disks: list[plan.XenDisk] = []
    interfaces: list[plan.XenInterface] = []
    devices = scope.devices_of(name)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    for device_name, device in devices.items():
        if device.data_path is not DataPath.PV:
            continue
        if isinstance(device, BlockDevice):
            disks.append(xen_virtio.plan_disk(device_name, device, next(letters)))
        elif isinstance(device, NetworkDevice):
            interfaces.append(_plan_interface(scope, device_name, device, len(interfaces)))
    virtio = xen_virtio.plan_devices(scope, name, letters)
    addresses = [f"vtool.ip={d.network.frontend_address}" for d in devices.values() if isinstance(d, NetworkDevice)]
    return plan.XenGuest(
        name=name,
        cpus=domain.cpus,
        memory_bytes=domain.memory,
        kernel=f"{plan.CURRENT}/domains/{name}/Image",
        ramdisk=f"{plan.CURRENT}/domains/{name}/ramdisk" if domain.ramdisk else None,
        bootargs=join("console=hvc0", *addresses[:1], domain.bootargs),
        ready=domain.ready,
        disks=tuple(disks),
        interfaces=tuple(interfaces),
        unit=f"vtool-domain-{name}.service",
        config=f"{plan.CURRENT}/domains/{name}/{name}.cfg",
        console_log=f"/var/log/xen/console/guest-{name}.log",
        kernel_image=domain.kernel,
        ramdisk_image=domain.ramdisk,
        device_tree=f"{plan.CURRENT}/domains/{name}/partial.dtb" if domain.device_tree else None,
        device_tree_image=domain.device_tree,
        passthrough=domain.passthrough,
        cpupool=domain.cpupool,
        max_grant_frames=domain.xen.max_grant_frames if domain.xen else None,
        max_maptrack_frames=domain.xen.max_maptrack_frames if domain.xen else None,
        host_cpus=domain.host_cpus,
        grants_at_worst=sum(grants_of(device, domain.cpus) for device in devices.values()),
        grants_available=available_grants(domain.xen.max_grant_frames if domain.xen else None),
        virtio=virtio,
        qemu=xen_virtio.plan_qemu(scope, name, virtio, domain.memory, domain.cpus, None),
        vhost_frontend=xen_virtio.plan_vhost_frontend(name, virtio),
        create_unit=f"vtool-create-{name}.service" if virtio else None,
    )


def _plan_interface(scope: BoardScope, name: str, device: NetworkDevice, index: int) -> plan.XenInterface:
    return plan.XenInterface(
        name=name,
        index=index,
        mac=device.network.mac or derived_mac(scope.name, device.frontend, name),
        bridge=device.network.bridge,
        frontend_address=device.network.frontend_address,
        backend_address=device.network.backend_address,
        backend_unit=bridge_unit(device.network.bridge),
    )


def plan_bridges(scope: BoardScope) -> tuple[plan.Bridge, ...]:
    """Decide the bridges that the interfaces of the board need."""
    bridges: dict[str, plan.Bridge] = {}
    for device in scope.devices.values():
        if isinstance(device, NetworkDevice) and device.network.bridge:
            name = device.network.bridge
            bridges.setdefault(name, plan.Bridge(name, device.network.backend_address, bridge_unit(name)))
    return tuple(bridges.values())


def hypervisor_bootargs(scope: BoardScope, hypervisor: Xen) -> str:
    """Write Xen's command line, the user's words last."""
    assert scope.control.memory is not None
    memory_mib = exact_division(scope.control.memory, MIB, "memory of the control domain")
    facts = scope.facts
    uart = facts.boot.xen_console if facts.boot else facts.stdout.path if facts.stdout else None
    return join(
        f"console=dtuart dtuart={uart}" if uart else "",
        f"dom0_mem={memory_mib}M dom0_max_vcpus={min(scope.control.cpus, scope.facts.cpus)}",
        hypervisor.bootargs,
    )
