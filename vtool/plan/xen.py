"""Xen guests started by xl: PV disks and interfaces, bridges, the hypervisor's command line."""

from __future__ import annotations

import hashlib

from vtool.grants import available_grants, disk_grants, interface_grants
from vtool.model.devices import BlockDevice, NetworkDevice
from vtool.model.topology import Domain, Xen
from vtool.plan import types as plan
from vtool.plan.scope import BoardScope, join, scratch
from vtool.units import MIB, exact_division


def plan_guest(scope: BoardScope, name: str, domain: Domain) -> plan.XenGuest:
    """Decide one domU: memory, kernel, PV devices, unit."""
    assert domain.memory is not None
    disks: list[plan.XenDisk] = []
    interfaces: list[plan.XenInterface] = []
    for device_name, device in scope.devices_of(name).items():
        if isinstance(device, BlockDevice):
            disks.append(_plan_disk(device_name, device, len(disks)))
        elif isinstance(device, NetworkDevice):
            interfaces.append(_plan_interface(scope, device_name, device, len(interfaces)))
    addresses = [f"vtool.ip={interface.frontend_address}" for interface in interfaces[:1]]
    return plan.XenGuest(
        name=name,
        cpus=domain.cpus,
        memory_bytes=domain.memory,
        kernel=f"{plan.CURRENT}/domains/{name}/Image",
        ramdisk=f"{plan.CURRENT}/domains/{name}/ramdisk" if domain.ramdisk else None,
        bootargs=join("console=hvc0", *addresses, domain.bootargs),
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
        max_grant_version=domain.xen.max_grant_version if domain.xen else None,
        max_grant_frames=domain.xen.max_grant_frames if domain.xen else None,
        max_maptrack_frames=domain.xen.max_maptrack_frames if domain.xen else None,
        host_cpus=domain.host_cpus,
        grants_at_worst=len(disks) * disk_grants(domain.cpus) + len(interfaces) * interface_grants(domain.cpus),
        grants_available=available_grants(domain.xen.max_grant_frames if domain.xen else None),
    )


def plan_passthrough(scope: BoardScope) -> tuple[plan.PassthroughNode, ...]:
    """Collect the nodes that dom0 leaves to guests, whoever starts these; in the order of their paths."""
    nodes = [
        plan.PassthroughNode(path, name, scope.document.span(("domains", name, "passthrough", index)))
        for name, domain in scope.guests.items()
        for index, path in enumerate(domain.passthrough)
    ]
    return tuple(sorted(nodes, key=lambda node: node.path))


def _plan_disk(name: str, device: BlockDevice, index: int) -> plan.XenDisk:
    return plan.XenDisk(
        name=name,
        virtual_device=f"xvd{chr(ord('a') + index)}",
        link=f"{plan.RUN}/backend-{name}/disk",
        disk_path=f"{plan.DISKS}/{device.disk.file}",
        disk_bytes=device.disk.size,
        scratch=scratch(device),
        backend_unit=f"vtool-backend-{name}.service",
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


def bridge_unit(bridge: str) -> str:
    """Return the unit that makes a bridge."""
    return f"vtool-bridge-{bridge}.service"


def derived_mac(board: str, frontend: str, device: str) -> str:
    """Return a MAC in Xen's range (00:16:3e) that depends on the three names only."""
    tail = hashlib.sha256(f"{board}/{frontend}/{device}".encode()).digest()[:3]
    return "00:16:3e:" + ":".join(f"{byte:02x}" for byte in (tail[0] & 0x7F, *tail[1:]))


def hypervisor_bootargs(scope: BoardScope, hypervisor: Xen) -> str:
    """Write Xen's command line, the user's words last."""
    assert scope.control.memory is not None
    memory_mib = exact_division(scope.control.memory, MIB, "memory of the control domain")
    facts = scope.facts
    uart = facts.boot.xen_console if facts.boot else facts.stdout.path if facts.stdout else None
    return join(
        f"console=dtuart dtuart={uart}" if uart else "",
        f"dom0_mem={memory_mib}M dom0_max_vcpus={min(scope.control.cpus, scope.facts.cpus)}",
        "llc-coloring=on" if any(d.xen and d.xen.llc_colors for d in scope.guests.values()) else "",
        "scmi-smc-passthrough=on" if any(d.xen and d.xen.scmi_smc for d in scope.guests.values()) else "",
        hypervisor.bootargs,
    )
