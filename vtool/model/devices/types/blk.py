"""Disks: by QEMU, by Xen's blkback, through a ring; qemu-storage-daemon and virtio-disk have files of their own."""

from collections.abc import Iterator
from typing import Any, Literal, final

from vtool.data_paths.facts import Transport
from vtool.model.devices.arguments import Parts, Wiring, block_nodes, chardev, connection, region_between
from vtool.model.devices.base import (
    Daemon,
    DeviceBase,
    DeviceType,
    Misfit,
    Program,
    Service,
    both,
    in_dom0,
    of_xen,
)
from vtool.model.devices.disk import Disk
from vtool.model.devices.queues import QEMU_ENTRIES, QEMU_MOST, VHOST_USER_MOST, QueueLimits
from vtool.model.types import BlockDevicePath, XvdName
from vtool.platform.xen_grants import GRANTED_REQUESTS, OFFERED_ENTRIES, Held, disk_grants
from vtool.reading.source import KeyPath


@final
class BlockDevice(DeviceBase):
    """A disk of the control domain (``disk``), or a block device that a guest serves (``backend_device``).

    ``vdev`` is the name that Xen hands over for it; left out, it is the next free one.
    """

    type: Literal["blk"]
    disk: Disk | None = None
    backend_device: BlockDevicePath | None = None
    vdev: XvdName | None = None

    maps_segments = True

    def disk_files(self) -> Iterator[tuple[Disk, KeyPath]]:
        """Yield its disk, where the control domain has it."""
        if self.disk is not None:
            yield self.disk, ("disk",)

    def misfits(self, daemon: Daemon[Any] | None, *, by_a_guest: bool) -> Iterator[Misfit]:  # noqa: ARG002
        """Yield that what is behind another tool's disk is not vtool's."""
        if self.program is Program.VHOST_USER and self.disk is not None:
            yield Misfit(("disk",), no_effect="what is behind it is up to the daemon at its `socket`")

    def root_kind(self) -> str:
        """Return the prefix of its name."""
        return "vd" if self.data_path.traits.virtio else "xvd"


def _in_qemu(_: BlockDevice, at: Wiring) -> Parts:
    node = f"disk-{at.name}"
    return Parts(block_nodes(node, at.disks[0]), (("drive", node),))


def _by_another(device: BlockDevice, at: Wiring) -> Parts:
    return Parts((connection(at),), (chardev(at), ("num-queues", str(device.queues or 1))))


_QUEUES = 4
"""xen_blkif_max_queues; fewer where the domain has fewer CPUs."""
_REQUESTS = 32
"""Entries of a ring of one page, BLK_RING_SIZE."""
_SEGMENTS = 32
"""xen_blkif_max_segments."""


def _by_blkback(_device: BlockDevice, cpus: int) -> Held:
    # drivers/block/xen-blkfront.c: every request of every queue keeps its segments and an indirect page granted.
    queues = min(cpus, _QUEUES)
    grants = queues * (_REQUESTS * (_SEGMENTS + 1) + 1)
    return Held(grants, grants, queues)


def _by_qemu(device: BlockDevice, _cpus: int) -> Held:
    # The frontend's kernel is told of a limit where nobody chose a size (vtool/data_paths/grant/planning.py).
    grants = (device.queues or 1) * disk_grants(device.queue_size or GRANTED_REQUESTS, OFFERED_ENTRIES)
    return Held(grants, grants, 0)


_OF_BLKFRONT = QueueLimits(
    instead="`bootargs: xen_blkfront.max_queues=N` of the frontend is for all its disks, max_ring_page_order likewise"
)
_OF_RING = QueueLimits(instead="its queue is the ring in its region, which is as large as that")
_BY_QEMU = Service(
    both("virtio-blk-device", "virtio-blk-pci"),
    _in_qemu,
    ("VIRTIO_BLK",),
    queues=QueueLimits(QEMU_MOST, QEMU_ENTRIES, "num-queues", ("queue-size",), GRANTED_REQUESTS),
)
TYPE = DeviceType(
    BlockDevice,
    kvm={
        Program.QEMU: _BY_QEMU,
        Program.VHOST_USER: Service(
            both("vhost-user-blk", "vhost-user-blk-pci"),
            _by_another,
            ("VIRTIO_BLK",),
            reconnects=True,
            queues=QueueLimits(VHOST_USER_MOST, QEMU_ENTRIES, size=("queue-size",)),
        ),
        Program.VTOOL_RING: Service(
            {Transport.SHARED_MEMORY: "ivshmem-plain"},
            region_between,
            ("BLK_DEV_NBD",),
            virtio=False,
            queues=_OF_RING,
        ),
    },
    xen={
        Program.BLKBACK: of_xen(_by_blkback, ends=("XEN_BLKDEV_FRONTEND", "XEN_BLKDEV_BACKEND"), queues=_OF_BLKFRONT),
        Program.QEMU_XENPVH: in_dom0(_BY_QEMU, _by_qemu),
        Program.VTOOL_RING: Service(
            {Transport.SHARED_MEMORY: ""}, None, ("BLK_DEV_NBD",), virtio=False, queues=_OF_RING
        ),
    },
)
