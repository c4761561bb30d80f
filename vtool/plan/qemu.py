"""QEMU's options for the devices of a guest, and the daemons' command lines: what the device files say, and where.

Names come from the table of combinations, what is said of each type and daemon from its file in
``vtool.model.devices``; what is written here is the same for all. Nothing is quoted: a renderer does that.
"""

from __future__ import annotations

from vtool.data_paths.facts import Transport
from vtool.model.combinations import Combination, Version
from vtool.model.devices import Device
from vtool.model.devices.arguments import Options, Pairs, QemuOption, Wiring
from vtool.plan import types as plan
from vtool.platform.qemu_releases import RECONNECT


def reconnect(row: Combination, qemu: Version) -> Pairs:
    """Return how a QEMU is told to find a daemon again that was restarted; nothing where it does not."""
    return RECONNECT.for_release(qemu) if row.reconnects else ()


def queues_of(device: Device, row: Combination) -> plan.Queues:
    """Return what the user chose of a device's queues."""
    size = row.service.queues.size if row.service else ()
    return plan.Queues(device.queues, device.queue_size, size[0] if size else "")


def device_options(
    device: Device, row: Combination, wiring: Wiring, place: plan.MmioPlace | plan.PciPlace | None
) -> Options:
    """Return what makes one device, in QEMU's order; without ``place`` it takes the next free one."""
    if device.of_machine():
        return ()
    where: Pairs = ()
    if place is not None:
        where = (("bus", "pcie.0"), ("addr", f"{place.slot:#x}"))
        if isinstance(place, plan.MmioPlace):
            where = (("bus", f"virtio-mmio-bus.{place.slot}"),)
    assert row.service is not None and row.service.options is not None
    parts, traits = row.service.options(device, wiring), device.data_path.traits
    platform: Pairs = (("iommu_platform", "on"),) if traits.platform else ()
    if platform and device.transport is Transport.PCI:
        platform += (("disable-legacy", "on"),)
    limits = row.service.queues
    queues = limits.properties(device.queues, limits.size_of(device.queue_size, grants=traits.grants))
    pairs = (("id", f"device-{wiring.name}"), *parts.own, *platform, *queues, *where)
    return (*parts.before, QemuOption("-device", wiring.qemu_device, pairs), *parts.after)
