"""What the guest maps at that moment, through a virtual IOMMU."""

from __future__ import annotations

from vtool.data_paths.facts import OLDEST_QEMU, Need, Parts, Row, Served, Shares, Traits, Transport, Way

TRAITS = Traits(
    word="viommu",
    shares=Shares.NOTHING,
    platform=True,
    translated=True,
    kvm=(
        Served(("qemu",), ("rng", "console", "scsi"), (Transport.PCI,)),
        Served(("qemu",), ("blk", "net"), (Transport.PCI,), deployed=True),
    ),
)
ROWS = (
    Row(
        number=8,
        key="viommu",
        idea="map and unmap through a virtual IOMMU",
        backend_reaches="what is mapped now",
        cost="no copy, an exit for each map",
        data_path="viommu",
        kvm=Way(
            Parts.DEBIAN,
            ("pci",),
            ("qemu",),
            (
                Need("QEMU", "virtio-iommu-pci or iommu=smmuv3, iommu_platform=on, disable-legacy=on", OLDEST_QEMU),
                Need("backend", "inside QEMU, or a daemon that offers VIRTIO_F_ACCESS_PLATFORM"),
                Need("guest kernel", "VIRTIO_IOMMU (Debian's from 13 on) or ARM_SMMU_V3"),
            ),
        ),
        xen=Way(Parts.NONE, obstacle="no virtual IOMMU upstream; a series for SMMUv3 was posted in 2026"),
    ),
)
