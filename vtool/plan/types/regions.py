"""Regions as each side has them: a pool in a guest, reserved memory of the host, a file, a view."""

from __future__ import annotations

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.model.topology import RegionUse
from vtool.plan.types.origins import Origin


@record
class Pool:
    """A pool of a KVM guest: guest-physical range and its device-tree node and label.

    ``use`` is its compatible, ``flag`` the property that goes with it (or none); ``numa_node`` is that of the
    memory backend it lies in, alone unless it is 0. Only a ``shared`` one is seen by backends.
    """

    region: str
    range: AddressRange
    origin: Origin
    node_name: str
    label: str
    numa_node: int
    use: RegionUse = RegionUse.RESTRICTED_DMA_POOL
    flag: str = ""
    device_nodes: tuple[str, ...] = ()
    shared: bool = True


@record
class HostRegion:
    """A region in the host's reserved-memory: host-physical range and its device-tree node.

    ``compatible`` is empty for one that no driver takes by itself; ``flag`` is no-map or reusable.
    """

    region: str
    range: AddressRange
    origin: Origin
    node_name: str
    label: str
    compatible: str = ""
    flag: str = "no-map"
    device_nodes: tuple[str, ...] = ()


@record
class RegionFile:
    """A region that two guests see: a file in the board's memory, and the unit that makes it."""

    region: str
    path: str
    size_bytes: int
    unit: str


@record
class SharedView:
    """How one domain sees a static shared region.

    ``host`` is None when Xen takes pages from its heap; ``role`` is None when Xen itself is the owner. ``slot`` is the
    number of the 64 bytes that vtool's own guest writes there for `verify`; None where the domain is another.
    """

    region: str
    xen_id: str
    role: str | None
    host: AddressRange | None
    host_origin: Origin
    inside: AddressRange
    inside_origin: Origin
    node_name: str
    slot: int | None = None
