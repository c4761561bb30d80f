"""Arithmetic of what a Xen guest's device holds at once, for the files of devices: grants, mappings, event channels.

Worst cases of Linux 6.12 with its defaults. virtio with grants: drivers/xen/grant-dma-ops.c grants each mapping for as
long as it lives, so every outstanding request of a disk holds its pages, its header, and its table of indirect
descriptors (virtio 1.3 2.7.5.3). How many those are is not the ring's size, which QEMU does not let a device choose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vtool.base.records import record
from vtool.base.units import KIB, PAGE_BYTES

GRANTED_REQUESTS = 64
"""How many requests vtool lets a granted disk of QEMU's have outstanding."""
OFFERED_ENTRIES = 1024
"""Entries of each ring that QEMU offers over virtio-mmio, whatever its device was given (hw/virtio/virtio-mmio.c
VIRTIO_MMIO_QUEUE_NUM_MAX; ``qemu_releases.offers_sizes``). Linux makes the ring as large (drivers/virtio/virtio_mmio.c,
vm_setup_vq), and a disk has as many requests outstanding unless its driver is told otherwise."""
TABLE_PAGES = 2
"""At most 256 indirect descriptors of 16 bytes, not page aligned."""
_REQUEST_PAGES = 1280 * KIB // PAGE_BYTES + 1
"""Pages of the largest request of a disk: include/linux/blkdev.h BLK_DEF_MAX_SECTORS_CAP, not page aligned."""
_HEADER_PAGES = 2
"""Request header and status, which may lie across two pages."""


@record
class Held:
    """What a device holds at worst: grants of its frontend, what its backend maps of them, event channels of either."""

    grants: int
    mappings: int
    event_channels: int


Holds = Callable[[Any, int], Held]
"""Takes the device and the CPUs of its frontend."""


def holds_nothing(_device: Any, _cpus: int) -> Held:
    """Return that a device grants nothing."""
    return Held(0, 0, 0)


def virtio_holds(grants: int) -> Holds:
    """Return what a virtio device holds where its data path is grants, however many CPUs its frontend has."""
    return lambda _device, _cpus: Held(grants, grants, 0)


def ring_pages(entries: int) -> int:
    """Return the pages of one split ring: descriptors, available and used (virtio 1.3 2.7), each rounded up."""
    return -(-(16 * entries + 6 + 2 * entries) // PAGE_BYTES) + -(-(6 + 8 * entries) // PAGE_BYTES) + 1


def disk_grants(requests: int, entries: int) -> int:
    """Return the grants of a virtio disk with so many requests outstanding, in a ring of so many entries."""
    return requests * (_REQUEST_PAGES + _HEADER_PAGES + TABLE_PAGES) + ring_pages(entries)
