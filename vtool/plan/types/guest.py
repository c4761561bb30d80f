"""What every guest is, whoever starts it: the one vocabulary of renderers, reports, proofs and accounting.

Enter at `Guest`. `KvmGuest`, `XenGuest` and `XenBootGuest` are of this form; what only one hypervisor knows is theirs
alone, and found there.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.diagnostics import Span
from vtool.model.access import ProofKind, Way
from vtool.model.devices import DiskFormat
from vtool.model.devices.arguments import DiskNode
from vtool.plan.types.origins import Origin, StaticRange

if TYPE_CHECKING:
    from vtool.plan.types.regions import RegionFile
    from vtool.plan.types.windows import GuestWindows
    from vtool.plan.types.xen import XenQemu


class GuestKind(Enum):
    """How a guest is started."""

    KVM = "kvm"
    XL = "xen"
    DOM0LESS = "dom0less"


@record
class GuestAccess:
    """How a proof gets into a guest: never a password or key, but where they are on the controller.

    ``place`` is where the user wrote it. ``user``, and for a login the prompts, for ssh where it answers, are of the
    ways that have them.
    """

    way: Way = Way.SHELL
    user: str = ""
    password_file: str | None = None
    password_env: str | None = None
    prompt: str = ""
    password_prompt: str = ""
    address: str = ""
    port: int = 0
    key_file: str | None = None
    host_key: str | None = None
    place: Span | None = None


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
class DiskImage:
    """What a disk's file begins as.

    ``reference`` names a file here, or is empty for a file that holds nothing but its format. ``resets``: with another
    image the disk starts anew. ``span`` is where the topology asks for it.
    """

    reference: str
    resets: bool
    span: Span


@record
class FileDisk:
    """A file on the board behind a guest's device, or a block device of the board (``is_device``).

    ``name`` is the file's in the topology, and ``disk_bytes`` what a guest sees of it: None for a device, which has its
    size. ``sized``: the user said it. ``scratch`` is the part of it that verify may write to, ``image`` what the file
    begins as, None for nothing.
    """

    disk_path: str
    disk_bytes: int | None
    scratch: AddressRange | None
    name: str = ""
    format: DiskFormat = DiskFormat.RAW
    read_only: bool = False
    is_device: bool = False
    sized: bool = True
    image: DiskImage | None = None

    @property
    def node(self) -> DiskNode:
        """Return what QEMU is told of it."""
        return DiskNode(self.disk_path, self.format.value, self.is_device, self.read_only)


@record
class RegionView:
    """Where a guest sees a region: ``inside`` is guest-physical."""

    region: str
    inside: AddressRange
    origin: Origin


def started_from(kernel: str | None, ramdisk: str | None, unit: str) -> tuple[GuestImage, ...]:
    """Return the images of a guest that ``unit`` starts with kernel and ramdisk, as far as it has them."""
    files = [GuestImage("Image", kernel, (unit,))] if kernel is not None else []
    return (*files, *([GuestImage("ramdisk", ramdisk, (unit,))] if ramdisk is not None else []))


@record
class GrantLimit:
    """How many grants a guest's devices hold at worst, and how many it has."""

    at_worst: int
    available: int


class GuestDevice(Protocol):
    """A device of a guest of any hypervisor."""

    @property
    def name(self) -> str:
        """Return its name."""

    @property
    def files(self) -> tuple[FileDisk, ...]:
        """Return the files and block devices of the board behind it."""

    @property
    def served_by(self) -> str | None:
        """Return the unit on the board that serves this device alone, or one guest's alone; None without one."""


def file_disks(guest: Guest) -> tuple[FileDisk, ...]:
    """Return the files on the board behind a guest's devices, and those of the guest itself."""
    behind = (file for device in guest.devices for file in device.files if not file.is_device)
    return (*behind, *guest.own_files)


def written_files(disks: Iterable[FileDisk]) -> tuple[str, ...]:
    """Return the paths of the files among disks that may be written to."""
    return tuple(disk.disk_path for disk in disks if not (disk.is_device or disk.read_only))


