"""Consoles, by vhost-device-console over TCP."""

from vtool.model.devices.arguments import Lines, Wiring, as_virtio, numbered
from vtool.model.devices.base import Daemon, Program, Service, built_by_hand, only_pci
from vtool.model.devices.types.console import ConsoleDevice


def _arguments(device: ConsoleDevice, at: Wiring) -> Lines:
    assert device.console is not None and device.console.tcp_port is not None
    return numbered(at, ("-b", "network"), ("-p", str(device.console.tcp_port)))


PROGRAM = Program("vhost-device-console")
DAEMON = Daemon(
    program=PROGRAM,
    packages={},
    executable=built_by_hand(PROGRAM),
    numbered_socket=True,
    serves=ConsoleDevice,
    arguments=_arguments,
    address_families=("AF_UNIX", "AF_INET", "AF_INET6"),
    # virtio 1.3 §5.3.
    kvm=Service(only_pci("vhost-user-test-device-pci"), as_virtio(3, 4, 12), ("VIRTIO_CONSOLE",), since=(10, 2)),
    xen=None,
)
