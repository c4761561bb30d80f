"""Input devices of the board's, by vhost-device-input."""

from vtool.model.devices.arguments import Lines, Wiring, behind_socket, socket_path
from vtool.model.devices.base import Daemon, Program, Service, both, built_by_hand
from vtool.model.devices.types.input import InputDevice


def _arguments(device: InputDevice, at: Wiring) -> Lines:
    return socket_path(at, ("-e", *device.board_nodes()))


PROGRAM = Program("vhost-device-input")
DAEMON = Daemon(
    program=PROGRAM,
    packages={},
    executable=built_by_hand(PROGRAM),
    serves=InputDevice,
    arguments=_arguments,
    kvm=Service(both("vhost-user-input", "vhost-user-input-pci"), behind_socket, ("VIRTIO_INPUT",)),
    xen=None,
)
