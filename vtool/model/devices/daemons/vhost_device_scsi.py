"""SCSI disks, by vhost-device-scsi."""

from vtool.model.devices.arguments import Lines, Wiring, behind_socket, socket_path
from vtool.model.devices.base import Daemon, Program, Service, both, built_by_hand
from vtool.model.devices.types.scsi import KERNEL, ScsiDevice


def _arguments(_device: ScsiDevice, at: Wiring) -> Lines:
    return socket_path(at, *((disk.path,) for disk in at.disks))


PROGRAM = Program("vhost-device-scsi")
DAEMON = Daemon(
    program=PROGRAM,
    packages={},
    executable=built_by_hand(PROGRAM),
    serves=ScsiDevice,
    arguments=_arguments,
    kvm=Service(both("vhost-user-scsi", "vhost-user-scsi-pci"), behind_socket, KERNEL),
    xen=None,
)