def board_devices(disks: Iterable[FileDisk]) -> tuple[str, ...]:
    """Return the block devices of the board among disks."""
    return tuple(disk.disk_path for disk in disks if disk.is_device)


def units_of(guest: Guest, device: GuestDevice) -> tuple[str, ...]:
    """Return the units that have a device open: the guest's, and what serves it alone."""
    return tuple(dict.fromkeys(filter(None, (guest.unit, device.served_by))))


def served_by(guest: Guest) -> dict[str, str]:
    """Return the units that serve devices of a guest, by the devices' names."""
    return {device.name: device.served_by for device in guest.devices if device.served_by is not None}


class NotByXl:
    """A guest that xl does not create: no other's PV device waits for it, and units join its interfaces to bridges."""

    @property
    def starts_first(self) -> bool:
        """Return False: none waits until it is ready."""
        return False

    @property
    def bridges(self) -> tuple[str, ...]:
        """Return nothing: the unit of a tap, or the one that attaches an interface, is on it."""
        return ()


class NotOnTheBoard:
    """A device with nothing of its own on the board: no file behind it, no unit that serves it alone."""

    @property
    def files(self) -> tuple[FileDisk, ...]:
        """Return nothing."""
        return ()

    @property
    def served_by(self) -> None:
        """Return nothing: another guest serves it, or a bridge that others have as well."""
        return


class StartedLater:
    """A guest that its unit starts on the running board."""

    unit: str

    @property
    def at_boot(self) -> bool:
        """Return False: its unit starts it."""
        return False

    @property
    def domain_id(self) -> None:
        """Return nothing: it has a number, if any, once it runs."""
        return

    @property
    def static_memory(self) -> tuple[StaticRange, ...]:
        """Return nothing: its memory is found when it starts."""
        return ()

    @property
    def target_units(self) -> tuple[str, ...]:
        """Return its unit."""
        return (self.unit,)


class Guest(Protocol):
    """A guest of any hypervisor. Files and units are those on its board."""

    @property
    def kind(self) -> GuestKind:
        """Return how it is started."""

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
    def access(self) -> GuestAccess:
        """Return how a proof gets into it."""

    @property
    def require(self) -> tuple[ProofKind, ...]:
        """Return the kinds of rows of its proof without which it is not deployed."""

    @property
    def at_boot(self) -> bool:
        """Whether the hypervisor itself builds it, before the control domain runs."""

    @property
    def starts_first(self) -> bool:
        """Whether others start only after it is ready."""

    @property
    def target_units(self) -> tuple[str, ...]:
        """Return the units that have to be started for it, as far as no other unit asks for them."""

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
    def answers_qmp(self) -> bool:
        """Whether vtool can ask a QEMU of it there."""

    @property
    def qemu(self) -> XenQemu | None:
        """Return the QEMU in dom0 that has its devices, where it has one beside it."""

    @property
    def images(self) -> tuple[GuestImage, ...]:
        """Return every image that it and what serves it are made from."""

    @property
    def devices(self) -> tuple[GuestDevice, ...]:
        """Return its devices, in the order in which their files are told."""

    @property
    def own_files(self) -> tuple[FileDisk, ...]:
        """Return the files on the board that are the guest's and no device's: what its firmware keeps."""

    @property
    def region_files(self) -> tuple[RegionFile, ...]:
        """Return the files on the board that it shares with another guest."""

    @property
    def bridges(self) -> tuple[str, ...]:
        """Return the bridges that it is on without a unit between that joins it again."""

    @property
    def grants(self) -> GrantLimit | None:
        """Return how many grants its devices hold, None where they hold none."""

    @property
    def static_memory(self) -> tuple[StaticRange, ...]:
        """Return its host memory where that is set aside for it."""

    @property
    def not_checked(self) -> tuple[str, ...]:
        """Return what the user adds in the words of who starts it, of which vtool knows nothing."""

    @property
    def windows(self) -> GuestWindows:
        """Return what its addresses are, guest-physical."""

    @property
    def views(self) -> tuple[RegionView, ...]:
        """Return the regions that it sees at addresses that are decided."""
