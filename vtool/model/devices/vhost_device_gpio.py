"""A GPIO chip of the board's, by vhost-device-gpio."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.data_paths.facts import Transport
from vtool.model.devices.base import DaemonPlace, Program, Service, VhostUserDevice, Words, both, by_hand, numbered
from vtool.model.types import Model


class Gpio(Model):
    """The board's GPIO chip: N of ``/dev/gpiochipN``."""

    chip: Annotated[int, Field(ge=0, le=1023)]


@final
class GpioDevice(VhostUserDevice):
    type: Literal["gpio"]
    gpio: Gpio

    def claims(self) -> Iterator[tuple[str, tuple[str | int, ...]]]:
        """Yield what only one device can have."""
        yield f"GPIO chip {self.gpio.chip}", ("gpio", "chip")

    def board_nodes(self) -> tuple[str, ...]:
        """Return the nodes that it takes."""
        return (f"/dev/gpiochip{self.gpio.chip}",)

    def daemon_arguments(self, at: DaemonPlace) -> Words:
        """Return the daemon's arguments."""
        return numbered(at, ("-l", str(self.gpio.chip)))


PROGRAM = Program("vhost-device-gpio")
FACTS = by_hand(PROGRAM, numbered=True)
UNDER_KVM = (Service("gpio", PROGRAM, both("vhost-user-gpio-device", "vhost-user-gpio-pci"), ("GPIO_VIRTIO",)),)
UNDER_XEN = (Service("gpio", PROGRAM, {Transport.MMIO: ""}, ("GPIO_VIRTIO",), xl_type="virtio,device29"),)
