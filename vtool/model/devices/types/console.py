"""Consoles, by QEMU at a socket; vhost-device-console, over TCP, has a file of its own."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, final

from pydantic import Field

from vtool.model.devices.arguments import Parts, QemuOption, Wiring
from vtool.model.devices.base import (
    BOARD_PORTS,
    FEW_BUFFERS_BYTES,
    Claim,
    Daemon,
    DeviceBase,
    DeviceType,
    Misfit,
    Program,
    Service,
    both,
    in_dom0,
)
from vtool.model.types import Model
from vtool.platform.xen_grants import ring_pages, virtio_holds


class Console(Model):
    """Where vhost-device-console lets people in: a TCP port of the board."""

    tcp_port: Annotated[int, Field(ge=BOARD_PORTS.start, le=BOARD_PORTS[-1])]


@final
class ConsoleDevice(DeviceBase):
    type: Literal["console"]
    console: Console | None = None

    pool_bytes = FEW_BUFFERS_BYTES

    def misfits(self, daemon: Daemon[Any] | None, *, by_a_guest: bool) -> Iterator[Misfit]:  # noqa: ARG002
        """Yield that a daemon needs the port, and nothing else has one."""
        if daemon is not None and self.console is None:
            yield Misfit((), needs="`console` with a `tcp_port`")
        elif daemon is None and self.console is not None:
            yield Misfit(("console",), no_effect=f"{self.program.value} offers a socket of its own")

    def claims(self) -> Iterator[Claim]:
        """Yield the port."""
        if self.console is not None:
            yield Claim("TCP port", self.console.tcp_port, ("console", "tcp_port"), BOARD_PORTS)


def _in_qemu(_: ConsoleDevice, at: Wiring) -> Parts:
    identity = f"port-{at.name}"
    socket = (("id", identity), ("path", at.port), ("server", "on"), ("wait", "off"))
    port = (("bus", f"device-{at.name}.0"), ("chardev", identity))
    return Parts((QemuOption("-chardev", "socket", socket),), (), (QemuOption("-device", "virtconsole", port),))


# hw/char/virtio-serial-bus.c: a port's two rings of 128, two of 32 for control, a page a buffer.
_GRANTS = 2 * (128 * 2 + ring_pages(128)) + 2 * (32 * 2 + ring_pages(32))
_BY_QEMU = Service(both("virtio-serial-device", "virtio-serial-pci"), _in_qemu, ("VIRTIO_CONSOLE",))
TYPE = DeviceType(
    ConsoleDevice,
    kvm={Program.QEMU: _BY_QEMU},
    xen={Program.QEMU_XENPVH: in_dom0(_BY_QEMU, virtio_holds(_GRANTS))},
)
