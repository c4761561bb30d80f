"""What every device type is made of: what a user writes of it, who serves it, what that takes of the board.

Enter at ``DeviceBase``; a type that a vhost-user daemon serves is a ``VhostUserDevice``.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from vtool.base.records import record
from vtool.data_paths import DataPath
from vtool.data_paths.facts import Transport
from vtool.model.types import BoardFileName, CpuList, Model, Name, Size

Version = tuple[int, int]
Words = tuple[tuple[str, ...], ...]
"""Arguments of a command line, grouped into lines."""
DAEMON_FILES = [path.stem for path in sorted(Path(__file__).parent.glob("vhost_device_*.py"))]
"""The modules beside this one that are a vhost-user daemon each: a daemon is there by its file."""


if TYPE_CHECKING:

    class Program(Enum):
        """What serves a device in the backend domain; ``qemu`` is the guest's own VMM."""

        QEMU_STORAGE_DAEMON = "qemu-storage-daemon"
        VIRTIOFSD = "virtiofsd"
        PASST = "passt"
        QEMU = "qemu"
        QEMU_XENPVH = "qemu-xenpvh"
        """A QEMU in dom0, one a guest, that has all of the guest's virtio devices (machine xenpvh)."""
        VIRTIO_DISK = "virtio-disk"
        BLKBACK = "blkback"
        NETBACK = "netback"
        XEN_9PFSD = "xen-9pfsd"
        VTOOL_RING = "vtool-ring"
        """vtool's own program, which runs in both domains."""
else:
    _FIRST = ("qemu-storage-daemon", "virtiofsd", "passt")
    _LAST = ("qemu", "qemu-xenpvh", "virtio-disk", "blkback", "netback", "xen-9pfsd", "vtool-ring")
    _WORDS = (*_FIRST, *(name.replace("_", "-") for name in DAEMON_FILES), *_LAST)
    Program = Enum("Program", {word.upper().replace("-", "_"): word for word in _WORDS}, module=__name__)
    Program.__doc__ = "What serves a device in the backend domain; ``qemu`` is the guest's own VMM."


class Suite(Enum):
    """A Debian release that a board runs."""

    BOOKWORM = "bookworm"
    TRIXIE = "trixie"
    TRIXIE_BACKPORTS = "trixie-backports"
    """trixie with QEMU and its daemons from trixie-backports."""
    SID = "sid"


class Readiness(Enum):
    """How it is known that a daemon's socket can be connected to."""

    FORKS = "forks"
    """Its first process ends once the socket is there."""
    ACTIVATED = "activated"
    """systemd listens, and hands the socket over."""
    LISTENS = "listens"
    """The kernel's table of sockets says that it listens."""


@record
class ProgramFacts:
    """A daemon: where Debian has it, how its socket is named, how it gets ready.

    ``packages`` is empty for what no Debian release has; then it is built by hand, into /usr/local.
    ``numbered_socket``: it appends the guest's number to the socket's path, even for one guest.
    """

    packages: Mapping[Suite, str] = field(default_factory=dict)
    executable: str = ""
    numbered_socket: bool = False
    readiness: Readiness = Readiness.LISTENS


def by_hand(program: Program, *, numbered: bool = False, activated: bool = False) -> ProgramFacts:
    """Return the facts of a daemon that no Debian release has."""
    readiness = Readiness.ACTIVATED if activated else Readiness.LISTENS
    return ProgramFacts({}, f"/usr/local/bin/{program.value}", numbered, readiness)


@record
class Service:
    """How one program serves one type of device; ``names`` are QEMU's by transport, empty where QEMU has no device.

    With ``reconnects`` QEMU connects in the background, which only devices that wait for it survive
    (QEMU 7.2 ends in an assertion for a vhost-user-rng that does not; 10.0 connects to a passt that was
    started again, and nothing goes through).
    """

    type: str
    program: Program
    names: Mapping[Transport, str]
    kernel: tuple[str, ...] = ()
    since: Version = (7, 2)
    reconnects: bool = False
    virtio: bool = True
    xl_type: str = ""


def both(mmio: str, pci: str) -> Mapping[Transport, str]:
    """Return QEMU's names on virtio-mmio and on PCI."""
    return {Transport.MMIO: mmio, Transport.PCI: pci}


def only_pci(pci: str) -> Mapping[Transport, str]:
    """Return QEMU's name of what it has on PCI alone."""
    return {Transport.PCI: pci}


class VerifyAccess(Enum):
    """What ``vtool verify`` may do to a disk: ``write`` gives it the last 8 MiB as scratch space."""

    READ = "read"
    WRITE = "write"


@record
class DaemonPlace:
    """Where a daemon works: the socket that it listens at, its folder, the files of its disks."""

    listen: str
    folder: str
    disks: tuple[str, ...] = ()


class DeviceBase(Model):
    """What all devices have: the two domains, how they meet, and what serves it.

    ``backend_cpus`` are the board's CPUs that the serving daemon is kept on; none means any.
    """

    frontend: Name
    backend: Name
    program: Program
    transport: Transport
    data_path: DataPath
    region: Name | None = None
    backend_cpus: CpuList = ()

    if TYPE_CHECKING:
        type: str

    address_families: ClassVar[tuple[str, ...]] = ("AF_UNIX",)
    """The sockets that its daemon opens; with others than these it works in the board's own network."""

    def claims(self) -> Iterator[tuple[str, tuple[str | int, ...]]]:
        """Yield what of the board only one device can have, each with its place below the device."""
        yield from ()

    def board_nodes(self) -> tuple[str, ...]:
        """Return the nodes in the board's ``/dev`` that serving it takes, for it alone."""
        return ()

    def node_class(self) -> tuple[str, str] | None:
        """Return the class of nodes that serving it takes, and the group that may open them (udev's rules)."""
        return None


class VhostUserDevice(DeviceBase):
    """A device that a vhost-user daemon of its own serves; some types QEMU serves as well."""

    config: ClassVar[tuple[tuple[str, str], ...]] = ()
    """What QEMU is told of a type that it has no device of its own for (vhost-user-test-device)."""

    @abstractmethod
    def daemon_arguments(self, at: DaemonPlace) -> Words:
        """Return the daemon's arguments."""


def socket_path(at: DaemonPlace, *more: tuple[str, ...]) -> Words:
    """Return the arguments of a daemon that listens at a path."""
    return (("--socket-path", at.listen), *more)


def numbered(at: DaemonPlace, *more: tuple[str, ...]) -> Words:
    """Return the arguments of a daemon that serves a number of guests, here one, each at a numbered socket."""
    return socket_path(at, ("-c", "1"), *more)


LOCAL_FD = "3"
"""The first descriptor that systemd hands over (sd_listen_fds(3))."""


class Disk(Model):
    """The file behind a block device, in vtool's disk folder on the board; made when it is not there."""

    file: BoardFileName
    size: Size
    verify: VerifyAccess = VerifyAccess.READ
