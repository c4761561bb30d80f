"""Sockets between guest and board, by the board's Linux; vhost-device-vsock has a file of its own."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.arguments import Parts, Wiring
from vtool.model.devices.base import Claim, DeviceBase, DeviceType, Program, Service, both
from vtool.model.types import Model

_CIDS = range(3, 0xFFFF_FFFF)


class Vsock(Model):
    """A guest's address on vsock: 3 and up, one of a kind on its board (virtio 1.3 §5.10.4)."""

    cid: Annotated[int, Field(ge=_CIDS.start, le=_CIDS[-1])]


@final
class VsockDevice(DeviceBase):
    type: Literal["vsock"]
    vsock: Vsock

    def claims(self) -> Iterator[Claim]:
        """Yield what only one device can have."""
        yield Claim("vsock address", self.vsock.cid, ("vsock", "cid"), _CIDS)

    def common_nodes(self) -> tuple[str, ...]:
        """Return the node of Linux's backend, which is of the group kvm (udev's 50-udev-default.rules)."""
        return ("/dev/vhost-vsock",) if self.program is Program.VHOST_VSOCK else ()


def _in_linux(device: VsockDevice, _: Wiring) -> Parts:
    return Parts((), (("guest-cid", str(device.vsock.cid)),))


TYPE = DeviceType(
    VsockDevice,
    kvm={
        Program.VHOST_VSOCK: Service(
            both("vhost-vsock-device", "vhost-vsock-pci"),
            _in_linux,
            ("VIRTIO_VSOCKETS",),
            ends=("VIRTIO_VSOCKETS", "VHOST_VSOCK"),
        )
    },
    xen={},
)
