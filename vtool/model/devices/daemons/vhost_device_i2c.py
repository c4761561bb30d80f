"""Addresses on an I2C bus of the board's, by vhost-device-i2c."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.arguments import Lines, Wiring, behind_socket, numbered
from vtool.model.devices.base import Claim, Daemon, DeviceBase, Program, Service, both, built_by_hand, of_xen_virtio
from vtool.model.types import Model
from vtool.platform.xen_grants import TABLE_PAGES, ring_pages, virtio_holds


class I2c(Model):
    """The board's I2C bus, N of ``/dev/i2c-N``, and the 7-bit addresses on it that the guest may talk to."""

    bus: Annotated[int, Field(ge=0, le=1023)]
    addresses: Annotated[tuple[Annotated[int, Field(ge=0x08, le=0x77)], ...], Field(min_length=1)]


@final
class I2cDevice(DeviceBase):
    type: Literal["i2c"]
    i2c: I2c

    def claims(self) -> Iterator[Claim]:
        """Yield what only one device can have."""
        for index, address in enumerate(self.i2c.addresses):
            yield Claim(f"I2C bus {self.i2c.bus} address", f"{address:#04x}", ("i2c", "addresses", index))

    def board_nodes(self) -> tuple[str, ...]:
        """Return the nodes that it takes."""
        return (f"/dev/i2c-{self.i2c.bus}",)


def _arguments(device: I2cDevice, at: Wiring) -> Lines:
    return numbered(at, ("-l", ":".join(str(number) for number in (device.i2c.bus, *device.i2c.addresses))))


# drivers/i2c/i2c-dev.c: 42 messages of 8 KiB at a time, each with two headers. The queue is xen-vhost-frontend's (its
# fork of vhost-user-frontend, queue_num_and_size).
_GRANTS = 42 * (3 + 2 + TABLE_PAGES) + ring_pages(1024)
PROGRAM = Program("vhost-device-i2c")
DAEMON = Daemon(
    program=PROGRAM,
    packages={},
    executable=built_by_hand(PROGRAM),
    numbered_socket=True,
    serves=I2cDevice,
    arguments=_arguments,
    kvm=Service(both("vhost-user-i2c-device", "vhost-user-i2c-pci"), behind_socket, ("I2C_VIRTIO",)),
    xen=of_xen_virtio(virtio_holds(_GRANTS), ("I2C_VIRTIO",), "virtio,device22"),
)
