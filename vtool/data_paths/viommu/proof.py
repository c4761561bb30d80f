"""A virtual IOMMU: that it translates what a device asks for, beside what is shown of any device."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.deploy.proof.kvm import backend_maps, device_io, driver_accepted
from vtool.deploy.proof.paths import PathProof
from vtool.deploy.proof.queues import queues
from vtool.deploy.proof.steps import Proof, in_domain, shows
from vtool.plan.types import KvmDevice, KvmGuest


def kvm_device(guest: KvmGuest, device: KvmDevice) -> Iterator[Proof]:
    """Return what has to be shown of a device behind a virtual IOMMU."""
    yield driver_accepted(guest, device)
    yield from queues(device, guest.name, guest.cpus, device.guest_sysfs)
    identity = f"translated-{guest.name}-{device.name}"
    kind = in_domain(guest.name, identity, f"cat {device.guest_sysfs}/iommu_group/type", 20)
    yield shows(f"device {device.name}", "its IOMMU group translates", kind, "DMA", "DMA-FQ")
    yield from device_io(guest, device)
    yield from backend_maps(guest, device)


PROOF = PathProof(kvm_device=kvm_device)
