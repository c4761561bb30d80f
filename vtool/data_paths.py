"""The data paths: how a backend can reach a frontend's buffers, on which hypervisor, with which parts.

Facts only, one row a data path of the 2020 discussion. What this version of vtool deploys stands in
``vtool.check.devices.COMBINATIONS`` and nowhere else. Debian means the arm64 packages of Debian 12 and 13.
Read in the sources of Xen 4.16 to 4.22, Linux and QEMU 7.2 to 11.1, and in Debian's packages; foreign mapping,
pools and grants were also run by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Parts(Enum):
    """Where the parts of a way come from."""

    DEBIAN = "debian"
    """Debian's packages as they are."""
    BUILT = "built"
    """Upstream's code, but something has to be built with other options than Debian's."""
    PATCHED = "patched"
    """As BUILT, and one part needs a patch of one's own."""
    OWN = "own"
    """As BUILT, and one part is a program of vtool's own."""
    OUTSIDE = "outside"
    """A part exists only outside the upstream projects."""
    NONE = "none"
    """A part does not exist."""


@dataclass(frozen=True)
class Need:
    """What one part must be: ``part`` is Xen, xl, QEMU, host, guest kernel or backend.

    ``since`` is the oldest release that is known to have it; empty where it does not matter.
    """

    part: str
    what: str
    since: str = ""


@dataclass(frozen=True)
class Way:
    """A data path on one hypervisor; ``debian_lacks`` is empty where Debian's packages suffice.

    ``obstacle`` says what stands in the way where it cannot run with upstream's code.
    """

    parts: Parts
    transports: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    debian_lacks: tuple[str, ...] = ()
    obstacle: str = ""


@dataclass(frozen=True)
class Row:
    """One data path. ``data_path`` is the word for it in a topology; ``types`` the device types, where they matter.

    ``by_a_guest``: another guest serves the devices, where otherwise the host or dom0 does.
    """

    key: str
    idea: str
    backend_reaches: str
    cost: str
    xen: Way
    kvm: Way
    data_path: str = ""
    types: tuple[str, ...] = ()
    by_a_guest: bool = False

    def way(self, hypervisor: str) -> Way:
        """Return the way on ``xen`` or ``kvm``."""
        return self.xen if hypervisor == "xen" else self.kvm


def _by_vtool_ring(*needs: Need) -> Way:
    program = Need("both domains", "vtool's own program, vtool-ring, which moves the data; no driver, no virtio")
    return Way(Parts.OWN, ("shared-memory",), ("vtool-ring",), (program, *needs), ("the program",))


HYPERVISORS = ("kvm", "xen")

_XENPVH = ("qemu-xenpvh", "virtio-disk", "xen-vhost-frontend (a prototype)")
_DAEMONS = ("qemu-storage-daemon", "virtiofsd", "passt", "vhost-device-*")
_XEN_IOREQ = Need("Xen", "EXPERT, IOREQ_SERVER", "4.15")
# xenpvh is in QEMU 8.1; since 9.2 it has grants, and its virtio-mmio windows in the order in which xl fills them.
_XEN_QEMU = Need("QEMU", "built with Xen for arm64, in dom0", "9.2")
_POOL_KERNEL = Need("guest kernel", "DMA_RESTRICTED_POOL, SWIOTLB, VIRTIO_MMIO", "5.15")
_NO_IOREQ = "Xen with IOREQ_SERVER"
_NO_XEN_QEMU = "QEMU with Xen on arm64"
_NO_POOL_KERNEL = "a kernel with DMA_RESTRICTED_POOL"
_NO_GRANTS = Way(Parts.NONE, obstacle="grants are Xen's")

