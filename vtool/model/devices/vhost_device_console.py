"""A console, by vhost-device-console over TCP, or by QEMU."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.model.devices.base import (
    DaemonPlace,
    Program,
    Service,
    VhostUserDevice,
    Words,
    both,
    by_hand,
    numbered,
    only_pci,
)
from vtool.model.types import Model


class Console(Model):
    """Where vhost-device-console lets people in: a TCP port of the board."""

    tcp_port: Annotated[int, Field(ge=1024, le=65535)]


@final
class ConsoleDevice(VhostUserDevice):
    type: Literal["console"]
    console: Console | None = None

    @property
    def by_daemon(self) -> bool:
        """Whether the daemon serves it, which needs a port."""
        return self.program is PROGRAM

    address_families = ("AF_UNIX", "AF_INET", "AF_INET6")
    # virtio 1.3 §5.3: type, queues, bytes of configuration space.
    config = (("virtio-id", "3"), ("num_vqs", "4"), ("config_size", "12"))

    def claims(self) -> Iterator[tuple[str, tuple[str | int, ...]]]:
        """Yield what only one device can have."""
        if self.console is not None:
            yield f"TCP port {self.console.tcp_port}", ("console", "tcp_port")

    def daemon_arguments(self, at: DaemonPlace) -> Words:
        """Return the daemon's arguments."""
        assert self.console is not None
        return numbered(at, ("-b", "network"), ("-p", str(self.console.tcp_port)))


PROGRAM = Program("vhost-device-console")
FACTS = by_hand(PROGRAM, numbered=True)
UNDER_KVM = (
    Service(
        "console",
        PROGRAM,
        only_pci("vhost-user-test-device-pci"),
        ("VIRTIO_CONSOLE",),
        since=(10, 2),
    ),
    Service("console", Program.QEMU, both("virtio-serial-device", "virtio-serial-pci"), ("VIRTIO_CONSOLE",)),
)
UNDER_XEN: tuple[Service, ...] = ()
