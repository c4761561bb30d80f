"""What every guest is, whoever starts it: the one vocabulary of renderers, reports, proofs and accounting.

Enter at `Guest`. `KvmGuest`, `XenGuest` and `XenBootGuest` are of this form; what only one hypervisor knows is theirs
alone, and found there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.plan.types.origins import Origin

if TYPE_CHECKING:
    from vtool.plan.types.xen import XenQemu


@record
class GuestImage:
    """A file of an image that a guest or what serves it is made from.

    ``reference`` names the image, ``file`` is its name in the guest's folder, or in the boot set where the boot loader
    loads it (``at_boot``). ``used_by`` are the units that restart with another. ``of_qemu``: the board's
    `qemu_image` asks for it, not the guest.
    """

    file: str
    reference: str
    used_by: tuple[str, ...] = ()
    at_boot: bool = False
    executable: bool = False
    of_qemu: bool = False


@record
class FileDisk:
    """A file on the board behind a guest's device; ``scratch`` is the part of it that verify may write to."""

    disk_path: str
    disk_bytes: int
    scratch: AddressRange | None


@record
class RegionView:
    """Where a guest sees a region: ``inside`` is guest-physical."""

    region: str
    inside: AddressRange
    origin: Origin


def started_from(kernel: str, ramdisk: str | None, unit: str) -> tuple[GuestImage, ...]:
    """Return the images of a guest that ``unit`` starts with kernel and ramdisk."""
    files = [GuestImage("Image", kernel, (unit,))]
    return (*files, *([GuestImage("ramdisk", ramdisk, (unit,))] if ramdisk is not None else []))


class Guest(Protocol):
    """A guest of any hypervisor. Files and units are those on its board."""

    @property
    def kind(self) -> str:
        """Return the word for how it is started: kvm, xen (by xl), dom0less (by Xen)."""

    @property
    def name(self) -> str:
        """Return its name."""

    @property
    def cpus(self) -> int:
        """Return how many CPUs it has."""

    @property
    def memory_bytes(self) -> int:
        """Return its memory, with the pools behind it."""

    @property
    def banks(self) -> tuple[AddressRange, ...]:
        """Return its RAM, guest-physical, without pools."""

    @property
    def bootargs(self) -> str:
        """Return its kernel's command line."""

    @property
    def unit(self) -> str:
        """Return the unit that runs it, or finds it running."""

    @property
    def ready(self) -> str:
        """Return the text on its console that says that it is up, empty where there is none."""

    @property
    def ready_timeout_s(self) -> int:
        """Return how long that may take."""

    @property
    def domain_id(self) -> int | None:
        """Return the number that Xen gives it, where that is known before it runs."""

    @property
    def console_log(self) -> str | None:
        """Return the file with what it printed, where it is not Xen's own log."""

    @property
    def console_socket(self) -> str | None:
        """Return the socket of its console, where it is one."""

    @property
    def qmp_socket(self) -> str | None:
        """Return the socket of its QEMU's monitor, where it has one."""

    @property
    def qemu(self) -> XenQemu | None:
        """Return the QEMU in dom0 that has its devices, where it has one beside it."""

    @property
    def images(self) -> tuple[GuestImage, ...]:
        """Return every image that it and what serves it are made from."""

    @property
    def file_disks(self) -> tuple[FileDisk, ...]:
        """Return the files on the board behind its devices."""

    @property
    def served_by(self) -> tuple[tuple[str, str], ...]:
        """Return each device that a unit of its own serves, and that unit."""

    @property
    def views(self) -> tuple[RegionView, ...]:
        """Return the regions that it sees at addresses that are decided."""
