"""All of the guest's RAM: no copy, no protection."""

from __future__ import annotations

from vtool.base.units import dotted
from vtool.data_paths.facts import (
    DAEMONS,
    NO_IOREQ,
    NO_XEN_QEMU,
    OLDEST_QEMU,
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
from vtool.platform.xen_releases import VIRTIO_OF_XL

TRAITS = Traits(
    word="shared-ram",
    shares=Shares.RAM,
    kvm=(
        Served(transports=(Transport.MMIO, Transport.PCI)),
        Served(("qemu-storage-daemon", "passt", "virtiofsd"), transports=(Transport.MMIO,), deployed=True),
        Served(("qemu",), ("blk", "net"), (Transport.MMIO, Transport.PCI), deployed=True),
        Served(("qemu",), ("iommu",), (Transport.PCI,), deployed=True),
    ),
    xen=(
        Served(transports=(Transport.MMIO,)),
        Served(("qemu-xenpvh",), ("blk", "net"), (Transport.MMIO,), deployed=True),
    ),
)
ROWS = (
    Row(
        number=1,
        key="shared-ram",
        idea="none: what everyone does today",
        backend_reaches="all RAM of the guest",
        cost="no copy",
        data_path="shared-ram",
        kvm=Way(
            Parts.DEBIAN,
            ("mmio", "pci"),
            ("qemu", *DAEMONS),
            (
                Need(
                    "QEMU",
                    "for a daemon, all RAM in a memory-backend-memfd or -file with share=on",
                    OLDEST_QEMU,
                ),
                Need("guest kernel", "VIRTIO_MMIO or VIRTIO_PCI"),
            ),
        ),
        xen=Way(
            Parts.BUILT,
            ("mmio",),
            XENPVH,
            (
                XEN_IOREQ,
                Need("xl", "virtio=[…grant_usage=0]", dotted(VIRTIO_OF_XL.since)),
                XEN_QEMU,
                Need("guest kernel", "VIRTIO_MMIO"),
            ),
            (NO_IOREQ, NO_XEN_QEMU),
        ),
    ),
)
