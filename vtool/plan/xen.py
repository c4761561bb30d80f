"""Xen guests started by xl: PV disks, interfaces and shares, driver domains, bridges, Xen's command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vtool.base.units import AddressRange
from vtool.data_paths.facts import Transport
from vtool.model import command_lines
from vtool.model.combinations import combination_of
from vtool.model.devices import BlockDevice, Device, FileSystemDevice, NetworkDevice
from vtool.model.grants import EVENT_CHANNELS, available_mappings, driver_domain_load
from vtool.model.places import disk_names, xl_disk_names
from vtool.model.topology import DRIVER_DOMAIN_RAMDISK, Domain, Xen
from vtool.plan import passthrough, xen_pv, xen_virtio
from vtool.plan import types as plan
from vtool.plan.access import plan_access, plan_required
from vtool.plan.networks import address_words, bridge_unit
from vtool.plan.paths import kernel_words
from vtool.plan.scope import BoardScope, backend_unit, domain_unit, join, scratch_of, share_of
from vtool.plan.xen_boot import plan_pools
from vtool.plan.xen_settings import settings_of


def plan_guest(scope: BoardScope, name: str, domain: Domain) -> plan.XenGuest:
    """Decide one domU: memory, kernel, PV devices, unit."""
    assert domain.memory is not None
    disks: list[plan.XenDisk] = []
    served: list[plan.XenServedDisk] = []
    shares: list[plan.XenShare] = []
    interfaces: list[plan.XenInterface] = []
    devices = scope.devices_of(name)
    names = xl_disk_names(name, scope.devices)
    for device_name, device in devices.items():
        if device.transport is not Transport.XENBUS:
            continue
        if isinstance(device, BlockDevice):
            if device.backend_device:
                served.append(_plan_served_disk(scope, device_name, device, names[device_name]))
            elif device.disk:
                disks.append(xen_virtio.plan_disk(scope, device_name, names[device_name]))
        elif isinstance(device, NetworkDevice):
            interfaces.append(xen_pv.plan_interface(scope, device_name, device, len(interfaces)))
        else:
            assert isinstance(device, FileSystemDevice), f"nothing serves a device of type {device.type} over xenbus"
            shares.append(_plan_share(device_name, device))
    virtio = xen_virtio.plan_devices(scope, name)
    networks = [device.network for device in devices.values() if isinstance(device, NetworkDevice)]
    return plan.XenGuest(
        name=name,
        cpus=domain.cpus,
        memory_bytes=domain.memory,
        kernel=f"{plan.CURRENT}/domains/{name}/Image",
        ramdisk=f"{plan.CURRENT}/domains/{name}/ramdisk" if domain.ramdisk else None,
        bootargs=join(
            *command_lines.of_guest(domain, is_xen=True),
            *address_words(domain, networks),
            *_bridge_words(scope, name, domain),
            *kernel_words(virtio),
            domain.bootargs,
        ),
        ready=domain.says_when_ready,
        ready_timeout_s=domain.ready_timeout_s,
        access=plan_access(scope, name, domain),
        require=plan_required(domain),
        disks=tuple(disks),
        interfaces=tuple(interfaces),
        unit=domain_unit(name),
        config=f"{plan.CURRENT}/domains/{name}/{name}.cfg",
        console_log=f"/var/log/xen/console/guest-{name}.log",
        kernel_image=domain.kernel,
        ramdisk_image=domain.ramdisk,
        gic_version=chosen.number if (chosen := domain.under_xen.gic_version) else scope.facts.gic.version,
        device_tree=f"{plan.CURRENT}/domains/{name}/partial.dtb" if domain.device_tree or domain.passthrough else None,
        device_tree_image=domain.device_tree,
        passthrough=passthrough.wished(scope, name, domain),
        settings=settings_of(
            domain,
            cpupool=_pool_of(scope, domain),
            uart=_has_uart(domain),
        ),
        affinity=domain.affinity,
        grants=xen_pv.grants_of(domain, devices),
        served_disks=tuple(served),
        shares=tuple(shares),
        driver_domain=_plan_driver_domain(scope, name, domain, devices),
        virtio=virtio,
        qemu=xen_virtio.plan_qemu(scope, name, virtio, domain.memory, domain.cpus, None),
        vhost_frontend=xen_virtio.plan_vhost_frontend(name, virtio),
        create_unit=f"vtool-create-{name}.service" if virtio else None,
        not_checked=domain.extra,
        uart_log=f"/var/log/xen/console/guest-{name}-vuart0.log" if _has_uart(domain) and not domain.is_ours else None,
    )


def _has_uart(domain: Domain) -> bool:
    """Whether a guest has a UART of Xen's: of xl's none has unless it is asked for."""
    return domain.xen is not None and domain.xen.uart and "uart" in domain.xen.model_fields_set


def _pool_of(scope: BoardScope, domain: Domain) -> str | None:
    hypervisor = scope.board.hypervisor
    pools = plan_pools(hypervisor) if isinstance(hypervisor, Xen) else ()
    return next((pool.xl_name for pool in pools if pool.name == domain.cpupool), None)


def _plan_share(name: str, device: FileSystemDevice) -> plan.XenShare:
    row = combination_of("xen", device)
    assert row is not None
    return plan.XenShare(name, name, share_of(device), row.xl_type, backend_unit(name))


def _plan_driver_domain(
    scope: BoardScope, name: str, domain: Domain, own: Mapping[str, Device]
) -> plan.DriverDomain | None:
    served = [device for device in scope.devices.values() if device.backend == name]
    if not served:
        return None
    cpus = {frontend: scope.domains[frontend].cpus for frontend in (device.frontend for device in served)}
    mapped, channels = driver_domain_load(
        ((device, cpus[device.frontend]) for device in served),
        ((device, domain.cpus) for device in own.values() if device.transport is Transport.XENBUS),
    )
    return plan.DriverDomain(
        frontends=tuple(cpus),
        mapped_at_worst=mapped,
        mappings_available=available_mappings(domain.xen.max_maptrack_frames if domain.xen else None),
        event_channels_at_worst=channels,
        event_channels_available=EVENT_CHANNELS,
    )


def _plan_served_disk(scope: BoardScope, name: str, device: BlockDevice, xl_name: str) -> plan.XenServedDisk:
    return plan.XenServedDisk(
        name=name,
        virtual_device=xl_name,
        target=device.backend_device or "",
        backend=device.backend,
        backend_unit=domain_unit(device.backend),
        scratch=_scratch_behind(scope, device.backend, device.backend_device or ""),
        deployed=scope.domains[device.backend].ramdisk == DRIVER_DOMAIN_RAMDISK,
    )


def _scratch_behind(scope: BoardScope, backend: str, block: str) -> AddressRange | None:
    """Return where verify may write of a driver domain's own disk that it serves as a whole, None of all else."""
    device = disk_names(backend, scope.devices_of(backend).values()).get(block)
    if not isinstance(device, BlockDevice) or device.transport is not Transport.XENBUS or device.disk is None:
        return None
    return scratch_of(device.disk)


