"""virtio devices of Xen guests, which one QEMU in dom0 serves by grants or foreign mappings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from vtool.base.units import format_size
from vtool.deploy.proof.disks import through_disk
from vtool.deploy.proof.judges import Judge, Results, Verdict, failure
from vtool.deploy.proof.networks import network_rows
from vtool.deploy.proof.outside import is_driven, offered
from vtool.deploy.proof.paths import proof_of
from vtool.deploy.proof.queues import queues
from vtool.deploy.proof.reach import IOREQ_BYTES, xen_virtio_reach
from vtool.deploy.proof.steps import (
    Proof,
    Step,
    block_device,
    features,
    has_option,
    in_domain,
)
from vtool.model.access import ProofKind, Way
from vtool.plan.types import XenGuest, XenQemu, XenVirtio

GRANTS, FOREIGN = "/dev/xen/gntdev", "/dev/xen/privcmd"


def virtio_guest(guest: XenGuest) -> Iterator[Proof]:
    """Return what has to be shown of the virtio devices of a guest, and of the QEMU that serves them."""
    for device in guest.virtio:
        yield from proof_of(device.data_path).xl_device(guest, device)
    if guest.qemu is not None:
        yield mappings(guest, guest.qemu)
        yield from xen_virtio_reach(guest, guest.qemu)


def virtio_device(guest: XenGuest, device: XenVirtio) -> Iterator[Proof]:
    """Return what has to be shown of a virtio device, whatever its path: what its driver accepted, data both ways."""
    subject, identity = f"device {device.name}", f"{guest.name}-{device.name}"
    for option in device.data_path.traits.kernel:
        yield has_option(subject, identity, guest, guest.kernel, option)
    accepted = f"cat /sys/bus/platform/devices/{device.place.base:x}.virtio/virtio*/features"
    if guest.access.way is Way.NONE:
        yield offered(guest, device)
    else:
        yield driver_accepted(device, guest.name, in_domain(guest.name, f"features-{identity}", accepted, 20))
    yield from queues(device, guest.name, guest.cpus, f"/sys/bus/platform/devices/{device.place.base:x}.virtio")
    if device.disks:
        yield from through_disk(subject, guest.name, identity, _disk_of(device), device.disks[0])
    if device.tap is not None:
        inside = f"$(ls /sys/bus/platform/devices/{device.place.base:x}.virtio/virtio*/net)"
        port, address = device.tap.name, device.frontend_address
        yield from network_rows(subject, guest.name, identity, address, port=port, inside=inside)


def driver_accepted(device: XenVirtio, domain: str, accepted: Step) -> Proof:
    """Return the row of the features that a driver accepted; the step ``accepted`` has the guest say them."""
    return features(f"device {device.name}", accepted, domain, device.name, platform=device.data_path.traits.platform)


def _disk_of(device: XenVirtio) -> str:
    return block_device(f"/sys/bus/platform/devices/{device.place.base:x}.virtio")


def mappings(guest: XenGuest, qemu: XenQemu) -> Proof:
    """What QEMU has mapped of the guest while a disk is read: granted pages, or the guest's memory."""
    paths = {device.grants for device in guest.virtio}
    disk = next((device for device in guest.virtio if device.disks), None)
    busy: tuple[Step, ...] = ()
    # A guest that nobody gets into may read nothing just then: of foreign memory all stays mapped.
    if disk is not None and not (guest.access.way is Way.NONE and paths == {False}):
        busy = (
            in_domain(
                guest.name,
                f"busy-{guest.name}",
                f"(dd if={_disk_of(disk)} of=/dev/null bs=64k count=512 iflag=direct >/dev/null 2>&1 &); echo ok",
            ),
        )
    wanted = "its memory (privcmd)" if False in paths else "nothing else (privcmd)"
    if True in paths:
        wanted = f"granted pages (gntdev) and {wanted}"

    what = "memory of the guest that QEMU maps, while a disk is read"
    row = mapped(guest.name, qemu, what, wanted, granted=True in paths, foreign=False in paths).after(*busy)
    if is_driven(guest) or not isinstance(row.judge, QemuMaps):
        return row
    return replace(row, judge=QemuMapsOnceUsed(**row.judge.model_dump()))


def mapped(
    guest: str, qemu: XenQemu, what: str, wanted: str, *, granted: bool, foreign: bool, most_bytes: int | None = None
) -> Proof:
    """Return the row of what a guest's QEMU maps of it; ``wanted`` says so in words."""
    step: Step = {"id": f"maps-{qemu.unit}", "op": "maps", "unit": qemu.unit}
    judge = QemuMaps(step=step["id"], expected=wanted, granted=granted, foreign=foreign, most_bytes=most_bytes)
    return Proof(f"backend of {guest}", what, (step,), judge)


class QemuMaps(Judge):
    """Of a guest of Xen, QEMU maps granted pages or not, and foreign memory (up to ``most_bytes``) or not.

    Its own pages for accesses are among what it maps as foreign memory.
    """

    name = "qemu-maps"
    kind: ClassVar[ProofKind | None] = ProofKind.REACH
    step: str
    expected: str
    granted: bool
    foreign: bool
    most_bytes: int | None = None

    def judge(self, results: Results) -> Verdict:
        """Add up the mappings of both device nodes."""
        why = failure(results, self.step)
        if why:
            return Verdict(self.expected, "nothing", False, why)
        sizes = {GRANTS: 0, FOREIGN: 0}
        for mapping in results[self.step]["shared"]:
            if mapping["name"] in sizes:
                sizes[mapping["name"]] += mapping["size_bytes"]
        seen = f"{format_size(sizes[GRANTS])} by gntdev, {format_size(sizes[FOREIGN])} by privcmd"
        proven = (sizes[GRANTS] > 0, sizes[FOREIGN] > IOREQ_BYTES) == (self.granted, self.foreign)
        fits = self.most_bytes is None or sizes[FOREIGN] <= self.most_bytes + IOREQ_BYTES
        return Verdict(self.expected, seen, proven and fits)


class QemuMapsOnceUsed(QemuMaps):
    """The same of a guest whose driver nobody can start: that QEMU maps nothing of it is noted."""

    name = "qemu-maps-once-used"

    def judge(self, results: Results) -> Verdict:
        """Note that nothing is mapped; what is not expected is none of it."""
        verdict = super().judge(results)
        if failure(results, self.step):
            return verdict
        sizes = [m["size_bytes"] for m in results[self.step]["shared"] if m["name"] in (GRANTS, FOREIGN)]
        return replace(verdict, noted=not verdict.proven and sum(sizes) <= IOREQ_BYTES)
