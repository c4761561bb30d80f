"""What Xen's PV devices hold at once, at worst, on both sides, and how much of it a domain has.

Grants and event channels on the frontend's side, mappings of them and the same event channels on the backend's.
Worst cases of Linux 6.12 with its defaults: drivers/block/xen-blkfront.c (every request of every queue keeps its
segments and an indirect page granted), drivers/net/xen-netfront.c (both rings full), net/9p/trans_xen.c (all data
pages of the rings). Of an interface the backend maps what it sends out and its rings; Xen copies the rest.
"""

from __future__ import annotations

from vtool.model.devices import DataPath, Device
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
_SHARE_RINGS = 2
"""XEN_9PFS_NUM_RINGS."""
_SHARE_RING_PAGES = 1 << 9
"""XEN_9PFS_RING_ORDER, which backends offer, too."""

GRANTS_PER_FRAME = PAGE_BYTES // 8
"""Grant table version 1, which is Arm's (xen.md 2.2)."""
RESERVED_GRANTS = 8
"""Xen xen/include/public/grant_table.h GNTTAB_NR_RESERVED_ENTRIES."""
DEFAULT_FRAMES = 64
"""gnttab_max_frames of Xen."""
MAPPINGS_PER_FRAME = PAGE_BYTES // 16
"""Xen xen/common/grant_table.c MAPTRACK_PER_PAGE."""
DEFAULT_MAPTRACK_FRAMES = 1024
"""gnttab_max_maptrack_frames of Xen."""
EVENT_CHANNELS = 1023
"""A domain's default max_evtchn_port (xen.md 1.3)."""
OWN_EVENT_CHANNELS = 2
"""Every guest's console and xenstore."""


def disk_grants(cpus: int) -> int:
    """Return how many grants a PV disk of a domain with so many CPUs holds at worst."""
    return min(cpus, _DISK_QUEUES) * (_DISK_REQUESTS * (_DISK_SEGMENTS + 1) + 1)


def interface_grants(cpus: int) -> int:
    """Return how many grants a PV network interface of a domain with so many CPUs holds at worst."""
    return min(cpus, _INTERFACE_QUEUES) * (2 * _INTERFACE_ENTRIES + 2)


def share_grants(_cpus: int) -> int:
    """Return how many grants a PV share (9p) holds, whatever its domain."""
    return _SHARE_RINGS * (_SHARE_RING_PAGES + 1)


_PV_GRANTS = {"blk": disk_grants, "net": interface_grants, "fs": share_grants}


def grants_of(device: Device, cpus: int) -> int:
    """Return how many grants a device of a domain with so many CPUs holds at worst; 0 where none are used."""
    if device.data_path is not DataPath.PV or device.type not in _PV_GRANTS:
        return 0
    return _PV_GRANTS[device.type](cpus)


def mappings_of(device: Device, cpus: int) -> int:
    """Return how many grants of a PV device its backend maps at worst; ``cpus`` are the frontend's."""
    if device.type == "net":
        return min(cpus, _INTERFACE_QUEUES) * (_INTERFACE_ENTRIES + 2)
    return grants_of(device, cpus)


def event_channels_of(device: Device, cpus: int) -> int:
    """Return how many event channels a PV device takes in either domain; ``cpus`` are the frontend's."""
    # One a queue of a disk, two a queue of an interface (split event channels), one a ring of a share.
    return {"blk": min(cpus, _DISK_QUEUES), "net": 2 * min(cpus, _INTERFACE_QUEUES), "fs": _SHARE_RINGS}[device.type]


def available_mappings(frames: int | None) -> int:
    """Return how many grants a domain can map with so many maptrack frames (Xen's default when None)."""
    return (DEFAULT_MAPTRACK_FRAMES if frames is None else frames) * MAPPINGS_PER_FRAME


def available_grants(frames: int | None) -> int:
    """Return how many grants a domain can have with so many grant frames (Xen's default when None)."""
    return (frames or DEFAULT_FRAMES) * GRANTS_PER_FRAME - RESERVED_GRANTS
