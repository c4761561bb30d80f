"""An input device of the board's, by vhost-device-input or QEMU."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.base import DaemonPlace, Program, Service, VhostUserDevice, Words, both, by_hand, socket_path
from vtool.model.types import Model


class Input(Model):
    """The board's input device: N of ``/dev/input/eventN``."""

    event: Annotated[int, Field(ge=0, le=1023)]


@final
class InputDevice(VhostUserDevice):
    type: Literal["input"]
    input: Input

    def claims(self) -> Iterator[tuple[str, tuple[str | int, ...]]]:
        """Yield what only one device can have."""
        yield f"input device {self.input.event}", ("input", "event")

    def board_nodes(self) -> tuple[str, ...]:
        """Return the nodes that it takes."""
        return (f"/dev/input/event{self.input.event}",)

    def daemon_arguments(self, at: DaemonPlace) -> Words:
        """Return the daemon's arguments."""
        return socket_path(at, ("-e", *self.board_nodes()))


PROGRAM = Program("vhost-device-input")
FACTS = by_hand(PROGRAM)
UNDER_KVM = (
    Service("input", PROGRAM, both("vhost-user-input", "vhost-user-input-pci"), ("VIRTIO_INPUT",)),
    Service("input", Program.QEMU, both("virtio-input-host-device", "virtio-input-host-pci"), ("VIRTIO_INPUT",)),
)
UNDER_XEN: tuple[Service, ...] = ()
