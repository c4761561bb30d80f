"""Xen's releases, and what each does that the one before did not: one row a feature.

What a release reads in a device tree and in xl.cfg is in ``xen_properties``; here is all else that a release decides.
Checks, lint, data paths and the page of releases ask ``is_in``; no other module compares a release with a number.
Each row cites the file of Xen that does it, as the first release with it has it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from vtool.base.records import record
from vtool.base.units import dotted

Release = tuple[int, int]
OLDEST: Release = (4, 16)
"""The oldest release that is supported: what it has in every build needs no check."""


class XenVersion(NamedTuple):
    """A release; compares as releases do."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


VERSIONS = tuple(XenVersion(4, minor) for minor in range(OLDEST[1], 23))
NEWEST = VERSIONS[-1]


@record
class Feature:
    """Something a Xen needs to have: the first release with it, and the Kconfig option since when it is one.

    ``backported`` is the first point release of the one before ``since`` that has it, too. ``source`` is the file of
    Xen that says so, as the first release has it.
    """

    since: Release
    option: str | None
    what: str
    option_since: Release = (4, 0)
    without: str = "such a Xen stops before its console is up, or ignores the node: see what `image: vtool:xen` has"
    backported: str = ""
    source: str = ""

    def is_in(self, release: Release) -> bool:
        """Whether a release has it, in every point release."""
        return release >= self.since

    def is_in_fixes_to(self, release: Release) -> bool:
        """Whether only the last point releases of a release have it."""
        return self.backported.startswith(f"{dotted(release)}.") and not self.is_in(release)

    @property
    def points_without(self) -> str:
        """Return the point releases, of the one that has it with its fixes only, that lack it."""
        before, _, point = self.backported.rpartition(".")
        return f"{before}.0 to {before}.{int(point) - 1}"


# -- what is requested of a Xen by name, beside its properties

UNPLACED = Feature(
    (4, 19),
    "STATIC_SHM",
    "shared memory without a host address",
    source="docs/misc/arm/device-tree/booting.txt; xen/arch/arm/static-shmem.c process_shm",
)
GUESTS_ARE_TOLD = Feature(
    (4, 19),
    None,
    "guests find shared regions in their /memory, and dom0 in its one /reserved-memory",
    source="xen/arch/arm/static-shmem.c shm_mem_node_fill_reg_range, make_resv_memory_node",
)
POOL = replace(GUESTS_ARE_TOLD, option="STATIC_SHM", what="a pool, which Linux must find in a guest's /memory,")
SHARES = Feature(
    (4, 19),
    None,
    "xl's p9 of type xen_9pfsd",
    source="docs/man/xl.cfg.5.pod.in p9; tools/libs/light/libxl_types.idl p9_type",
)
_NO_IOREQ = (
    "no backend can register for a guest's virtio-mmio accesses then: Debian's Xen lacks it, `image: vtool:xen` has it"
)
VIRTIO = Feature(
    (4, 15), "IOREQ_SERVER", "a virtio backend", without=_NO_IOREQ, source="xen/common/Kconfig; xen/arch/arm/ioreq.c"
)
VIRTIO_OF_XL = Feature(
    (4, 18), "IOREQ_SERVER", "xl's `virtio` list", without=_NO_IOREQ, source="docs/man/xl.cfg.5.pod.in virtio"
)
VIRTIO_DISK_OF_XL = Feature(
    (4, 19),
    "IOREQ_SERVER",
    "`grant_usage` of xl's virtio disks",
    without=_NO_IOREQ,
    source="docs/man/xl-disk-configuration.5.pod.in grant_usage",
)

# -- what Xen does of itself

STOPS_EARLY = Feature(
    (4, 19),
    None,
    "Xen panics at a node that its early scan refuses; before, it booted on without what comes later in the tree",
    source="xen/arch/arm/bootfdt.c boot_fdt_info",
)
OVERLAPS_CHECKED = Feature(
    (4, 18),
    None,
    "Xen refuses reserved regions and boot modules that overlap",
    source="xen/arch/arm/setup.c check_reserved_regions_overlap",
)
MEMRESERVE_CHECKED = Feature(
    (4, 19),
    None,
    "what overlaps a /memreserve/ is refused, too",
    source="xen/arch/arm/bootfdt.c boot_fdt_info (MEMBANK_FDT_RESVMEM)",
)
MEMRESERVE_HOLDS_MORE = Feature(
    (4, 20),
    None,
    "a module or reserved region may lie wholly within a /memreserve/, as boot loaders write it",
    backported="4.19.2",
    source="xen/common/device-tree/bootinfo.c check_reserved_regions_overlap (allow_memreserve_overlap)",
)
DISABLED_MEMORY_IGNORED = Feature(
    (4, 19),
    None,
    "memory that is disabled is no RAM",
    source="xen/arch/arm/bootfdt.c device_tree_get_meminfo",
)
MEMORY_BY_TYPE = Feature(
    (4, 20),
    None,
    'RAM is what says `device_type = "memory"`; before, every node named memory, at any depth',
    source="xen/common/device-tree/bootfdt.c device_tree_is_memory_node",
)
BOUNDED_REGIONS = Feature(
    (4, 19),
    None,
    "there are 32 shared regions at most, before 256",
    source="xen/arch/arm/include/asm/setup.h NR_SHMEM_BANKS; before, NR_MEM_BANKS",
)
LARGE_TREES = Feature(
    (4, 22),
    None,
    "the tree of a guest has room for more than about 20 shared regions",
    source="xen/common/device-tree/dom0less-build.c DOMU_DTB_SIZE",
)
SPIS_COUNTED = Feature(
    (4, 21),
    None,
    "xl starts no guest whose `nr_spis` is less than its virtio devices need",
    source="tools/libs/light/libxl_arm.c libxl__arch_domain_prepare_config",
)
BEHAVIOURS = (
    OVERLAPS_CHECKED,
    STOPS_EARLY,
    GUESTS_ARE_TOLD,
    MEMRESERVE_CHECKED,
    DISABLED_MEMORY_IGNORED,
    BOUNDED_REGIONS,
    MEMRESERVE_HOLDS_MORE,
    MEMORY_BY_TYPE,
    SPIS_COUNTED,
    LARGE_TREES,
)
"""The rows of the page of releases, in their order."""
REQUESTED = (UNPLACED, POOL, SHARES, VIRTIO, VIRTIO_OF_XL, VIRTIO_DISK_OF_XL)

MOST_REGIONS_OF_A_SMALL_TREE = 20
"""About as many shared regions has a guest's tree room for without ``LARGE_TREES``."""


def most_shared_regions(release: Release) -> int:
    """Return how many regions of static shared memory a release keeps."""
    return 32 if BOUNDED_REGIONS.is_in(release) else 256


def table_of_behaviours() -> str:
    """Return the table of what releases do differently for its page, in Markdown."""
    text = "| since Xen | what it does | read in |\n|---|---|---|\n"
    for row in BEHAVIOURS:
        since = f"{dotted(row.since)}, {row.backported}" if row.backported else dotted(row.since)
        text += f"| {since} | {row.what} | {row.source} |\n"
    return text
