"""SCSI disks, by vhost-device-scsi or QEMU."""

from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.base import (
    DaemonPlace,
    Disk,
    Program,
    Service,
    VhostUserDevice,
    Words,
    both,
    by_hand,
    socket_path,
)
from vtool.model.types import Model


class Scsi(Model):
    """The disks of a SCSI host, in the order of their LUNs."""

    disks: Annotated[tuple[Disk, ...], Field(min_length=1, max_length=256)]


@final
class ScsiDevice(VhostUserDevice):
    type: Literal["scsi"]
    scsi: Scsi

    def daemon_arguments(self, at: DaemonPlace) -> Words:
        """Return the daemon's arguments."""
        return socket_path(at, *((path,) for path in at.disks))


PROGRAM = Program("vhost-device-scsi")
FACTS = by_hand(PROGRAM)
UNDER_KVM = (
    Service(
        "scsi",
        PROGRAM,
        both("vhost-user-scsi", "vhost-user-scsi-pci"),
        ("SCSI_VIRTIO", "BLK_DEV_SD"),
    ),
    Service("scsi", Program.QEMU, both("virtio-scsi-device", "virtio-scsi-pci"), ("SCSI_VIRTIO", "BLK_DEV_SD")),
)
UNDER_XEN: tuple[Service, ...] = ()
