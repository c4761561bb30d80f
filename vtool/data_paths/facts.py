"""What is said of a data path: its traits, which all of vtool asks, and rows of facts, which reports tell.

Facts only. Debian means the arm64 packages of Debian 12 and 13. Read in the sources of Xen 4.16 to 4.22, Linux and QEMU
7.2 to 11.1, and in Debian's packages; foreign mapping, pools and grants were also run by hand.
"""

from __future__ import annotations

from enum import Enum

from vtool.base.records import record
from vtool.base.units import dotted
from vtool.platform.qemu_releases import OLDEST, XENPVH_SINCE
from vtool.platform.xen_releases import VIRTIO


class Transport(Enum):
    """How driver and device find each other and signal."""

    MMIO = "mmio"
    PCI = "pci"
    XENBUS = "xenbus"
    SHARED_MEMORY = "shared-memory"
    """No virtio: a region that both sides map, and look into for the other's signs."""


class Shares(Enum):
    """What of the frontend's memory its backend's process has mapped, or may map, whatever is asked of it."""

    RAM = "RAM"
    """All of it."""
    RAM_WITH_POOL = "RAM with a pool in it"
    """All of it; the frontend hands over buffers in a restricted-dma-pool that is a part of it."""
    POOL = "a pool"
    """A restricted-dma-pool of the frontend's, and none of its RAM."""
    REGION = "a region"
    """A region that is none of the frontend's RAM and no DMA memory."""
    NOTHING = "nothing"
    """Pages for a request, or for as long as they are mapped."""


@record
class Served:
    """By whom a path is served: these programs (any where empty), of these device types (likewise), over these.

    ``deployed``: it has been proven with each of them, so that ``vtool deploy`` takes it; for that the package needs a
    ``proof``.
    """

    programs: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    transports: tuple[Transport, ...] = ()
    deployed: bool = False

    def fits(self, program: str, device_type: str, transport: Transport) -> bool:
        """Whether a program may serve that."""
        fits = (not self.programs or program in self.programs) and (not self.types or device_type in self.types)
        return fits and transport in self.transports


@record
class Traits:
    """What sets one data path apart from the others, wherever that matters.

    ``word`` is the topology's. ``kernel`` are the options that the frontend's Linux needs for it. ``platform``: the
    device needs VIRTIO_F_ACCESS_PLATFORM, since the guest's DMA addresses are not its physical ones. ``grants``: the
    frontend grants pages (Xen). ``translated``: they are mapped by a virtual IOMMU. ``carries_data``: without virtio,
    vtool's own program moves the data through a region, in both domains.
    """

    word: str
    shares: Shares
    kernel: tuple[str, ...] = ()
    virtio: bool = True
    platform: bool = False
    grants: bool = False
    translated: bool = False
    carries_data: bool = False
    kvm: tuple[Served, ...] = ()
    xen: tuple[Served, ...] = ()

    @property
    def pooled(self) -> bool:
        """Whether it goes through a restricted-dma-pool."""
        return self.shares in (Shares.POOL, Shares.RAM_WITH_POOL)

    @property
    def shares_ram(self) -> bool:
        """Whether a backend has all of the frontend's RAM."""
        return self.shares in (Shares.RAM, Shares.RAM_WITH_POOL)

    @property
    def at_both_ends(self) -> bool:
        """Whether frontend and backend each have a region between them, where otherwise the frontend has a device."""
        return self.shares is Shares.REGION

    def served(self, hypervisor: str) -> tuple[Served, ...]:
        """Return by whom it is served on ``xen`` or ``kvm``."""
        return self.xen if hypervisor == "xen" else self.kvm


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


@record
class Need:
    """What one part must be: ``part`` is Xen, xl, QEMU, host, guest kernel or backend.

    ``since`` is the oldest release that is known to have it; empty where it does not matter.
    """

    part: str
    what: str
    since: str = ""


@record
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


@record
class Row:
    """One data path, by its number in the discussion of 2020.

    ``data_path`` is the word for it in a topology; ``types`` the device types, where they matter.
    ``by_a_guest``: another guest serves the devices, where otherwise the host or dom0 does.
    """

    number: int
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


def by_vtool_ring(*needs: Need) -> Way:
    """Return the way of a ring, which takes vtool's own program and these parts."""
    program = Need("both domains", "vtool's own program, vtool-ring, which moves the data; no driver, no virtio")
    return Way(Parts.OWN, ("shared-memory",), ("vtool-ring",), (program, *needs), ("the program",))


XENPVH = ("qemu-xenpvh", "virtio-disk", "xen-vhost-frontend (a prototype)")
DAEMONS = ("qemu-storage-daemon", "virtiofsd", "passt", "vhost-device-*")
XEN_IOREQ = Need("Xen", "EXPERT, IOREQ_SERVER", dotted(VIRTIO.since))
# xenpvh is in QEMU 8.1; since 9.2 it has grants, and its virtio-mmio windows in the order in which xl fills them.
XEN_QEMU = Need("QEMU", "built with Xen for arm64, in dom0", dotted(XENPVH_SINCE))
OLDEST_QEMU = dotted(OLDEST)
POOL_KERNEL = Need("guest kernel", "DMA_RESTRICTED_POOL, SWIOTLB, VIRTIO_MMIO", "5.15")
NO_IOREQ = "Xen with IOREQ_SERVER"
NO_XEN_QEMU = "QEMU with Xen on arm64"
NO_POOL_KERNEL = "a kernel with DMA_RESTRICTED_POOL"
NO_GRANTS = Way(Parts.NONE, obstacle="grants are Xen's")
