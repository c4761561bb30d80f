"""CAN interfaces of the board's, by vhost-device-can."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.base import DaemonPlace, Program, Service, VhostUserDevice, Words, by_hand, numbered, only_pci
from vtool.model.types import Model


class Can(Model):
    """The board's CAN interfaces; they must be up."""

    interfaces: Annotated[
        tuple[Annotated[str, Field(pattern=r"^v?can[0-9]{1,3}$", description="a CAN interface such as can0")], ...],
        Field(min_length=1),
    ]


@final
class CanDevice(VhostUserDevice):
    type: Literal["can"]
    can: Can

    address_families = ("AF_UNIX", "AF_CAN")
    # The CAN device of the daemon: type, queues, bytes of configuration space.
    config = (("virtio-id", "36"), ("num_vqs", "3"), ("config_size", "16"))

    def claims(self) -> Iterator[tuple[str, tuple[str | int, ...]]]:
        """Yield what only one device can have."""
        for index, interface in enumerate(self.can.interfaces):
            yield f"CAN interface {interface}", ("can", "interfaces", index)

    def daemon_arguments(self, at: DaemonPlace) -> Words:
        """Return the daemon's arguments."""
        return numbered(at, ("-d", " ".join(self.can.interfaces)))


PROGRAM = Program("vhost-device-can")
FACTS = by_hand(PROGRAM, numbered=True)
UNDER_KVM = (Service("can", PROGRAM, only_pci("vhost-user-test-device-pci"), ("CAN_VIRTIO_CAN",), since=(10, 2)),)
UNDER_XEN: tuple[Service, ...] = ()
