"""Networks: by QEMU on a tap, by Xen's netback, through a ring; passt has a file of its own."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, final

from pydantic import Field

from vtool.base.units import KIB, MIB, align_up
from vtool.data_paths.facts import Transport
from vtool.model.devices.arguments import (
    Pairs,
    Parts,
    QemuOption,
    Wiring,
    chardev,
    connection,
    region_between,
)
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
from vtool.model.devices.queues import NET_ENTRIES, TAP_MOST, VHOST_USER_MOST, QueueLimits
from vtool.model.types import MacAddress, Model
from vtool.platform.layouts import SWIOTLB_SEGMENT_BYTES
from vtool.platform.xen_grants import TABLE_PAGES, Held, ring_pages

BY_DHCP, NO_ADDRESS = "dhcp", "none"
InterfaceName = Annotated[
    str,
    Field(
        pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,14})?$",
        description="the name of an interface of the board: at most 15 letters, digits, '.', '_' or '-'",
    ),
]


class Network(Model):
    """What is behind a network device: a bridge, an interface of the board's own, or the user's network.

    The bridge is in the backend domain; in a driver domain its own root file system makes it. One that is ``existing``
    is the board's, made by another tool; into one with an ``uplink`` goes that interface, with the board's addresses.
    ``direct`` is an interface that QEMU is on without a bridge (macvtap). A ring is a link of two ends and needs both
    addresses, and no bridge.

    Addresses are written as ``192.0.2.1/24``, that of the frontend also as ``dhcp``, or ``none`` where it is nobody's
    business. A bridge is needed by all programs but passt, which has none and instead forwards the board's TCP ports;
    with addresses it gives the frontend its own, and the backend's is then the board's loopback as the frontend sees
    it.
    """

    bridge: Annotated[
        str,
        Field(
            pattern=r"^[a-z][a-z0-9-]{0,14}$",
            description="a bridge name: a lower-case letter, then at most 14 lower-case letters, digits or '-'",
        ),
    ] = ""
    existing: bool = False
    uplink: InterfaceName = ""
    direct: InterfaceName = ""
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

    @property
    def has_no_fixed_address(self) -> bool:
        """Whether it is said that the frontend has no address, or one that nobody knows before."""
        return self.frontend_address in (BY_DHCP, NO_ADDRESS)

    @property
    def fixed_address(self) -> str:
        """Return the frontend's address where it is a fixed one, or nothing."""
        return "" if self.has_no_fixed_address else self.frontend_address


_ENTRIES = 256
"""NET_TX_RING_SIZE and NET_RX_RING_SIZE of Xen's; QEMU's own, too."""
_RECEIVED_BYTES = 5 * KIB
"""What an entry of a receive ring holds of a pool: a buffer of up to a page, and the last of 32 KiB what is left over
(Linux drivers/net/virtio_net.c add_recvbuf_mergeable). Idle rings of 1024 took 1 or 2 slots of 2 KiB an entry."""
_SENT_BYTES = 2 * MIB
"""What it has of a pool for what it sends: 30 packets of 64 KiB."""
_SPREAD_BYTES = 12 * KIB
"""In so much of a pool it keeps some segment from being free: buffers are handed over again by more than 32 at a time
(virtnet_receive), which lie in one segment or across the border of two."""


