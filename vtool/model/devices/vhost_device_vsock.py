"""Sockets between guest and board, by vhost-device-vsock."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.base import DaemonPlace, Program, ProgramFacts, Service, Suite, VhostUserDevice, Words, both
from vtool.model.types import Model


class Vsock(Model):
    """A guest's address on vsock: 3 and up, one of a kind on its board (virtio 1.3 §5.10.4)."""

    cid: Annotated[int, Field(ge=3, le=0xFFFF_FFFE)]


@final
class VsockDevice(VhostUserDevice):
    type: Literal["vsock"]
    vsock: Vsock

    def claims(self) -> Iterator[tuple[str, tuple[str | int, ...]]]:
        """Yield what only one device can have."""
        yield f"vsock address {self.vsock.cid}", ("vsock", "cid")

    def daemon_arguments(self, at: DaemonPlace) -> Words:
        """Return the daemon's arguments."""
        uds = ("--uds-path", f"{at.folder}/vsock.sock")
        return (("--guest-cid", str(self.vsock.cid)), ("--socket", at.listen), uds)


PROGRAM = Program("vhost-device-vsock")
FACTS = ProgramFacts({Suite.SID: "vhost-device-vsock"}, "/usr/bin/vhost-device-vsock")
UNDER_KVM = (
    Service(
        "vsock",
        PROGRAM,
        both("vhost-user-vsock-device", "vhost-user-vsock-pci"),
        ("VIRTIO_VSOCKETS",),
    ),
)
UNDER_XEN: tuple[Service, ...] = ()
