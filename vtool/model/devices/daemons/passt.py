"""Networks, by passt: the user's own, without a bridge."""

import ipaddress

from vtool.model.devices.arguments import Lines, Parts, QemuOption, Wiring, chardev, connection
from vtool.model.devices.base import SINCE_TRIXIE, Daemon, Program, Service, both
from vtool.model.devices.queues import NET_ENTRIES, QueueLimits
from vtool.model.devices.types.net import NetworkDevice, interface


def _behind(device: NetworkDevice, at: Wiring) -> Parts:
    net = QemuOption("-netdev", "vhost-user", (("id", f"net-{at.name}"), chardev(at)))
    return Parts((connection(at), net), interface(device, at))


def _arguments(device: NetworkDevice, at: Wiring) -> Lines:
    network = device.network
    ports: Lines = (("-t", ",".join(network.forward_tcp)),) if network.forward_tcp else ()
    addresses: Lines = ()
    if network.frontend_address:
        frontend, backend = (ipaddress.IPv4Interface(a) for a in (network.frontend_address, network.backend_address))
        addresses = (
            ("--ipv4-only", "--address", str(frontend.ip), "--netmask", str(frontend.netmask)),
            ("--gateway", str(backend.ip), "--map-host-loopback", str(backend.ip)),
        )
    return (("--foreground",), ("--vhost-user",), ("--socket", at.listen), *addresses, *ports)


DAEMON = Daemon(
    program=Program.PASST,
    packages=dict.fromkeys(SINCE_TRIXIE, "passt"),
    not_older="passt there has no --vhost-user",
    executable="/usr/bin/passt",
    serves=NetworkDevice,
    arguments=_arguments,
    self_sandboxed=True,
    without_bridge=True,
    # Its own, and what netlink tells it.
    address_families=("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"),
    # One pair (passt's vhost_user.h); unlike a tap's, its transmit queue can be longer, too.
    kvm=Service(
        both("virtio-net-device", "virtio-net-pci"),
        _behind,
        ("VIRTIO_NET",),
        queues=QueueLimits(1, NET_ENTRIES, size=("rx_queue_size", "tx_queue_size")),
    ),
    xen=None,
)
