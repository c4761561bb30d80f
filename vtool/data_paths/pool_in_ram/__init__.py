"""The same pool as a part of RAM that is shared as a whole: the backend keeps to it by goodwill."""

from __future__ import annotations

from vtool.base.units import dotted
from vtool.data_paths.facts import (
    DAEMONS,
    NO_IOREQ,
    NO_POOL_KERNEL,
    NO_XEN_QEMU,
    OLDEST_QEMU,
    POOL_KERNEL,
    XEN_IOREQ,
    XEN_QEMU,
    Need,
    Parts,
    Row,
    Served,
    Shares,
    Traits,
    Transport,
    Way,
)
from vtool.platform.xen_releases import VIRTIO_OF_XL

TRAITS = Traits(
    word="pool-in-ram",
    shares=Shares.RAM_WITH_POOL,
    platform=True,
    kernel=("DMA_RESTRICTED_POOL",),
    kvm=(
        # As of pools that alone are shared.
        Served(("passt", "virtiofsd"), transports=(Transport.MMIO,)),
        Served(("qemu-storage-daemon",), transports=(Transport.MMIO,), deployed=True),
        Served(("qemu",), ("blk", "net", "rng", "console", "scsi"), (Transport.MMIO, Transport.PCI)),
        Served(("qemu",), ("blk", "net"), (Transport.PCI,), deployed=True),
    ),
)
ROWS = (
    Row(
        number=3,
        key="pool-in-ram",
        idea="the same without a separate region",
        backend_reaches="all RAM by right, the pool by goodwill",
        cost="1 copy each way",
        data_path="pool-in-ram",
        kvm=Way(
            Parts.BUILT,
            ("mmio", "pci"),
            ("qemu", *DAEMONS),
            (
                Need("QEMU", "RAM in a share=on backend, iommu_platform=on, -dtb with the pool", OLDEST_QEMU),
                Need("backend", "on PCI: inside QEMU, or a daemon that offers VIRTIO_F_ACCESS_PLATFORM"),
                POOL_KERNEL,
            ),
            (NO_POOL_KERNEL,),
        ),
        xen=Way(
            Parts.PATCHED,
            ("mmio",),
            ("qemu-xenpvh",),
            (
                XEN_IOREQ,
                Need(
                    "xl",
                    "virtio=[…grant_usage=0], patched (or guest firmware) to write the pool's node",
                    dotted(VIRTIO_OF_XL.since),
                ),
                XEN_QEMU,
                POOL_KERNEL,
            ),
            (NO_IOREQ, NO_XEN_QEMU, NO_POOL_KERNEL),
        ),
    ),
)
