"""Disks of Xen guests, by virtio-disk: grants or foreign mappings, as the addresses say.

xen-troops/virtio-disk, branch virtio_next.
"""

from vtool.model.devices.arguments import Lines, Wiring
from vtool.model.devices.base import Daemon, Program, built_by_hand, of_xen_virtio
from vtool.model.devices.types.blk import BlockDevice
from vtool.platform.xen_disks import vbd_number
from vtool.platform.xen_grants import disk_grants, virtio_holds


def _arguments(_: BlockDevice, at: Wiring) -> Lines:
    return (("-d", str(vbd_number(at.xen_disk))),)


_REQUESTS = 256
"""virtio/blk.c of virtio-disk, VIRTIO_BLK_QUEUE_SIZE."""
DAEMON = Daemon(
    program=Program.VIRTIO_DISK,
    packages={},
    executable=built_by_hand(Program.VIRTIO_DISK),
    vhost_user=False,
    one_guest="it serves the newest domain with a disk of that name and cannot be told which",
    serves=BlockDevice,
    arguments=_arguments,
    kvm=None,
    xen=of_xen_virtio(virtio_holds(disk_grants(_REQUESTS, _REQUESTS)), ("VIRTIO_BLK",)),
)
