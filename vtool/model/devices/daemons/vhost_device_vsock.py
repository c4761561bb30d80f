"""Sockets between guest and board, by vhost-device-vsock."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.arguments import Lines, Wiring, behind_socket
from vtool.model.devices.base import Claim, Daemon, DeviceBase, Program, Service, Suite, both
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


def _arguments(device: VsockDevice, at: Wiring) -> Lines:
    uds = ("--uds-path", f"{at.folder}/vsock.sock")
    return (("--guest-cid", str(device.vsock.cid)), ("--socket", at.listen), uds)


PROGRAM = Program("vhost-device-vsock")
DAEMON = Daemon(
    program=PROGRAM,
    packages={Suite.SID: "vhost-device-vsock"},
    executable="/usr/bin/vhost-device-vsock",
    serves=VsockDevice,
    arguments=_arguments,
    kvm=Service(both("vhost-user-vsock-device", "vhost-user-vsock-pci"), behind_socket, ("VIRTIO_VSOCKETS",)),
    xen=None,
)
