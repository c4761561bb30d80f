"""Sockets between guest and board, by vhost-device-vsock."""

from vtool.model.devices.arguments import Lines, Wiring, behind_socket
from vtool.model.devices.base import Daemon, Program, Service, Suite, both
from vtool.model.devices.types.vsock import VsockDevice


def _arguments(device: VsockDevice, at: Wiring) -> Lines:
    uds = ("--uds-path", f"{at.folder}/vsock.sock")
    return (("--guest-cid", str(device.vsock.cid)), ("--socket", at.listen), uds)


PROGRAM = Program("vhost-device-vsock")
DAEMON = Daemon(
    program=PROGRAM,
    packages={Suite.SID: "vhost-device-vsock"},
    executable="/usr/bin/vhost-device-vsock",
    serves=VsockDevice,
    arguments=_arguments,
    kvm=Service(both("vhost-user-vsock-device", "vhost-user-vsock-pci"), behind_socket, ("VIRTIO_VSOCKETS",)),
    xen=None,
)
