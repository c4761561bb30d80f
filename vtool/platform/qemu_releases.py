"""Where QEMU's releases differ in what vtool uses of them: options, machines, and which releases there are.

One row an option in ``OPTIONS``; of machines all follows from their version, ``Machine``. The release with which a
device came stands beside the device type.
"""

from __future__ import annotations

from vtool.base.records import record

Version = tuple[int, int]
Pair = tuple[str, str]
OLDEST: Version = (7, 2)
"""The oldest release that is supported: Debian 12's."""

_LAST_MINOR = {2: 12, 3: 1}
"""Of a major release; from 4 on there is one a year, with the minors 0, 1 and 2 (QEMU's release schedule)."""


def was_released(version: Version) -> bool:
    """Whether there was, or by the schedule will be, a QEMU of that version."""
    return version >= (2, 0) and version[1] <= last_minor(version[0])


def last_minor(major: int) -> int:
    """Return the last minor number of a major release."""
    return _LAST_MINOR.get(major, 2)


@record
class Option:
    """A key and value of an option that releases before ``since`` write as ``before``, or not at all."""

    of: str
    written: Pair
    since: Version
    before: Pair | None
    source: str

    def for_release(self, qemu: Version) -> tuple[Pair, ...]:
        """Return what to write for a release."""
        pair = self.written if qemu >= self.since else self.before
        return (pair,) if pair else ()


RECONNECT = Option(
    "-chardev socket",
    ("reconnect-ms", "500"),
    (9, 2),
    ("reconnect", "1"),
    "QEMU qapi/char.json ChardevSocket; `reconnect` (seconds) ends with 10.1, docs/about/deprecated.rst",
)
OPTIONS = (RECONNECT,)


def offers_sizes(qemu: Version | None, *, mmio: bool) -> bool:
    """Whether QEMU offers a driver queues of the size that its device was given, and not always of 1024.

    From 11.1 on. Stable releases before it offer the most (10.0.13 hw/virtio/virtio.c, virtio_add_queue), but for
    7.2.22, which does so over virtio-mmio alone (hw/virtio/virtio-mmio.c, VIRTIO_MMIO_QUEUE_NUM_MAX). Seen in these.
    """
    return qemu is not None and (qemu >= (11, 1) or (qemu < (8, 0) and not mmio))


XENPVH_SINCE: Version = (9, 2)
"""QEMU 9.2 has xenpvh's grants, and fills its virtio-mmio windows upwards as libxl does (hw/xen/xen-pvh-common.c);
before, the first device was in the highest one, where an unpatched Xen's guest does not look."""


@record
class Machine:
    """A ``virt`` machine of a version: releases [``version``, ``removed``) have it, deprecated from ``deprecated`` on.

    QEMU include/hw/boards.h MACHINE_VER_DEPRECATION_MAJOR, MACHINE_VER_DELETION_MAJOR: three and six major releases
    later, first with 9.1 and 10.1.
    """

    version: Version

    @property
    def existed(self) -> bool:
        """Whether there is such a machine at all: arm has versions from 2.6 on (hw/arm/virt.c)."""
        return self.version >= (2, 6) and was_released(self.version)

    @property
    def deprecated(self) -> Version:
        """Return the first release that says it will go."""
        return max((self.version[0] + 3, self.version[1]), (9, 1))

    @property
    def removed(self) -> Version:
        """Return the first release without it."""
        return max((self.version[0] + 6, self.version[1]), (10, 1))


def machines_of(qemu: Version) -> list[Version]:
    """Return the versions of the machines that a release has, ascending."""
    versions = [(major, minor) for major in range(2, qemu[0] + 1) for minor in range(last_minor(major) + 1)]
    return [v for v in versions if Machine(v).existed and v <= qemu < Machine(v).removed]
