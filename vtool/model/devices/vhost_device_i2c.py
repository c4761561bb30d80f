"""Addresses on an I2C bus of the board's, by vhost-device-i2c."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.data_paths.facts import Transport
from vtool.model.devices.base import DaemonPlace, Program, Service, VhostUserDevice, Words, both, by_hand, numbered
from vtool.model.types import Model


class I2c(Model):
    """The board's I2C bus, N of ``/dev/i2c-N``, and the 7-bit addresses on it that the guest may talk to."""

    bus: Annotated[int, Field(ge=0, le=1023)]
    addresses: Annotated[tuple[Annotated[int, Field(ge=0x08, le=0x77)], ...], Field(min_length=1)]


@final
class I2cDevice(VhostUserDevice):
    type: Literal["i2c"]
    i2c: I2c

    def claims(self) -> Iterator[tuple[str, tuple[str | int, ...]]]:
        """Yield what only one device can have."""
        for index, address in enumerate(self.i2c.addresses):
            yield f"address {address:#04x} of I2C bus {self.i2c.bus}", ("i2c", "addresses", index)

    def board_nodes(self) -> tuple[str, ...]:
        """Return the nodes that it takes."""
        return (f"/dev/i2c-{self.i2c.bus}",)

    def daemon_arguments(self, at: DaemonPlace) -> Words:
        """Return the daemon's arguments."""
        return numbered(at, ("-l", ":".join(str(number) for number in (self.i2c.bus, *self.i2c.addresses))))


PROGRAM = Program("vhost-device-i2c")
FACTS = by_hand(PROGRAM, numbered=True)
UNDER_KVM = (Service("i2c", PROGRAM, both("vhost-user-i2c-device", "vhost-user-i2c-pci"), ("I2C_VIRTIO",)),)
UNDER_XEN = (Service("i2c", PROGRAM, {Transport.MMIO: ""}, ("I2C_VIRTIO",), xl_type="virtio,device22"),)
