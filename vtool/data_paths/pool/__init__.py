"""A pool that alone is shared; the rest of the guest cannot be mapped."""

from __future__ import annotations

from vtool.base.units import dotted
from vtool.data_paths.facts import (
    NO_POOL_KERNEL,
    NO_XEN_QEMU,
    OLDEST_QEMU,
    POOL_KERNEL,
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
from vtool.platform.xen_releases import POOL

TRAITS = Traits(
    word="pool",
    shares=Shares.POOL,
    platform=True,
    kernel=("DMA_RESTRICTED_POOL",),
    # A daemon must be one that was seen to work with a pool. Behind virtio-mmio it needs no ACCESS_PLATFORM of its own;
    # behind PCI QEMU asks for it.
    kvm=(Served(("qemu-storage-daemon", "passt", "virtiofsd"), transports=(Transport.MMIO,), deployed=True),),
    xen=(
        Served(("qemu-xenpvh",), ("rng", "console", "scsi"), (Transport.MMIO,)),
        Served(("qemu-xenpvh",), ("blk", "net"), (Transport.MMIO,), deployed=True),
    ),
)
ROWS = (
    Row(
        number=2,
        key="pool",
        idea="a region shared ahead as the only DMA memory, found through reserved-memory",
        backend_reaches="the region only",
        cost="1 copy each way",
        data_path="pool",
        kvm=Way(
            Parts.BUILT,
            ("mmio",),
            ("qemu-storage-daemon", "virtiofsd", "passt"),
            (
                Need(
                    "QEMU",
                    "the pool alone in a share=on backend, iommu_platform=on, force-legacy=false, -dtb",
                    OLDEST_QEMU,
                ),
                POOL_KERNEL,
            ),
            (NO_POOL_KERNEL,),
        ),
        xen=Way(
            Parts.PATCHED,
            ("mmio",),
            ("qemu-xenpvh",),
            (
                Need("Xen", "EXPERT, UNSUPPORTED, STATIC_MEMORY, STATIC_SHM, IOREQ_SERVER", dotted(POOL.since)),
                Need("Xen", "patched: restricted-dma-pool and a phandle on the xen-shmem node"),
                Need("Xen", "frontend dom0less, owner of the region"),
                XEN_QEMU,
                POOL_KERNEL,
            ),
            ("Xen with STATIC_SHM and IOREQ_SERVER", NO_XEN_QEMU, NO_POOL_KERNEL),
        ),
    ),
)
