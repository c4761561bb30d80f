"""A ring that carries the data itself, in a region of its own: neither side reaches more of the other."""

from __future__ import annotations

from vtool.base.units import dotted
from vtool.data_paths.facts import OLDEST_QEMU, Need, Row, Served, Shares, Traits, Transport, by_vtool_ring
from vtool.platform.xen_releases import POOL

_BY_VTOOL_RING = (Served(("vtool-ring",), ("blk", "net"), (Transport.SHARED_MEMORY,), deployed=True),)
TRAITS = Traits(
    word="ring", shares=Shares.REGION, virtio=False, carries_data=True, kvm=_BY_VTOOL_RING, xen=_BY_VTOOL_RING
)
ROWS = (
    Row(
        number=10,
        key="ring",
        idea="fat virtqueue: the ring carries the data itself",
        backend_reaches="the ring",
        cost="1 copy each way",
        data_path="ring",
        kvm=by_vtool_ring(
            Need("QEMU", "ivshmem-plain in both guests", OLDEST_QEMU),
            Need("guest kernel", "PCI_HOST_GENERIC; TUN for a network, BLK_DEV_NBD for a disk"),
        ),
        xen=by_vtool_ring(
            Need("Xen", "EXPERT, UNSUPPORTED, STATIC_MEMORY, STATIC_SHM", dotted(POOL.since)),
            Need("Xen", "frontend dom0less, backend dom0"),
            Need("both kernels", "DEVMEM without STRICT_DEVMEM; TUN for a network, BLK_DEV_NBD for a disk"),
        ),
    ),
)
