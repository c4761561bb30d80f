"""How many grants Xen's PV devices hold at once, at worst, and how many a domain has.

Worst cases of Linux 6.12 with its defaults: drivers/block/xen-blkfront.c (every request of every queue keeps its
segments and an indirect page granted), drivers/net/xen-netfront.c (both rings full).
"""

from __future__ import annotations

from vtool.units import PAGE_BYTES

_DISK_QUEUES = 4
"""xen_blkif_max_queues; fewer where the domain has fewer CPUs."""
_DISK_REQUESTS = 32
"""Entries of a ring of one page, BLK_RING_SIZE."""
_DISK_SEGMENTS = 32
"""xen_blkif_max_segments."""
_INTERFACE_QUEUES = 8
"""MAX_QUEUES_DEFAULT; fewer where the domain has fewer CPUs."""
_INTERFACE_ENTRIES = 256
"""NET_TX_RING_SIZE and NET_RX_RING_SIZE."""

GRANTS_PER_FRAME = PAGE_BYTES // 8
"""Grant table version 1, which is Arm's (xen.md 2.2)."""
RESERVED_GRANTS = 8
"""Xen xen/include/public/grant_table.h GNTTAB_NR_RESERVED_ENTRIES."""
DEFAULT_FRAMES = 64
"""gnttab_max_frames of Xen."""


def disk_grants(cpus: int) -> int:
    """Return how many grants a PV disk of a domain with so many CPUs holds at worst."""
    return min(cpus, _DISK_QUEUES) * (_DISK_REQUESTS * (_DISK_SEGMENTS + 1) + 1)


def interface_grants(cpus: int) -> int:
    """Return how many grants a PV network interface of a domain with so many CPUs holds at worst."""
    return min(cpus, _INTERFACE_QUEUES) * (2 * _INTERFACE_ENTRIES + 2)


def available_grants(frames: int | None) -> int:
    """Return how many grants a domain can have with so many grant frames (Xen's default when None)."""
    return (frames or DEFAULT_FRAMES) * GRANTS_PER_FRAME - RESERVED_GRANTS
