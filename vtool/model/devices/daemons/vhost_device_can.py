"""CAN interfaces of the board's, by vhost-device-can."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.arguments import Lines, Wiring, as_virtio, numbered
from vtool.model.devices.base import Claim, Daemon, DeviceBase, Program, Service, built_by_hand, only_pci
from vtool.model.types import Model


class Can(Model):
    """The board's CAN interfaces; they must be up."""

    interfaces: Annotated[
        tuple[Annotated[str, Field(pattern=r"^v?can[0-9]{1,3}$", description="a CAN interface such as can0")], ...],
        Field(min_length=1),
    ]


@final
class CanDevice(DeviceBase):
    type: Literal["can"]
    can: Can

    def claims(self) -> Iterator[Claim]:
        """Yield what only one device can have."""
        for index, interface in enumerate(self.can.interfaces):
            yield Claim("CAN interface", interface, ("can", "interfaces", index))


def _arguments(device: CanDevice, at: Wiring) -> Lines:
    return numbered(at, ("-d", " ".join(device.can.interfaces)))


PROGRAM = Program("vhost-device-can")
DAEMON = Daemon(
    program=PROGRAM,
    packages={},
    executable=built_by_hand(PROGRAM),
    numbered_socket=True,
    serves=CanDevice,
    arguments=_arguments,
    address_families=("AF_UNIX", "AF_CAN"),
    # As the daemon has it.
    kvm=Service(only_pci("vhost-user-test-device-pci"), as_virtio(36, 3, 16), ("CAN_VIRTIO_CAN",), since=(10, 2)),
    xen=None,
)
