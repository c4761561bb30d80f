"""An SPI device of the board's, by vhost-device-spi."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.base import DaemonPlace, Program, Service, VhostUserDevice, Words, by_hand, numbered, only_pci
from vtool.model.types import Model


class Spi(Model):
    """The board's SPI device: B and C of ``/dev/spidevB.C``."""

    bus: Annotated[int, Field(ge=0, le=1023)]
    chip_select: Annotated[int, Field(ge=0, le=255)]


@final
class SpiDevice(VhostUserDevice):
    type: Literal["spi"]
    spi: Spi

    def claims(self) -> Iterator[tuple[str, tuple[str | int, ...]]]:
        """Yield what only one device can have."""
        yield f"SPI device {self.spi.bus}.{self.spi.chip_select}", ("spi", "bus")

    def board_nodes(self) -> tuple[str, ...]:
        """Return the nodes that it takes."""
        return (f"/dev/spidev{self.spi.bus}.{self.spi.chip_select}",)

    def daemon_arguments(self, at: DaemonPlace) -> Words:
        """Return the daemon's arguments."""
        return numbered(at, ("-l", *self.board_nodes()))


PROGRAM = Program("vhost-device-spi")
FACTS = by_hand(PROGRAM, numbered=True)
UNDER_KVM = (Service("spi", PROGRAM, only_pci("vhost-user-spi-pci"), ("SPI_VIRTIO",), since=(11, 1)),)
UNDER_XEN: tuple[Service, ...] = ()
