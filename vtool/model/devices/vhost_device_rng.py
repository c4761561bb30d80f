"""Random numbers, by vhost-device-rng or QEMU."""

from typing import Literal, final

from vtool.model.devices.base import DaemonPlace, Program, Service, VhostUserDevice, Words, both, by_hand, numbered


@final
class RandomDevice(VhostUserDevice):
    type: Literal["rng"]

    def daemon_arguments(self, at: DaemonPlace) -> Words:
        """Return the daemon's arguments."""
        return numbered(at, ("-f", "/dev/urandom"))


PROGRAM = Program("vhost-device-rng")
FACTS = by_hand(PROGRAM, numbered=True)
UNDER_KVM = (
    Service("rng", PROGRAM, both("vhost-user-rng", "vhost-user-rng-pci"), ("HW_RANDOM_VIRTIO",)),
    Service("rng", Program.QEMU, both("virtio-rng-device", "virtio-rng-pci"), ("HW_RANDOM_VIRTIO",)),
)
UNDER_XEN: tuple[Service, ...] = ()
