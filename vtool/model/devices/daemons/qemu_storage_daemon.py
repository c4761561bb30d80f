"""Disks, by qemu-storage-daemon."""

from vtool.model.devices.arguments import Lines, Parts, QemuOption, Wiring, block_nodes, chardev, connection
from vtool.model.devices.base import SINCE_TRIXIE, Daemon, Program, Readiness, Service, Suite, both
from vtool.model.devices.queues import QEMU_ENTRIES, VHOST_USER_MOST, QueueLimits
from vtool.model.devices.types.blk import BlockDevice


def _behind(device: BlockDevice, at: Wiring) -> Parts:
    return Parts((connection(at),), (chardev(at), ("num-queues", str(device.queues or 1))))


def _arguments(device: BlockDevice, at: Wiring) -> Lines:
    export = (
        ("type", "vhost-user-blk"),
        ("id", at.name),
        ("node-name", "disk"),
        ("addr.type", "unix"),
        ("addr.path", at.listen),
        ("writable", "off" if at.disks[0].read_only else "on"),
        ("num-queues", str(device.queues or 1)),
    )
    return (
        ("--daemonize",),
        ("--pidfile", f"{at.folder}/qsd.pid"),
        *block_nodes("disk", at.disks[0], "--blockdev", "file"),
        QemuOption("--export", "", export),
    )


DAEMON = Daemon(
    program=Program.QEMU_STORAGE_DAEMON,
    packages={Suite.BOOKWORM: "qemu-system-common", **dict.fromkeys(SINCE_TRIXIE, "qemu-utils")},
    executable="/usr/bin/qemu-storage-daemon",
    readiness=Readiness.FORKS,
    serves=BlockDevice,
    arguments=_arguments,
    kvm=Service(
        both("vhost-user-blk", "vhost-user-blk-pci"),
        _behind,
        ("VIRTIO_BLK",),
        reconnects=True,
        queues=QueueLimits(VHOST_USER_MOST, QEMU_ENTRIES, size=("queue-size",)),
    ),
    xen=None,
)
