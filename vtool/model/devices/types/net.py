"""Networks: by QEMU on a tap, by Xen's netback, through a ring; passt has a file of its own."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, final

from pydantic import Field

from vtool.data_paths.facts import Transport
from vtool.model.devices.arguments import Pairs, Parts, QemuOption, Wiring, region_between
from vtool.model.devices.base import (
    BOARD_PORTS,
    Claim,
    Daemon,
    DeviceBase,
    DeviceType,
    Misfit,
    Program,
    Service,
    both,
    in_dom0,
    of_xen,
)
from vtool.model.types import MacAddress, Model
from vtool.platform.xen_grants import TABLE_PAGES, Held, ring_pages, virtio_holds


class Network(Model):
    """What is behind a network device: a bridge and the addresses used on both ends, or the user's network.

    The bridge is in the backend domain; in a driver domain its own root file system makes it. A ring is a link of
    two ends and needs both addresses, and no bridge.

    Addresses are written as ``192.0.2.1/24``. A bridge is needed by all programs but passt, which has
    none and instead forwards the board's TCP ports; with addresses it gives the frontend its own, and the
    backend's is then the board's loopback as the frontend sees it.
    """

    bridge: Annotated[
        str,
        Field(
            pattern=r"^[a-z][a-z0-9-]{0,14}$",
            description="a bridge name: a lower-case letter, then at most 14 lower-case letters, digits or '-'",
        ),
    ] = ""
    mac: MacAddress | None = None
    frontend_address: str = ""
    backend_address: str = ""
    forward_tcp: tuple[
        Annotated[
            str,
            Field(
                pattern=r"^[1-9][0-9]{0,4}:[1-9][0-9]{0,4}$", description="a port pair such as 2222:22, board's first"
            ),
        ],
        ...,
    ] = ()


@final
class NetworkDevice(DeviceBase):
    type: Literal["net"]
    network: Network

    def misfits(self, daemon: Daemon[Any] | None, *, by_a_guest: bool) -> Iterator[Misfit]:
        """Yield what is missing of, or means nothing to, who serves it: a bridge's two ends, a link's, or passt."""
        network, link = self.network, self.data_path.traits.carries_data
        without_bridge = daemon is not None and daemon.without_bridge
        needed: tuple[str, ...] = ("frontend_address", "backend_address")
        if without_bridge:
            needed = needed if any(getattr(network, key) for key in needed) else ()
        elif not link:  # the address of a driver domain's bridge is its own matter
            needed = ("bridge", *(needed[:1] if by_a_guest else needed))
        if network.forward_tcp and not without_bridge:
            yield Misfit(("network", "forward_tcp"), no_effect="only passt forwards ports")
        if network.bridge and (without_bridge or link):
            why = "a ring is a link of two ends" if link else f"{self.program.value} takes the board's own network"
            yield Misfit(("network", "bridge"), no_effect=why)
        if missing := [f"`{key}`" for key in needed if not getattr(network, key)]:
            yield Misfit(("network",), needs=" and ".join(missing))

    def claims(self) -> Iterator[Claim]:
        """Yield the board's ports that it forwards."""
        for index, pair in enumerate(self.network.forward_tcp):
            yield Claim("TCP port", int(pair.split(":")[0]), ("network", "forward_tcp", index), BOARD_PORTS)

    def root_kind(self) -> str:
        """Return that NFS may go through it."""
        return "net"


def interface(device: NetworkDevice, at: Wiring) -> Pairs:
    """Return the keys of an interface on a ``-netdev`` of its name."""
    pairs: Pairs = (("netdev", f"net-{at.name}"), ("mac", at.mac))
    # Without an empty romfile, a machine that lacks the option ROMs does not start.
    return (*pairs, ("romfile", "")) if device.transport is Transport.PCI else pairs


def _in_qemu(device: NetworkDevice, at: Wiring) -> Parts:
    script = (("script", "no"), ("downscript", "no"), ("vhost", "off"))
    tap = QemuOption("-netdev", "tap", (("id", f"net-{at.name}"), ("ifname", at.tap), *script))
    return Parts((tap,), interface(device, at))


_QUEUES = 8
"""MAX_QUEUES_DEFAULT; fewer where the domain has fewer CPUs."""
_ENTRIES = 256
"""NET_TX_RING_SIZE and NET_RX_RING_SIZE."""


def _by_netback(cpus: int) -> Held:
    # drivers/net/xen-netfront.c: both rings full, two event channels a queue. The backend maps what it sends out and
    # its rings; Xen copies the rest.
    queues = min(cpus, _QUEUES)
    return Held(queues * (2 * _ENTRIES + 2), queues * (_ENTRIES + 2), 2 * queues)


_PACKET_PAGES = 2 * 18
"""drivers/net/virtio_net.c: MAX_SKB_FRAGS 17 fragments and the head, each across two pages."""
# As QEMU has it with one queue pair, which is what it gives a virtio-mmio device: a receive ring of buffers within two
# pages, a transmit ring of whole packets, 64 control messages.
_GRANTS = 256 * 2 + 256 * (_PACKET_PAGES + TABLE_PAGES) + 64 * 4 + 2 * ring_pages(256) + ring_pages(64)
_BY_QEMU = Service(both("virtio-net-device", "virtio-net-pci"), _in_qemu, ("VIRTIO_NET",))
TYPE = DeviceType(
    NetworkDevice,
    kvm={
        Program.QEMU: _BY_QEMU,
        Program.VTOOL_RING: Service({Transport.SHARED_MEMORY: "ivshmem-plain"}, region_between, ("TUN",), virtio=False),
    },
    xen={
        Program.NETBACK: of_xen(_by_netback, ends=("XEN_NETDEV_FRONTEND", "XEN_NETDEV_BACKEND")),
        Program.QEMU_XENPVH: in_dom0(_BY_QEMU, virtio_holds(_GRANTS)),
        Program.VTOOL_RING: Service({Transport.SHARED_MEMORY: ""}, None, ("TUN",), virtio=False),
    },
)
