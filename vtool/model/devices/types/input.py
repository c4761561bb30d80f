"""Input devices of the board's, by QEMU; vhost-device-input has a file of its own."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.arguments import Parts, Wiring
from vtool.model.devices.base import Claim, DeviceBase, DeviceType, Program, Service, both, in_dom0
from vtool.model.types import Model
from vtool.platform.xen_grants import ring_pages, virtio_holds


class Input(Model):
    """The board's input device: N of ``/dev/input/eventN``."""

    event: Annotated[int, Field(ge=0, le=1023)]


@final
class InputDevice(DeviceBase):
    type: Literal["input"]
    input: Input

    def claims(self) -> Iterator[Claim]:
        """Yield what only one device can have."""
        yield Claim("input device", self.input.event, ("input", "event"))

    def board_nodes(self) -> tuple[str, ...]:
        """Return the nodes that it takes."""
        return (f"/dev/input/event{self.input.event}",)


def _in_qemu(device: InputDevice, _: Wiring) -> Parts:
    return Parts((), (("evdev", device.board_nodes()[0]),))


_BY_QEMU = Service(both("virtio-input-host-device", "virtio-input-host-pci"), _in_qemu, ("VIRTIO_INPUT",))
TYPE = DeviceType(
    InputDevice,
    kvm={Program.QEMU: _BY_QEMU},
    xen={Program.QEMU_XENPVH: in_dom0(_BY_QEMU, virtio_holds(2 * (64 * 2 + ring_pages(64))))},
)
