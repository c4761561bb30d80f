"""PV devices of Xen's guests, whoever starts these: interfaces, what all hold of grants, and what xl attaches later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vtool.base.units import MIB
from vtool.data_paths.facts import Transport
from vtool.model.devices import BlockDevice, Device, NetworkDevice
from vtool.model.grants import available_grants, held_by
from vtool.model.places import xl_disk_names
from vtool.model.topology import DRIVER_DOMAIN_RAMDISK, Domain
from vtool.plan import types as plan
from vtool.plan import xen_virtio
from vtool.plan.networks import bridge_unit, derived_mac
from vtool.plan.scope import BoardScope, domain_unit


def grants_of(domain: Domain, devices: Mapping[str, Device]) -> plan.GrantLimit | None:
    """Return what a guest's devices hold at worst, None where they hold nothing."""
    held = sum(held_by(device, domain.cpus).grants for device in devices.values())
    return plan.GrantLimit(held, available_grants(domain.under_xen.max_grant_frames)) if held else None


def plan_interface(scope: BoardScope, name: str, device: NetworkDevice, index: int) -> plan.XenInterface:
    """Decide a PV interface, the ``index``-th of its guest."""
    return plan.XenInterface(
        name=name,
        index=index,
        mac=device.network.mac or derived_mac(scope.name, device.frontend, name),
        bridge=device.network.bridge,
        frontend_address=device.network.frontend_address,
        backend_address=device.network.backend_address,
        backend_unit=domain_unit(device.backend) if device.backend in scope.guests else bridge_unit(device.network),
        backend=device.backend if device.backend in scope.guests else None,
        deployed=device.backend not in scope.guests or scope.domains[device.backend].ramdisk == DRIVER_DOMAIN_RAMDISK,
    )


def plan_attached(scope: BoardScope, guest: str) -> tuple[plan.XenAttached, ...]:
    """Decide the PV devices of a guest that Xen starts: xl attaches each once the guest has its xenstore."""
    found: list[plan.XenAttached] = []
    names = xl_disk_names(guest, scope.devices)
    for name, device in scope.devices_of(guest).items():
        if device.transport is not Transport.XENBUS:
            continue
        unit = f"vtool-attach-{name}.service"
        if isinstance(device, NetworkDevice):
            index = sum(one.interface is not None for one in found)
            found.append(plan.XenAttached(unit, plan_interface(scope, name, device, index)))
        elif isinstance(device, BlockDevice) and device.disk:
            found.append(plan.XenAttached(unit, disk=xen_virtio.plan_disk(scope, name, names[name])))
    return tuple(found)


def looked_for(attached: tuple[plan.XenAttached, ...]) -> Iterator[str]:
    """Tell vtool's guest what will be attached to it, and what to send back or copy for `verify`."""
    for one in attached:
        if one.interface is not None:
            yield f"vtool.vif={one.interface.index}:{one.interface.frontend_address}"
        elif one.disk is not None and one.disk.scratch is not None:
            first = one.disk.scratch.base // MIB
            yield f"vtool.vbd={one.disk.virtual_device}:{first}:{first + 1}"
