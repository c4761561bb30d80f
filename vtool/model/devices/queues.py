"""What of a device's queues can be chosen: limits as data, one record where a program serves a type of device.

A queue's size is the number of descriptors in its ring, a power of two up to 32768 (virtio 1.2 2.7); what QEMU and the
daemons take is less. Enter at ``QueueLimits``.
"""

from __future__ import annotations

from vtool.base.records import record
from vtool.data_paths.facts import Transport
from vtool.platform.qemu_releases import Version, offers_sizes

QEMU_MOST = 1024
"""QEMU include/hw/virtio/virtio.h, VIRTIO_QUEUE_MAX."""
VHOST_USER_MOST = 256
"""A kick names its queue in 8 bits (QEMU docs/interop/vhost-user.rst, VHOST_USER_SET_VRING_KICK)."""
TAP_MOST = 256
"""Linux drivers/net/tun.c, MAX_TAP_QUEUES."""
QEMU_DEFAULT = 256
"""Entries of the queues of QEMU's own devices; of vhost-user-blk and -fs they are 128."""
QEMU_ENTRIES = (4, 1024)
"""QEMU hw/block/virtio-blk.c asks for more than 2; VIRTQUEUE_MAX_SIZE."""
NET_ENTRIES = (256, 1024)
"""QEMU hw/net/virtio-net.c, VIRTIO_NET_RX_QUEUE_MIN_SIZE and VIRTQUEUE_MAX_SIZE."""


@record
class QueueLimits:
    """How many request queues a device can be given (of a network, pairs of them), and of how many entries each.

    ``most`` is 0 and ``entries``, from the least to the most, is None where nobody can choose that; ``instead`` then
    says what can be done. ``number`` and ``size`` are QEMU's properties of the device; empty where its type writes the
    number itself. ``granted`` is the size where nobody chose one and the frontend grants pages for every entry.
    """

    most: int = 0
    entries: tuple[int, int] | None = None
    number: str = ""
    size: tuple[str, ...] = ()
    granted: int | None = None
    instead: str = ""

    def entries_by(self, qemu: Version | None, transport: Transport) -> tuple[int, int] | None:
        """Return the least and the most entries of a queue that a release offers a driver, which Linux then takes."""
        if self.entries is None or offers_sizes(qemu, mmio=transport is Transport.MMIO):
            return self.entries
        return self.entries[1], self.entries[1]

    def size_of(self, chosen: int | None, *, grants: bool) -> int | None:
        """Return how many entries QEMU is told to give a queue; None where that is left to it."""
        return chosen or (self.granted if grants else None)

    def properties(self, queues: int | None, entries: int | None) -> tuple[tuple[str, str], ...]:
        """Return the properties of QEMU's device that make so many queues of that size."""
        number = ((self.number, str(queues)),) if queues and self.number else ()
        return (*number, *((name, str(entries)) for name in self.size if entries))


NOT_CHOSEN = QueueLimits()
"""Of backends with queues of their own number and size."""


def nearest_size(size: int, entries: tuple[int, int]) -> int:
    """Return the largest size of a queue that a backend takes and that is not above the one wanted, else the least."""
    least, most = entries
    return min(max(1 << max(size, 1).bit_length() - 1, least), most)
