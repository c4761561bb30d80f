"""Rings: which end runs what on what, and the names that both ends of a board's rings get.

Interfaces and NBD devices are numbered in each domain, in the order of the file: those of one that is added after
the others move nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vtool.base.units import AddressRange
from vtool.data_paths.ring import TRAITS
from vtool.model.combinations import combination_of
from vtool.model.devices import BlockDevice, Device, NetworkDevice
from vtool.plan import types as plan
from vtool.plan.networks import derived_mac
from vtool.plan.paths import Planning
from vtool.plan.scope import BoardScope, backend_unit, scratch_of

IMAGE = "vtool:ring"
RING_MAC = "02:54:00"
"""Locally administered: both ends of a link are vtool's own."""


def kernel_words(device: plan.KvmDevice | plan.XenVirtio) -> tuple[str, ...]:
    """Tell vtool's guest of its end of a ring with another guest."""
    return (device.ring.end.kernel_word,) if isinstance(device, plan.KvmDevice) and device.ring else ()


def kvm_ring(scope: BoardScope, name: str, device: Device, guest: str, bar: str) -> plan.KvmRing:
    """Decide the end of a ring with another guest; ``bar`` is the file of the region's BAR in ``guest``."""
    return plan.KvmRing(plan_end(scope, name, device, guest, bar), *exported_disk(scope, device))


def rings_of(scope: BoardScope, domain: str) -> dict[str, Device]:
    """Return the rings that a domain has an end of, in the order of the file."""
    rings = {n: d for n, d in scope.devices.items() if d.data_path.traits is TRAITS}
    return {n: d for n, d in rings.items() if domain in (d.frontend, d.backend)}


def plan_end(scope: BoardScope, name: str, device: Device, domain: str, region: str) -> plan.RingEnd:
    """Decide one domain's end of a ring; ``region`` is what vtool-ring maps there."""
    is_backend = domain == device.backend
    side = "a" if is_backend else "b"
    if isinstance(device, NetworkDevice):
        network = device.network
        address = network.backend_address if is_backend else network.frontend_address
        mac = None if is_backend else network.mac
        return plan.RingEnd(
            domain=domain,
            command="net",
            side=side,
            region=region,
            target=f"ring{_number(scope, name, domain)}",
            address=address,
            mac=mac or RING_MAC + derived_mac(scope.name, domain, name)[8:],
        )
    assert isinstance(device, BlockDevice)
    if is_backend:
        target = next((d.disk_path for d in scope.disks_of(name)), device.backend_device or "")
        return plan.RingEnd(domain, "export", side, region, target)
    return plan.RingEnd(domain, "attach", side, region, f"/dev/nbd{_number(scope, name, domain)}")


def _number(scope: BoardScope, name: str, domain: str) -> int:
    """Return which of its kind a ring is at its end in a domain."""
    kind = scope.devices[name].type
    mine = rings_of(scope, domain).items()
    return [n for n, d in mine if d.type == kind and (kind == "net" or d.frontend == domain)].index(name)


def exported_disk(scope: BoardScope, device: Device) -> tuple[int | None, AddressRange | None]:
    """Return size and scratch space of what a guest exports: known where it has one disk, which then is that."""
    if not isinstance(device, BlockDevice):
        return None, None
    others = (d for d in scope.devices_of(device.backend).values() if d.data_path.traits is not TRAITS)
    behind = [d for d in others if isinstance(d, BlockDevice)]
    if len(behind) != 1 or behind[0].disk is None:
        return None, None
    return behind[0].disk.size, scratch_of(behind[0].disk)


def plan_xen_rings(
    scope: BoardScope, guest: str, inside: Mapping[str, AddressRange], in_dom0: Mapping[str, AddressRange]
) -> Iterator[plan.XenRing]:
    """Decide the rings of a guest that Xen builds; the ranges are where it and dom0 see its regions."""
    for name, device in rings_of(scope, guest).items():
        row = combination_of("xen", device)
        assert row is not None and device.region is not None
        disk = next(iter(scope.disks_of(name)), None)
        yield plan.XenRing(
            name=name,
            type=device.type,
            data_path=device.data_path,
            region=device.region,
            size_bytes=in_dom0[device.region].size_bytes,
            frontend=plan_end(scope, name, device, guest, _of_memory(inside[device.region])),
            backend=plan_end(scope, name, device, scope.control_name, _of_memory(in_dom0[device.region])),
            unit=backend_unit(name),
            tap_unit=f"vtool-tap-{name}.service" if device.type == "net" else None,
            executable=f"{plan.CURRENT}/domains/{guest}/vtool-ring",
            image=IMAGE,
            deployed=row.deployed,
            disk=disk,
        )


def _of_memory(where: AddressRange) -> str:
    return f"/dev/mem:{where.base:#x}+{where.size_bytes:#x}"


PLANNING = Planning(kernel_words=kernel_words, kvm_ring=kvm_ring, xen_rings=plan_xen_rings)
