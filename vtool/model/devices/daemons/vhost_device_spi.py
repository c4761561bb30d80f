"""An SPI device of the board's, by vhost-device-spi."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.arguments import Lines, Wiring, behind_socket, numbered
from vtool.model.devices.base import Claim, Daemon, DeviceBase, Program, Service, built_by_hand, only_pci
from vtool.model.types import Model


class Spi(Model):
    """The board's SPI device: B and C of ``/dev/spidevB.C``."""

    bus: Annotated[int, Field(ge=0, le=1023)]
    chip_select: Annotated[int, Field(ge=0, le=255)]


@final
class SpiDevice(DeviceBase):
    type: Literal["spi"]
    spi: Spi

    def claims(self) -> Iterator[Claim]:
        """Yield what only one device can have."""
        yield Claim("SPI device", f"{self.spi.bus}.{self.spi.chip_select}", ("spi", "bus"))

    def board_nodes(self) -> tuple[str, ...]:
        """Return the nodes that it takes."""
        return (f"/dev/spidev{self.spi.bus}.{self.spi.chip_select}",)


def _arguments(device: SpiDevice, at: Wiring) -> Lines:
    return numbered(at, ("-l", *device.board_nodes()))


PROGRAM = Program("vhost-device-spi")
DAEMON = Daemon(
    program=PROGRAM,
    packages={},
    executable=built_by_hand(PROGRAM),
    numbered_socket=True,
    serves=SpiDevice,
    arguments=_arguments,
    kvm=Service(only_pci("vhost-user-spi-pci"), behind_socket, ("SPI_VIRTIO",), since=(11, 1)),
    xen=None,
)
