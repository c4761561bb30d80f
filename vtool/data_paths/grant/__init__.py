"""The pages that the guest grants for each request (Xen)."""

from __future__ import annotations

from vtool.base.units import dotted
from vtool.data_paths.facts import (
    NO_GRANTS,
    NO_IOREQ,
    NO_XEN_QEMU,
    XEN_IOREQ,
    XEN_QEMU,
    XENPVH,
    Need,
    Parts,
    Row,
    Served,
    Shares,
    Traits,
    Transport,
    Way,
)
from vtool.platform.xen_releases import VIRTIO_DISK_OF_XL, VIRTIO_OF_XL

TRAITS = Traits(
    word="grant",
    shares=Shares.NOTHING,
    platform=True,
    grants=True,
    kernel=("XEN_VIRTIO",),
    xen=(
        Served(transports=(Transport.MMIO,)),
        Served(("qemu-xenpvh",), ("blk", "net"), (Transport.MMIO,), deployed=True),
    ),
)
ROWS = (
    Row(
        number=5,
        key="grant",
        idea="Xen's grants made available to virtio",
        backend_reaches="the pages granted for each request",
        cost="map and unmap, or persistent grants",
        data_path="grant",
        kvm=NO_GRANTS,
        xen=Way(
            Parts.BUILT,
            ("mmio",),
            XENPVH,
            (
                XEN_IOREQ,
                Need(
                    "xl",
                    f"virtio=[…grant_usage=1] (on disks {dotted(VIRTIO_DISK_OF_XL.since)})",
                    dotted(VIRTIO_OF_XL.since),
                ),
                XEN_QEMU,
                Need("guest kernel", "XEN_VIRTIO, VIRTIO_MMIO", "5.19"),
            ),
            (NO_IOREQ, NO_XEN_QEMU, "a kernel with XEN_VIRTIO"),
        ),
    ),
)
