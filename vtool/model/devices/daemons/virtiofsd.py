"""Folders, by virtiofsd."""

from vtool.model.devices.arguments import LOCAL_FD, Lines, Parts, Wiring, chardev, connection
from vtool.model.devices.base import SINCE_TRIXIE, Daemon, Program, Readiness, Service, both, of_xen_virtio
from vtool.model.devices.queues import QEMU_ENTRIES, QueueLimits
from vtool.model.devices.types.fs import FileSystemDevice
from vtool.platform.xen_grants import TABLE_PAGES, ring_pages, virtio_holds


def _behind(_: FileSystemDevice, at: Wiring) -> Parts:
    return Parts((connection(at),), (chardev(at), ("tag", at.name)))


def _arguments(device: FileSystemDevice, at: Wiring) -> Lines:
    # The unit shuts it in, so it needs no namespaces of its own, and sets the limit on open files.
    own: Lines = (("--sandbox", "none"), ("--seccomp", "kill"), ("--rlimit-nofile", "0"), ("--cache", "auto"))
    # 1.14 tries them at its start, and the unit's filter of system calls kills it then; no other release needs them.
    own = (*own, ("--inode-file-handles=never",))
    read_only: Lines = (("--readonly",),) if device.share.read_only else ()
    # Under KVM, QEMU has the tag; elsewhere the daemon answers for it.
    tag: Lines = () if at.qemu_device else (("--tag", at.name),)
    return (("--shared-dir", at.share), ("--fd", LOCAL_FD), *own, *read_only, *tag)


# fs/fuse/virtio_fs.c: 256 pages and four headers a request; a second queue of single buffers. The queues are
# xen-vhost-frontend's (its fork of vhost-user-frontend, queue_num_and_size).
_GRANTS = 1024 * (256 + 1 + 4 + TABLE_PAGES) + 1024 * 2 + 2 * ring_pages(1024)
_ENTRIES = (8, QEMU_ENTRIES[1])
"""fs/fuse/virtio_fs.c keeps four for headers; virtiofsd has one request queue (vhost_user.rs, NUM_QUEUES)."""
DAEMON = Daemon(
    program=Program.VIRTIOFSD,
    packages=dict.fromkeys(SINCE_TRIXIE, "virtiofsd"),
    not_older="virtiofsd there is the C one of QEMU, with other options",
    executable="/usr/libexec/virtiofsd",
    readiness=Readiness.ACTIVATED,
    serves=FileSystemDevice,
    arguments=_arguments,
    changes_owners=True,
    kvm=Service(
        both("vhost-user-fs-device", "vhost-user-fs-pci"),
        _behind,
        ("VIRTIO_FS",),
        queues=QueueLimits(1, _ENTRIES, size=("queue-size",)),
    ),
    xen=of_xen_virtio(virtio_holds(_GRANTS), ("VIRTIO_FS",), "virtio,device26"),
)
