"""Networks: by QEMU on a tap, by Xen's netback, through a ring; passt has a file of its own."""

from collections.abc import Iterator
from typing import Annotated, Literal, final

from pydantic import Field

from vtool.data_paths.facts import Transport
from vtool.model.devices.arguments import Pairs, Parts, QemuOption, Wiring, region_between
from vtool.model.devices.base import DeviceBase, DeviceType, Program, Service, both, in_dom0
from vtool.model.types import MacAddress, Model
from vtool.reading.source import KeyPath


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

    def claims(self) -> Iterator[tuple[str, KeyPath]]:
        """Yield the board's ports that it forwards."""
        for index, pair in enumerate(self.network.forward_tcp):
            yield f"TCP port {int(pair.split(':')[0])}", ("network", "forward_tcp", index)


def interface(device: NetworkDevice, at: Wiring) -> Pairs:
    """Return the keys of an interface on a ``-netdev`` of its name."""
    pairs: Pairs = (("netdev", f"net-{at.name}"), ("mac", at.mac))
    # Without an empty romfile, a machine that lacks the option ROMs does not start.
    return (*pairs, ("romfile", "")) if device.transport is Transport.PCI else pairs


def _in_qemu(device: NetworkDevice, at: Wiring) -> Parts:
    script = (("script", "no"), ("downscript", "no"), ("vhost", "off"))
    tap = QemuOption("-netdev", "tap", (("id", f"net-{at.name}"), ("ifname", at.tap), *script))
    return Parts((tap,), interface(device, at))


_BY_QEMU = Service(both("virtio-net-device", "virtio-net-pci"), _in_qemu, ("VIRTIO_NET",))
TYPE = DeviceType(
    NetworkDevice,
    kvm={
        Program.QEMU: _BY_QEMU,
        Program.VTOOL_RING: Service({Transport.SHARED_MEMORY: "ivshmem-plain"}, region_between, ("TUN",), virtio=False),
    },
    xen={
        Program.NETBACK: Service({Transport.XENBUS: ""}, None, virtio=False),
        Program.QEMU_XENPVH: in_dom0(_BY_QEMU),
        Program.VTOOL_RING: Service({Transport.SHARED_MEMORY: ""}, None, ("TUN",), virtio=False),
    },
)