ROWS = (
    Row(
        key="shared-ram",
        idea="none: what everyone does today",
        backend_reaches="all RAM of the guest",
        cost="no copy",
        data_path="shared-ram",
        kvm=Way(
            Parts.DEBIAN,
            ("mmio", "pci"),
            _DAEMONS,
            (
                Need("QEMU", "RAM in a memory-backend-memfd or -file with share=on as large as -m", "7.2"),
                Need("guest kernel", "VIRTIO_MMIO or VIRTIO_PCI"),
            ),
        ),
        xen=Way(
            Parts.BUILT,
            ("mmio",),
            _XENPVH,
            (
                _XEN_IOREQ,
                Need("xl", "virtio=[…grant_usage=0]", "4.18"),
                _XEN_QEMU,
                Need("guest kernel", "VIRTIO_MMIO"),
            ),
            (_NO_IOREQ, _NO_XEN_QEMU),
        ),
    ),
    Row(
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
                    "QEMU", "the pool alone in a share=on backend, iommu_platform=on, force-legacy=false, -dtb", "7.2"
                ),
                _POOL_KERNEL,
            ),
            (_NO_POOL_KERNEL,),
        ),
        xen=Way(
            Parts.PATCHED,
            ("mmio",),
            ("qemu-xenpvh",),
            (
                Need("Xen", "EXPERT, UNSUPPORTED, STATIC_MEMORY, STATIC_SHM, IOREQ_SERVER", "4.19"),
                Need("Xen", "patched: restricted-dma-pool and a phandle on the xen-shmem node"),
                Need("Xen", "frontend dom0less, owner of the region"),
                _XEN_QEMU,
                _POOL_KERNEL,
            ),
            ("Xen with STATIC_SHM and IOREQ_SERVER", _NO_XEN_QEMU, _NO_POOL_KERNEL),
        ),
    ),
    Row(
        key="pool-in-ram",
        idea="the same without a separate region",
        backend_reaches="all RAM by right, the pool by goodwill",
        cost="1 copy each way",
        data_path="pool-in-ram",
        kvm=Way(
            Parts.BUILT,
            ("mmio", "pci"),
            ("qemu", *_DAEMONS),
            (
                Need("QEMU", "RAM in a share=on backend, iommu_platform=on, -dtb with the pool", "7.2"),
                Need("backend", "on PCI: inside QEMU, or a daemon that offers VIRTIO_F_ACCESS_PLATFORM"),
                _POOL_KERNEL,
            ),
            (_NO_POOL_KERNEL,),
        ),
        xen=Way(
            Parts.PATCHED,
            ("mmio",),
            ("qemu-xenpvh",),
            (
                _XEN_IOREQ,
                Need("xl", "virtio=[…grant_usage=0], patched (or guest firmware) to write the pool's node", "4.18"),
                _XEN_QEMU,
                _POOL_KERNEL,
            ),
            (_NO_IOREQ, _NO_XEN_QEMU, _NO_POOL_KERNEL),
        ),
    ),
    Row(
        key="bar",
        idea="memory of the device (a PCI BAR) in place of the guest's RAM",
        backend_reaches="the BAR",
        cost="1 copy each way",
        data_path="bar",
        # The window alone: upstream has no virtio driver over it, and Debian no ivshmem-server for its doorbells.
        kvm=Way(Parts.DEBIAN, ("pci",), ("qemu",), (Need("QEMU", "ivshmem-plain", "7.2"),)),
        xen=Way(Parts.NONE, obstacle="Xen has no ivshmem, and its vPCI is for passthrough only"),
    ),
    Row(
        key="grant",
        idea="Xen's grants made available to virtio",
        backend_reaches="the pages granted for each request",
        cost="map and unmap, or persistent grants",
        data_path="grant",
        kvm=_NO_GRANTS,
        xen=Way(
            Parts.BUILT,
            ("mmio",),
            _XENPVH,
            (
                _XEN_IOREQ,
                Need("xl", "virtio=[…grant_usage=1] (on disks 4.19)", "4.18"),
                _XEN_QEMU,
                Need("guest kernel", "XEN_VIRTIO, VIRTIO_MMIO", "5.19"),
            ),
            (_NO_IOREQ, _NO_XEN_QEMU, "a kernel with XEN_VIRTIO"),
        ),
    ),
    Row(
        key="pv-map",
        idea="Xen's PV block protocol, and 9p: the backend maps granted pages",
        backend_reaches="the pages granted (of 9p, its rings)",
        cost="1 copy with persistent grants, else map and unmap",
        data_path="pv",
        types=("blk", "fs"),
        kvm=_NO_GRANTS,
        xen=Way(
            Parts.DEBIAN,
            ("xenbus",),
            ("blkback", "xen-9pfsd", "QEMU (9p; built with Xen)"),
            (
                Need("xl", "disk=['phy:…']"),
                Need("xl", "p9=['…type=xen_9pfsd'], which speaks 9P2000.u", "4.19"),
                Need("host", "XEN_BLKDEV_BACKEND"),
                Need("guest kernel", "XEN_BLKDEV_FRONTEND; for 9p NET_9P_XEN, 9P_FS"),
            ),
        ),
    ),
    Row(
        key="pv-copy",
        idea="Xen's PV network protocol: Xen copies",
        backend_reaches="nothing of what it sends; Xen copies",
        cost="1 copy by Xen",
        data_path="pv",
        types=("net",),
        kvm=_NO_GRANTS,
        xen=Way(
            Parts.DEBIAN,
            ("xenbus",),
            ("netback",),
            (
                Need("xl", "vif=['bridge=…']"),
                Need("host", "XEN_NETDEV_BACKEND"),
                Need("guest kernel", "XEN_NETDEV_FRONTEND"),
            ),
        ),
    ),
    Row(
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
                Need("QEMU", "virtio-iommu-pci or iommu=smmuv3, iommu_platform=on, disable-legacy=on", "7.2"),
                Need("backend", "inside QEMU, or a daemon that offers VIRTIO_F_ACCESS_PLATFORM"),
                Need("guest kernel", "VIRTIO_IOMMU (Debian's from 13 on) or ARM_SMMU_V3"),
            ),
        ),
        xen=Way(Parts.NONE, obstacle="no virtual IOMMU upstream; a series for SMMUv3 was posted in 2026"),
    ),
    Row(
        key="argo",
        idea="messages that the hypervisor copies",
        backend_reaches="nothing; Xen copies",
        cost="1 copy by Xen",
        data_path="argo",
        kvm=Way(Parts.NONE, obstacle="Argo is Xen's"),
        xen=Way(
            Parts.OUTSIDE,
            (),
            (),
            (
                Need("Xen", "UNSUPPORTED, ARGO, argo=1"),
                Need("guest kernel", "OpenXT's linux-xen-argo, from outside Linux (2023, for 6.1)"),
            ),
            ("Xen with ARGO", "the driver"),
            "its only Linux driver, linux-xen-argo, is outside Linux, and there is no virtio over it",
        ),
    ),
    Row(
        key="ring",
        idea="fat virtqueue: the ring carries the data itself",
        backend_reaches="the ring",
        cost="1 copy each way",
        data_path="ring",
        kvm=_by_vtool_ring(
            Need("QEMU", "ivshmem-plain in both guests", "7.2"),
            Need("guest kernel", "PCI_HOST_GENERIC; TUN for a network, BLK_DEV_NBD for a disk"),
        ),
        xen=_by_vtool_ring(
            Need("Xen", "EXPERT, UNSUPPORTED, STATIC_MEMORY, STATIC_SHM", "4.19"),
            Need("Xen", "frontend dom0less, backend dom0"),
            Need("both kernels", "DEVMEM without STRICT_DEVMEM; TUN for a network, BLK_DEV_NBD for a disk"),
        ),
    ),
    Row(
        key="msg",
        idea="virtio-msg: virtio over messages in shared memory",
        backend_reaches="depends on the bus",
        cost="depends on the bus",
        data_path="msg",
        kvm=Way(
            Parts.OUTSIDE,
            ("msg",),
            (),
            (Need("QEMU", "a prototype from outside QEMU"), Need("guest kernel", "a prototype from outside Linux")),
            ("all of it",),
            "prototypes only, outside Linux and QEMU",
        ),
        xen=Way(Parts.NONE, obstacle="a bus for Xen is planned"),
    ),
    Row(
        key="other-vm",
        idea="the backend in another virtual machine",
        backend_reaches="as its path says",
        cost="as its path says",
        data_path="pv",
        types=("blk", "net"),
        by_a_guest=True,
        kvm=Way(
            Parts.NONE,
            obstacle="vhost-user passes files, which cannot leave the host; control plane and doorbells are missing. "
            "Without virtio: a ring",
        ),
        xen=Way(
            Parts.DEBIAN,
            ("xenbus",),
            ("blkback", "netback"),
            (
                Need("Xen", "xsm=dummy or a FLASK policy (the default on Arm, SILO, forbids it)"),
                Need("xl", "driver_domain=1, backend=… on the device; `xl devd` in the driver domain"),
                Need(
                    "backend", "a guest with xl, Xen's hotplug scripts, XEN_BLKDEV_BACKEND, XEN_NETDEV_BACKEND, BRIDGE"
                ),
            ),
        ),
    ),
)
