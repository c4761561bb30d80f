"""Disks of Xen guests, by virtio-disk: grants or foreign mappings, as the addresses say.

xen-troops/virtio-disk, branch virtio_next.
"""

from vtool.data_paths.facts import Transport
from vtool.model.devices.arguments import Lines, Wiring
from vtool.model.devices.base import Daemon, Program, Service, built_by_hand
from vtool.model.devices.types.blk import BlockDevice


def _arguments(_: BlockDevice, at: Wiring) -> Lines:
    # xvda is 202 << 8, the next one 16 on (Xen docs/man/xen-vbd-interface.7).
    return (("-d", str((202 << 8) + ((ord(at.xen_disk[-1]) - ord("a")) << 4))),)


DAEMON = Daemon(
    program=Program.VIRTIO_DISK,
    packages={},
    executable=built_by_hand(Program.VIRTIO_DISK),
    vhost_user=False,
    serves=BlockDevice,
    arguments=_arguments,
    kvm=None,
    xen=Service({Transport.MMIO: ""}, None, ("VIRTIO_BLK",)),
)