@final
class NetworkDevice(DeviceBase):
    type: Literal["net"]
    network: Network

    pool_bytes = _SENT_BYTES

    @property
    def multi_queue(self) -> bool:
        """Whether it has several pairs of queues."""
        return (self.queues or 1) > 1

    def misfits(self, daemon: Daemon[Any] | None, *, by_a_guest: bool) -> Iterator[Misfit]:
        """Yield what is missing of, or means nothing to, who serves it: a bridge's two ends, a link's, or passt."""
        if self.program is Program.VHOST_USER:
            yield from self._of_another_misfits()
            return
        network, link = self.network, self.data_path.traits.carries_data
        without_bridge = link or (daemon is not None and daemon.without_bridge)
        needed: tuple[str, ...] = ("frontend_address", "backend_address")
        if without_bridge and not link:
            needed = needed if any(getattr(network, key) for key in needed) else ()
        elif network.direct:
            needed = needed[:1]
        elif not link:
            # The address of a driver domain's bridge is its own matter, that of a bridge of the board's the board's.
            elsewhere = by_a_guest or network.existing or network.uplink or network.has_no_fixed_address
            needed = ("bridge", *(needed[:1] if elsewhere else needed))
        if network.forward_tcp and (link or not without_bridge):
            yield Misfit(("network", "forward_tcp"), no_effect="only passt forwards ports")
        yield from self._bridge_misfits(without_bridge=without_bridge, by_a_guest=by_a_guest)
        if without_bridge and network.has_no_fixed_address:
            why = "a ring is a link of two ends" if link else f"{self.program.value} gives the frontend its address"
            yield Misfit(("network", "frontend_address"), no_effect=why, hint="write an address such as 192.0.2.2/24")
        if missing := [f"`{key}`" for key in needed if not getattr(network, key)]:
            yield Misfit(("network",), needs=" and ".join(missing))

    def _of_another_misfits(self) -> Iterator[Misfit]:
        """Yield what means nothing where another tool's switch has the other end."""
        network = self.network
        for key in ("bridge", "existing", "uplink", "direct", "backend_address", "forward_tcp"):
            if getattr(network, key):
                yield Misfit(("network", key), no_effect="the other end is up to the daemon at its `socket`")

    def _bridge_misfits(self, *, without_bridge: bool, by_a_guest: bool) -> Iterator[Misfit]:
        """Yield the words on a bridge, or on what stands in its place, that mean nothing to who serves it."""
        network = self.network
        if without_bridge:
            by = self.program.value
            why = "a ring is a link of two ends" if by == "vtool-ring" else f"{by} takes the board's own network"
            for key in ("bridge", "uplink", "direct"):
                if getattr(network, key):
                    yield Misfit(("network", key), no_effect=why)
        elif by_a_guest:
            for key in ("existing", "uplink"):
                if getattr(network, key):
                    yield Misfit(("network", key), no_effect="its driver domain makes the bridge, inside of it")
        if network.existing and network.uplink:
            yield Misfit(("network", "uplink"), no_effect="what is in a bridge that is there is another tool's matter")
        for key in ("bridge", "existing", "uplink") if network.direct else ():
            if getattr(network, key):
                yield Misfit(("network", key), no_effect=f"its guest is on '{network.direct}' without a bridge")
        if network.direct and self.multi_queue:
            yield Misfit(("queues",), no_effect="QEMU is handed one file of a macvtap interface, for one pair")
        if network.backend_address and (network.existing or network.uplink or network.direct):
            why = "the board has its own address there, which is not vtool's"
            yield Misfit(("network", "backend_address"), no_effect=why)

    def claims(self) -> Iterator[Claim]:
        """Yield the board's ports that it forwards."""
        for index, pair in enumerate(self.network.forward_tcp):
            yield Claim("TCP port", int(pair.split(":")[0]), ("network", "forward_tcp", index), BOARD_PORTS)

    def least_of_pool(self, entries: int) -> int:
        """Return what its receive rings take of a pool, and what it sends."""
        received = (self.queues or 1) * entries * _RECEIVED_BYTES
        return super().least_of_pool(entries) + align_up(received, SWIOTLB_SEGMENT_BYTES)

    def spread_in_pool(self, entries: int) -> int:
        """Return over how much of a pool its receive rings lie."""
        return (self.queues or 1) * align_up(entries * _SPREAD_BYTES, SWIOTLB_SEGMENT_BYTES)

    def root_kind(self) -> str:
        """Return that NFS may go through it."""
        return "net"


def interface(device: NetworkDevice, at: Wiring) -> Pairs:
    """Return the keys of an interface on a ``-netdev`` of its name."""
    pairs: Pairs = (("netdev", f"net-{at.name}"), ("mac", at.mac))
    # Without an empty romfile, a machine that lacks the option ROMs does not start.
    return (*pairs, ("romfile", "")) if device.transport is Transport.PCI else pairs