def _bridge_words(scope: BoardScope, name: str, domain: Domain) -> tuple[str, ...]:
    """Say to vtool's own driver domain which bridges to make, and their addresses."""
    if domain.ramdisk != DRIVER_DOMAIN_RAMDISK:
        return ()
    bridges: dict[str, str] = {}
    for device in scope.devices.values():
        if isinstance(device, NetworkDevice) and device.backend == name:
            network = device.network
            bridges[network.bridge] = bridges.get(network.bridge) or network.backend_address
    return tuple(f"vtool.bridge={bridge}" + f":{address}" * bool(address) for bridge, address in bridges.items())


def plan_bridges(scope: BoardScope) -> tuple[plan.Bridge, ...]:
    """Decide the bridges that the interfaces of the board need in its control domain."""
    bridges: dict[str, plan.Bridge] = {}
    for device in scope.devices.values():
        if isinstance(device, NetworkDevice) and device.network.bridge and device.backend == scope.control_name:
            network, name = device.network, device.network.bridge
            made = plan.Bridge(name, network.backend_address, bridge_unit(network), network.existing, network.uplink)
            if name not in bridges or not bridges[name].address:
                bridges[name] = made
    return tuple(bridges.values())


def added_arguments(scope: BoardScope, hypervisor: Xen) -> tuple[plan.XenArgument, ...]:
    """Decide what Xen's command line needs for this topology and the user did not write."""
    written = {word.split("=")[0] for word in hypervisor.bootargs.split()}
    return tuple(added for added in _wanted_arguments(scope, hypervisor) if added.words.split("=")[0] not in written)


def _wanted_arguments(scope: BoardScope, hypervisor: Xen) -> Iterator[plan.XenArgument]:
    if scope.guests:
        reason = "words of guests that Xen builds, and tables of grants, are looked for in its log; 16 KiB are too few"
        yield plan.XenArgument("conring_size=1m", reason)
    served = next((device for device in scope.devices.values() if device.backend in scope.guests), None)
    if served is None or command_lines.uses_flask(hypervisor, scope.guests.values()):
        return  # what guests may do to each other is FLASK's policy
    reason = (
        f"'{served.backend}' serves '{served.frontend}': Xen's default on Arm, SILO, forbids grants and event channels "
        "between guests; now it forbids them to none"
    )
    yield plan.XenArgument("xsm=dummy", reason)


def hypervisor_bootargs(scope: BoardScope, hypervisor: Xen) -> str:
    """Write Xen's command line, the user's words last."""
    return join(
        *command_lines.of_xen(scope.facts, hypervisor, scope.control, scope.guests.values()),
        *(added.words for added in added_arguments(scope, hypervisor)),
        hypervisor.bootargs,
        hypervisor.extra,
    )
