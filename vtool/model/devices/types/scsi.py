"""SCSI disks, by QEMU; vhost-device-scsi has a file of its own."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.arguments import Options, Parts, QemuOption, Wiring, block_nodes
from vtool.model.devices.base import DeviceBase, DeviceType, Program, Service, both, in_dom0
from vtool.model.devices.disk import Disk
from vtool.model.devices.queues import QEMU_ENTRIES, QEMU_MOST, QueueLimits
from vtool.model.types import Model
from vtool.platform.xen_grants import GRANTED_REQUESTS, OFFERED_ENTRIES, Held, disk_grants, ring_pages
from vtool.reading.source import KeyPath


class Scsi(Model):
    """The disks of a SCSI host, in the order of their LUNs."""

    disks: Annotated[tuple[Disk, ...], Field(min_length=1, max_length=256)]


@final
class ScsiDevice(DeviceBase):
    type: Literal["scsi"]
    scsi: Scsi

    maps_segments = True

    def disk_files(self) -> Iterator[tuple[Disk, KeyPath]]:
        """Yield its disks."""
        for index, disk in enumerate(self.scsi.disks):
            yield disk, ("scsi", "disks", index)

    def root_kind(self) -> str:
        """Return the prefix of their names."""
        return "sd"


def _in_qemu(device: ScsiDevice, at: Wiring) -> Parts:
    before: Options = ()
    after: Options = ()
    for lun, disk in enumerate(at.disks):
        node = f"disk-{at.name}.{lun}"
        before += block_nodes(node, disk)
        pairs = (("bus", f"device-{at.name}.0"), ("lun", str(lun)), ("drive", node))
        after += (QemuOption("-device", "scsi-hd", pairs),)
    limit = (("cmd_per_lun", str(_per_lun(device))),) if device.data_path.traits.grants else ()
    return Parts(before, limit, after)


_OF_QEMU = 128
"""QEMU's own cmd_per_lun."""


def _per_lun(device: ScsiDevice) -> int:
    """Return how many requests a disk has outstanding, all queues together (Linux drivers/scsi/virtio_scsi.c)."""
    return _OF_QEMU if device.queue_size else max(1, GRANTED_REQUESTS // len(device.scsi.disks))


_BESIDE = 2
"""Queues beside those of requests: for control and for events, VIRTIO_SCSI_VQ_NUM_FIXED."""


def _by_qemu(device: ScsiDevice, _cpus: int) -> Held:
    requests, rings = len(device.scsi.disks) * _per_lun(device), (device.queues or 1) - 1 + _BESIDE
    beside = _BESIDE * 2 * GRANTED_REQUESTS  # messages of two pages, of which there are few
    grants = disk_grants(requests, OFFERED_ENTRIES) + beside + rings * ring_pages(OFFERED_ENTRIES)
    return Held(grants, grants, 0)


KERNEL = ("SCSI_VIRTIO", "BLK_DEV_SD")
_BY_QEMU = Service(
    both("virtio-scsi-device", "virtio-scsi-pci"),
    _in_qemu,
    KERNEL,
    queues=QueueLimits(QEMU_MOST - _BESIDE, QEMU_ENTRIES, "num_queues", ("virtqueue_size",), GRANTED_REQUESTS),
)
TYPE = DeviceType(
    ScsiDevice,
    kvm={Program.QEMU: _BY_QEMU},
    xen={Program.QEMU_XENPVH: in_dom0(_BY_QEMU, _by_qemu)},
)
