"""Random numbers, by vhost-device-rng."""

from vtool.model.devices.arguments import Lines, Wiring, behind_socket, numbered
from vtool.model.devices.base import Daemon, Program, Service, both, built_by_hand
from vtool.model.devices.types.rng import RandomDevice


def _arguments(_device: RandomDevice, at: Wiring) -> Lines:
    return numbered(at, ("-f", "/dev/urandom"))


PROGRAM = Program("vhost-device-rng")
DAEMON = Daemon(
    program=PROGRAM,
    packages={},
    executable=built_by_hand(PROGRAM),
    numbered_socket=True,
    serves=RandomDevice,
    arguments=_arguments,
    kvm=Service(both("vhost-user-rng", "vhost-user-rng-pci"), behind_socket, ("HW_RANDOM_VIRTIO",)),
    xen=None,
)
