"""What a Xen guest's devices hold at once, at worst, on both sides, and how much of it a domain has.

Grants and event channels on the frontend's side, mappings of them and the same event channels on the backend's.
Worst cases of Linux 6.12 with its defaults. PV: drivers/block/xen-blkfront.c (every request of every queue keeps its
segments and an indirect page granted), drivers/net/xen-netfront.c (both rings full), net/9p/trans_xen.c (all data
pages of the rings). Of an interface the backend maps what it sends out and its rings; Xen copies the rest. virtio with
grants: drivers/xen/grant-dma-ops.c grants each mapping for as long as it lives, so every entry of every ring holds the
pages of its largest request, its header, and its table of indirect descriptors (virtio 1.3 2.7.5.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vtool.base.units import KIB, PAGE_BYTES
from vtool.model.devices import Device, Program
from vtool.platform.xen_grants import GRANTED_REQUESTS

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

_VIRTIO_DISK_REQUESTS = 256
"""virtio/blk.c of virtio-disk, VIRTIO_BLK_QUEUE_SIZE."""
_REQUEST_PAGES = 1280 * KIB // PAGE_BYTES + 1
"""Pages of the largest request of a disk: include/linux/blkdev.h BLK_DEF_MAX_SECTORS_CAP, not page aligned."""
_HEADER_PAGES = 2
"""Request header and status, which may lie across two pages."""
_TABLE_PAGES = 2
"""At most 256 indirect descriptors of 16 bytes, not page aligned."""
_PACKET_PAGES = 2 * 18
"""drivers/net/virtio_net.c: MAX_SKB_FRAGS 17 fragments and the head, each across two pages."""

GRANTS_PER_FRAME = PAGE_BYTES // 8
"""Of version 1, 8 bytes each: Arm has no other (Xen xen/arch/arm/include/asm/grant_table.h, GNTTAB_MAX_VERSION)."""
RESERVED_GRANTS = 8
"""Xen xen/include/public/grant_table.h GNTTAB_NR_RESERVED_ENTRIES."""
DEFAULT_FRAMES = 64
"""gnttab_max_frames of Xen."""
MAPPINGS_PER_FRAME = PAGE_BYTES // 16
"""Xen xen/common/grant_table.c MAPTRACK_PER_PAGE."""
DEFAULT_MAPTRACK_FRAMES = 1024
"""gnttab_max_maptrack_frames of Xen."""
EVENT_CHANNELS = 1023
"""A domain's default max_evtchn_port (Xen 4.20 tools/libs/light/libxl_create.c)."""
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


def _ring_pages(entries: int) -> int:
    """Pages of one split ring: descriptors, available and used (virtio 1.3 2.7), each rounded up."""
    return -(-(16 * entries + 6 + 2 * entries) // PAGE_BYTES) + -(-(6 + 8 * entries) // PAGE_BYTES) + 1


def _disk_like(requests: int) -> int:
    return requests * (_REQUEST_PAGES + _HEADER_PAGES + _TABLE_PAGES) + _ring_pages(requests)


_VIRTIO: Mapping[str, int] = {
    "blk": _disk_like(GRANTED_REQUESTS),
    # Beside the requests: a control and an event queue of as many small buffers.
    "scsi": _disk_like(GRANTED_REQUESTS) + 2 * (2 * GRANTED_REQUESTS + _ring_pages(GRANTED_REQUESTS)),
    # A receive ring of buffers within two pages, a transmit ring of whole packets, 64 control messages.
    "net": 256 * 2 + 256 * (_PACKET_PAGES + _TABLE_PAGES) + 64 * 4 + 2 * _ring_pages(256) + _ring_pages(64),
    "rng": 8 * 2 + _ring_pages(8),
    # hw/char/virtio-serial-bus.c: a port's two rings of 128, two of 32 for control, a page a buffer.
    "console": 2 * (128 * 2 + _ring_pages(128)) + 2 * (32 * 2 + _ring_pages(32)),
    # drivers/i2c/i2c-dev.c: 42 messages of 8 KiB at a time, each with two headers.
    "i2c": 42 * (3 + 2 + _TABLE_PAGES) + _ring_pages(1024),
    "gpio": 2 * (256 * 2 + _ring_pages(256)),
    # fs/fuse/virtio_fs.c: 256 pages and four headers a request; a second queue of single buffers.
    "fs": 1024 * (256 + 1 + 4 + _TABLE_PAGES) + 1024 * 2 + 2 * _ring_pages(1024),
    "input": 2 * (64 * 2 + _ring_pages(64)),
}
"""By type, as QEMU has them with one queue pair, which is what it gives a virtio-mmio device; for i2c, gpio and fs
the queues of xen-vhost-frontend (its fork of vhost-user-frontend, queue_num_and_size)."""


def grants_of(device: Device, cpus: int) -> int:
    """Return how many grants a device of a domain with so many CPUs holds at worst; 0 where none are used."""
    traits = device.data_path.traits
    if not traits.grants:
        return 0
    if not traits.virtio:
        return _PV_GRANTS[device.type](cpus) if device.type in _PV_GRANTS else 0
    if device.program is Program.VIRTIO_DISK:
        return _disk_like(_VIRTIO_DISK_REQUESTS)
    return _VIRTIO.get(device.type, 0)


def mappings_of(device: Device, cpus: int) -> int:
    """Return how many grants of a PV device its backend maps at worst; ``cpus`` are the frontend's."""
    if device.type == "net":
        return min(cpus, _INTERFACE_QUEUES) * (_INTERFACE_ENTRIES + 2)
    return grants_of(device, cpus)


def event_channels_of(device: Device, cpus: int) -> int:
    """Return how many event channels a PV device takes in either domain; ``cpus`` are the frontend's."""
    # One a queue of a disk, two a queue of an interface (split event channels), one a ring of a share.
    return {"blk": min(cpus, _DISK_QUEUES), "net": 2 * min(cpus, _INTERFACE_QUEUES), "fs": _SHARE_RINGS}[device.type]


def driver_domain_load(served: Iterable[tuple[Device, int]], own: Iterable[tuple[Device, int]]) -> tuple[int, int]:
    """Return what a driver domain takes at worst: mappings of grants, and event channels.

    ``served`` are the PV devices it serves, ``own`` those it has, each with the CPUs of its frontend.
    """
    served = tuple(served)
    channels = OWN_EVENT_CHANNELS + sum(event_channels_of(device, cpus) for device, cpus in (*served, *own))
    return sum(mappings_of(device, cpus) for device, cpus in served), channels


def available_mappings(frames: int | None) -> int:
    """Return how many grants a domain can map with so many maptrack frames (Xen's default when None)."""
    return (DEFAULT_MAPTRACK_FRAMES if frames is None else frames) * MAPPINGS_PER_FRAME


def available_grants(frames: int | None) -> int:
    """Return how many grants a domain can have with so many grant frames (Xen's default when None)."""
    return (frames or DEFAULT_FRAMES) * GRANTS_PER_FRAME - RESERVED_GRANTS
