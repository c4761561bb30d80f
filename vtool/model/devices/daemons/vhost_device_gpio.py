"""A GPIO chip of the board's, by vhost-device-gpio."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.arguments import Lines, Wiring, behind_socket, numbered
from vtool.model.devices.base import Claim, Daemon, DeviceBase, Program, Service, both, built_by_hand, of_xen_virtio
from vtool.model.types import Model
from vtool.platform.xen_grants import ring_pages, virtio_holds


class Gpio(Model):
    """The board's GPIO chip: N of ``/dev/gpiochipN``."""

    chip: Annotated[int, Field(ge=0, le=1023)]


@final
class GpioDevice(DeviceBase):
    type: Literal["gpio"]
    gpio: Gpio

    def claims(self) -> Iterator[Claim]:
        """Yield what only one device can have."""
        yield Claim("GPIO chip", self.gpio.chip, ("gpio", "chip"))

    def board_nodes(self) -> tuple[str, ...]:
        """Return the nodes that it takes."""
        return (f"/dev/gpiochip{self.gpio.chip}",)


def _arguments(device: GpioDevice, at: Wiring) -> Lines:
    return numbered(at, ("-l", str(device.gpio.chip)))


# The queues of xen-vhost-frontend (its fork of vhost-user-frontend, queue_num_and_size).
_GRANTS = 2 * (256 * 2 + ring_pages(256))
PROGRAM = Program("vhost-device-gpio")
DAEMON = Daemon(
    program=PROGRAM,
    packages={},
    executable=built_by_hand(PROGRAM),
    numbered_socket=True,
    serves=GpioDevice,
    arguments=_arguments,
    kvm=Service(both("vhost-user-gpio-device", "vhost-user-gpio-pci"), behind_socket, ("GPIO_VIRTIO",)),
    xen=of_xen_virtio(virtio_holds(_GRANTS), ("GPIO_VIRTIO",), "virtio,device29"),
)