def _in_qemu(device: NetworkDevice, at: Wiring) -> Parts:
    if at.descriptor:
        handed: Pairs = (("id", f"net-{at.name}"), ("fd", str(at.descriptor)), ("vhost", "off"))
        return Parts((QemuOption("-netdev", "tap", handed),), interface(device, at))
    script = (("script", "no"), ("downscript", "no"), ("vhost", "off"))
    # QEMU then opens the tap so many times, and its device offers VIRTIO_NET_F_MQ.
    several: Pairs = (("queues", str(device.queues)),) if device.multi_queue else ()
    tap = QemuOption("-netdev", "tap", (("id", f"net-{at.name}"), ("ifname", at.tap), *script, *several))
    return Parts((tap,), (*interface(device, at), *((("mq", "on"),) if several else ())))


def _by_another(device: NetworkDevice, at: Wiring) -> Parts:
    # With several pairs QEMU wants to be told how many on either side.
    several: Pairs = (("queues", str(device.queues)),) if device.multi_queue else ()
    net = QemuOption("-netdev", "vhost-user", (("id", f"net-{at.name}"), chardev(at), *several))
    return Parts((connection(at), net), (*interface(device, at), *((("mq", "on"),) if several else ())))


_QUEUES = 8
"""MAX_QUEUES_DEFAULT; fewer where the domain has fewer CPUs."""


def _by_netback(_device: NetworkDevice, cpus: int) -> Held:
    # drivers/net/xen-netfront.c: both rings full, two event channels a queue. The backend maps what it sends out and
    # its rings; Xen copies the rest.
    queues = min(cpus, _QUEUES)
    return Held(queues * (2 * _ENTRIES + 2), queues * (_ENTRIES + 2), 2 * queues)


_PACKET_PAGES = 2 * 18
"""drivers/net/virtio_net.c: MAX_SKB_FRAGS 17 fragments and the head, each across two pages."""


def _by_qemu(device: NetworkDevice, _cpus: int) -> Held:
    # Of each pair a receive ring of buffers within two pages and a transmit ring of whole packets; 64 control messages.
    received = device.queue_size or _ENTRIES
    pair = received * 2 + _ENTRIES * (_PACKET_PAGES + TABLE_PAGES) + ring_pages(received) + ring_pages(_ENTRIES)
    grants = (device.queues or 1) * pair + 64 * 4 + ring_pages(64)
    return Held(grants, grants, 0)


_OF_NETFRONT = QueueLimits(instead="`bootargs: xen_netfront.max_queues=N` of the frontend is for all its interfaces")
_OF_RING = QueueLimits(instead="its queue is the ring in its region, which is as large as that")
# A tap's transmit queue has 256 entries, whatever it is told (hw/net/virtio-net.c, virtio_net_max_tx_queue_size).
_BY_QEMU = Service(
    both("virtio-net-device", "virtio-net-pci"),
    _in_qemu,
    ("VIRTIO_NET",),
    queues=QueueLimits(TAP_MOST, NET_ENTRIES, size=("rx_queue_size",)),
)
# Open vSwitch, VPP and the like are asked for as many pairs as the device has (QEMU net/vhost-user.c).
_BY_ANOTHER = Service(
    both("virtio-net-device", "virtio-net-pci"),
    _by_another,
    ("VIRTIO_NET",),
    queues=QueueLimits(VHOST_USER_MOST, NET_ENTRIES, size=("rx_queue_size", "tx_queue_size")),
)
TYPE = DeviceType(
    NetworkDevice,
    kvm={
        Program.QEMU: _BY_QEMU,
        Program.VHOST_USER: _BY_ANOTHER,
        Program.VTOOL_RING: Service(
            {Transport.SHARED_MEMORY: "ivshmem-plain"}, region_between, ("TUN",), virtio=False, queues=_OF_RING
        ),
    },
    xen={
        Program.NETBACK: of_xen(_by_netback, ends=("XEN_NETDEV_FRONTEND", "XEN_NETDEV_BACKEND"), queues=_OF_NETFRONT),
        Program.QEMU_XENPVH: in_dom0(_BY_QEMU, _by_qemu),
        Program.VTOOL_RING: Service({Transport.SHARED_MEMORY: ""}, None, ("TUN",), virtio=False, queues=_OF_RING),
    },
)
