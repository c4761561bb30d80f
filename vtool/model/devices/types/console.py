"""Consoles and named ports, by QEMU at a socket; vhost-device-console, over TCP, has a file of its own."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, final

from pydantic import Field

from vtool.base.units import PAGE_BYTES
from vtool.model.devices.arguments import Pairs, Parts, QemuOption, Wiring
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
from vtool.platform.layouts import SWIOTLB_SEGMENT_BYTES
from vtool.platform.xen_grants import ring_pages, virtio_holds


class Console(Model):
    """Where vhost-device-console lets people in, a TCP port of the board; or the name of a port that is no console.

    By its ``port_name`` a program in the guest finds it (virtio 1.3 §5.3.6.2, VIRTIO_CONSOLE_PORT_NAME): that of
    QEMU's guest agent is ``org.qemu.guest_agent.0``. The board's end is the same socket.
    """

    tcp_port: Annotated[int, Field(ge=BOARD_PORTS.start, le=BOARD_PORTS[-1])] | None = None
    port_name: (
        Annotated[
            str,
            Field(
                pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
                description="the name of a port: at most 64 letters, digits, '.', '_' or '-'",
            ),
        ]
        | None
    ) = None


@final
class ConsoleDevice(DeviceBase):
    type: Literal["console"]
    console: Console | None = None

    pool_bytes = FEW_BUFFERS_BYTES

    def least_of_pool(self, entries: int) -> int:
        """Return what its two receive rings hold, of the port and of control: a page an entry."""
        return super().least_of_pool(entries) + 2 * entries * PAGE_BYTES

    def spread_in_pool(self, entries: int) -> int:
        """Return the segments of the port's buffers, each of which it hands over again by itself, wherever that is."""
        return entries * SWIOTLB_SEGMENT_BYTES

    def misfits(self, daemon: Daemon[Any] | None, *, by_a_guest: bool) -> Iterator[Misfit]:  # noqa: ARG002
        """Yield that a daemon needs the TCP port, and nothing else has one; that a daemon's has no name."""
        tcp_port, name = (self.console.tcp_port, self.console.port_name) if self.console else (None, None)
        if daemon is not None and tcp_port is None:
            yield Misfit((), needs="`console` with a `tcp_port`")
        elif daemon is None and tcp_port is not None:
            yield Misfit(("console", "tcp_port"), no_effect=f"{self.program.value} offers a socket of its own")
        if daemon is not None and name is not None:
            yield Misfit(("console", "port_name"), no_effect=f"{self.program.value} serves a console")

    def claims(self) -> Iterator[Claim]:
        """Yield the port."""
        if self.console is not None and self.console.tcp_port is not None:
            yield Claim("TCP port", self.console.tcp_port, ("console", "tcp_port"), BOARD_PORTS)


def _in_qemu(device: ConsoleDevice, at: Wiring) -> Parts:
    identity, name = f"port-{at.name}", device.console.port_name if device.console else None
    socket = (("id", identity), ("path", at.port), ("server", "on"), ("wait", "off"))
    port: Pairs = (("bus", f"device-{at.name}.0"), ("chardev", identity))
    end = QemuOption("-device", "virtserialport", (*port, ("name", name))) if name else None
    return Parts((QemuOption("-chardev", "socket", socket),), (), (end or QemuOption("-device", "virtconsole", port),))


# hw/char/virtio-serial-bus.c: a port's two rings of 128, two of 32 for control, a page a buffer.
_GRANTS = 2 * (128 * 2 + ring_pages(128)) + 2 * (32 * 2 + ring_pages(32))
_BY_QEMU = Service(both("virtio-serial-device", "virtio-serial-pci"), _in_qemu, ("VIRTIO_CONSOLE",))
TYPE = DeviceType(
    ConsoleDevice,
    kvm={Program.QEMU: _BY_QEMU},
    xen={Program.QEMU_XENPVH: in_dom0(_BY_QEMU, virtio_holds(_GRANTS))},
)
