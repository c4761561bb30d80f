"""Disks: by QEMU, by Xen's blkback, through a ring; qemu-storage-daemon and virtio-disk have files of their own."""

from collections.abc import Iterator
from typing import Literal, final

from vtool.data_paths.facts import Transport
from vtool.model.devices.arguments import Parts, Wiring, block_nodes, region_between
from vtool.model.devices.base import DeviceBase, DeviceType, Disk, Program, Service, both, in_dom0
from vtool.model.types import BlockDevicePath
from vtool.platform.xen_grants import GRANTED_REQUESTS
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


def _in_qemu(_: BlockDevice, at: Wiring) -> Parts:
    node = f"disk-{at.name}"
    return Parts(block_nodes(node, at.disks[0]), (("drive", node),))


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
        Program.BLKBACK: Service({Transport.XENBUS: ""}, None, virtio=False),
        Program.QEMU_XENPVH: in_dom0(_BY_QEMU, granted=(("queue-size", str(GRANTED_REQUESTS)),)),
        Program.VTOOL_RING: Service({Transport.SHARED_MEMORY: ""}, None, ("BLK_DEV_NBD",), virtio=False),
    },
)
