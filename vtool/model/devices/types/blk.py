"""Disks: by QEMU, by Xen's blkback, through a ring; qemu-storage-daemon and virtio-disk have files of their own."""

from collections.abc import Iterator
from typing import Literal, final

from vtool.data_paths.facts import Transport
from vtool.model.devices.arguments import Parts, Wiring, block_nodes, region_between
from vtool.model.devices.base import DeviceBase, DeviceType, Disk, Program, Service, both, in_dom0, of_xen
from vtool.model.types import BlockDevicePath
from vtool.platform.xen_grants import GRANTED_REQUESTS, Held, disk_grants, virtio_holds
from vtool.reading.source import KeyPath


@final
class BlockDevice(DeviceBase):
    """A disk: a file of the control domain (``disk``), or a block device that a guest serves (``backend_device``)."""

    type: Literal["blk"]
    disk: Disk | None = None
    backend_device: BlockDevicePath | None = None

    def disk_files(self) -> Iterator[tuple[Disk, KeyPath]]:
        """Yield its disk, where it is a file."""
        if self.disk is not None:
            yield self.disk, ("disk",)

    def root_kind(self) -> str:
        """Return the prefix of its name."""
        return "vd" if self.data_path.traits.virtio else "xvd"


def _in_qemu(_: BlockDevice, at: Wiring) -> Parts:
    node = f"disk-{at.name}"
    return Parts(block_nodes(node, at.disks[0]), (("drive", node),))


_QUEUES = 4
"""xen_blkif_max_queues; fewer where the domain has fewer CPUs."""
_REQUESTS = 32
"""Entries of a ring of one page, BLK_RING_SIZE."""
_SEGMENTS = 32
"""xen_blkif_max_segments."""


def _by_blkback(cpus: int) -> Held:
    # drivers/block/xen-blkfront.c: every request of every queue keeps its segments and an indirect page granted.
    queues = min(cpus, _QUEUES)
    grants = queues * (_REQUESTS * (_SEGMENTS + 1) + 1)
    return Held(grants, grants, queues)


_BY_QEMU = Service(both("virtio-blk-device", "virtio-blk-pci"), _in_qemu, ("VIRTIO_BLK",))
TYPE = DeviceType(
    BlockDevice,
    kvm={
        Program.QEMU: _BY_QEMU,
        Program.VTOOL_RING: Service(
            {Transport.SHARED_MEMORY: "ivshmem-plain"}, region_between, ("BLK_DEV_NBD",), virtio=False
        ),
    },
    xen={
        Program.BLKBACK: of_xen(_by_blkback, ends=("XEN_BLKDEV_FRONTEND", "XEN_BLKDEV_BACKEND")),
        Program.QEMU_XENPVH: in_dom0(
            _BY_QEMU, virtio_holds(disk_grants(GRANTED_REQUESTS)), granted=(("queue-size", str(GRANTED_REQUESTS)),)
        ),
        Program.VTOOL_RING: Service({Transport.SHARED_MEMORY: ""}, None, ("BLK_DEV_NBD",), virtio=False),
    },
)
