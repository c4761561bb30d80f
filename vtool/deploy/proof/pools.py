"""virtio devices behind a pool, alone or a part of RAM: that the kernel gave it to them, that its slots are used."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.deploy.proof.kvm import backend_maps, device_io, driver_accepted
from vtool.deploy.proof.outside import kernel_said
from vtool.deploy.proof.queues import queues
from vtool.deploy.proof.steps import Proof, counts, in_domain, slots_used
from vtool.plan.types import TRACK_HIWATER, KvmDevice, KvmGuest


def through_pool(guest: KvmGuest, device: KvmDevice) -> Iterator[Proof]:
    """Return what has to be shown of a device of a KVM guest behind a pool."""
    pool = device.pool
    assert pool is not None
    subject, identity = f"device {device.name}", f"{guest.name}-{device.name}"
    yield driver_accepted(guest, device)
    yield from queues(device, guest.name, guest.cpus, device.guest_sysfs)
    line = f"{device.guest_device}: assigned reserved memory node {pool.node_name}"
    assigned = kernel_said(guest, f"assigned-{identity}", line)
    yield counts(subject, "kernel assigned it the pool", assigned, "once a boot")
    counter = f"F=/sys/kernel/debug/{pool.node_name}; [ -d $F ] || F=/sys/kernel/debug/swiotlb/{pool.node_name}; "
    high = "$F/io_tlb_used_hiwater"
    reset = in_domain(guest.name, f"reset-{identity}", f"{counter} echo 0 > {high}; cat {high}", 20)
    first, *more = device_io(guest, device)
    yield first.after(reset)
    yield from more
    told = f"{counter} cat {high} && uname -r && grep -o '{TRACK_HIWATER}' /proc/cmdline; true"
    used = in_domain(guest.name, f"hiwater-{identity}", told, 20)
    yield slots_used(subject, f"slots of '{pool.region}' used by that I/O (high-water mark)", used)
    yield from backend_maps(guest, device)
