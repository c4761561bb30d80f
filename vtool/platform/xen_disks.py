"""Names of disks that Xen hands over to a guest, and their numbers: xen-vbd-interface(7).

A name is that of a whole disk (xvda), or of one partition (xvda1) without the disk that it would be on.
"""

from __future__ import annotations

from string import ascii_lowercase

XVD_NAMES = tuple(f"xvd{letter}" for letter in ascii_lowercase)
_MAJOR = 202
_FEW_DISKS = 16
"""As many have numbers of the old form; a name here has at most 15 partitions, which it has room for."""


def whole_disk(name: str) -> str:
    """Return the name of the disk that a partition would be on; a disk's own as it is."""
    return name.rstrip("0123456789")


def meet(one: str, other: str) -> bool:
    """Whether two names cannot be in one guest: the same one, or a disk and a partition of it."""
    return other in (one, whole_disk(one)) or one == whole_disk(other)


def vbd_number(name: str) -> int:
    """Return the number of a disk or partition, as xenstore has it."""
    whole = whole_disk(name)
    disk, partition = XVD_NAMES.index(whole), int(name.removeprefix(whole) or 0)
    return _MAJOR << 8 | disk << 4 | partition if disk < _FEW_DISKS else 1 << 28 | disk << 8 | partition
