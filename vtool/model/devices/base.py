"""What device files are made of: a type's model, a daemon, and how programs serve a type.

Enter at ``DeviceType`` and ``Daemon``: a file of ``types/`` has one ``TYPE``, a file of ``daemons/`` one ``DAEMON``.
What is missing in one, the type checker says.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar, get_args

from pydantic import Field

from vtool.base.records import record
from vtool.base.units import KIB, MIB, PAGE_BYTES, align_up
from vtool.data_paths import DataPath
from vtool.data_paths.facts import Transport
from vtool.model.devices.arguments import Lines, Parts, Wiring
from vtool.model.devices.disk import Disk
from vtool.model.devices.queues import NOT_CHOSEN, QueueLimits
from vtool.model.types import Address, BoardFileName, CpuList, Model, Name, SocketPath, UnitExtra
from vtool.platform.qemu_releases import OLDEST, XENPVH_SINCE
from vtool.platform.xen_grants import Holds, holds_nothing, ring_pages
from vtool.platform.xen_releases import Feature
from vtool.reading.source import KeyPath

Version = tuple[int, int]


def _files(folder: str) -> list[str]:
    return [path.stem for path in sorted((Path(__file__).parent / folder).glob("[!_]*.py"))]


TYPE_FILES, DAEMON_FILES = _files("types"), _files("daemons")
"""The modules of device types, each named as the type, and of daemons, each named as the program."""


def as_told(words: Iterable[str], first: tuple[str, ...], last: tuple[str, ...]) -> tuple[str, ...]:
    """Return words in the order in which people are told of them: those that nobody has placed stand in between."""
    return (*first, *sorted(set(words) - {*first, *last}), *last)


if TYPE_CHECKING:

    class Program(Enum):
        """What serves a device in the backend domain; ``qemu`` is the guest's own VMM."""

        QEMU_STORAGE_DAEMON = "qemu-storage-daemon"
        VIRTIOFSD = "virtiofsd"
        PASST = "passt"
        QEMU = "qemu"
        QEMU_XENPVH = "qemu-xenpvh"
        """A QEMU in dom0, one a guest, that has all of the guest's virtio devices (machine xenpvh)."""
        VHOST_USER = "vhost-user"
        """A daemon that another tool starts, and that listens at the device's ``socket``."""
        VHOST_VSOCK = "vhost-vsock"
        """Linux of the board itself."""
        VIRTIO_DISK = "virtio-disk"
        BLKBACK = "blkback"
        NETBACK = "netback"
        XEN_9PFSD = "xen-9pfsd"
        VTOOL_RING = "vtool-ring"
        """vtool's own program, which runs in both domains."""
else:
    _WORDS = as_told(
        (name.replace("_", "-") for name in DAEMON_FILES),
        ("qemu-storage-daemon", "virtiofsd", "passt"),
        (
            "qemu",
            "qemu-xenpvh",
            "vhost-user",
            "vhost-vsock",
            "virtio-disk",
            "blkback",
            "netback",
            "xen-9pfsd",
            "vtool-ring",
        ),
    )
    Program = Enum("Program", {word.upper().replace("-", "_"): word for word in _WORDS}, module=__name__)
    Program.__doc__ = "What serves a device in the backend domain; ``qemu`` is the guest's own VMM."


class Suite(Enum):
    """A Debian release that a board runs."""

    BOOKWORM = "bookworm"
    TRIXIE = "trixie"
    TRIXIE_BACKPORTS = "trixie-backports"
    """trixie with QEMU and its daemons from trixie-backports."""
    SID = "sid"


EVERY_SUITE = tuple(Suite)
SINCE_TRIXIE = (Suite.TRIXIE, Suite.TRIXIE_BACKPORTS, Suite.SID)


class Readiness(Enum):
    """How it is known that a daemon's socket can be connected to."""

    FORKS = "forks"
    """Its first process ends once the socket is there."""
    ACTIVATED = "activated"
    """systemd listens, and hands the socket over."""
    LISTENS = "listens"
    """The kernel's table of sockets says that it listens."""


class Share(Model):
    """A folder that a guest mounts, under vtool's folder of shares on the board; its tag is the device's name.

    A virtio-fs under KVM, 9p over Xen's own transport under Xen.
    """

    directory: BoardFileName
    read_only: bool = False


LEAST_POOL_BYTES = 4 * MIB
FEW_BUFFERS_BYTES = 256 * KIB
"""One segment of a pool, for devices with few small buffers."""


BOARD_PORTS = range(1024, 65536)
"""The TCP ports of a board that a topology may use; those below are the board's own services."""


@record
class Claim:
    """Something of the board that only one device can have, and its place below the device.

    ``choices`` are the numbers among which another would do as well, none where the board's hardware has them.
    """

    kind: str
    which: int | str
    place: KeyPath
    choices: range = range(0)


@record
class Misfit:
    """A setting, or several, at a place below the device: what its program needs there and lacks, or why none counts.

    One of ``needs`` and ``no_effect`` is said.
    """

    place: KeyPath
    needs: str = ""
    no_effect: str = ""
    hint: str = ""


class DeviceBase(Model):
    """What all devices have: the two domains, how they meet, and what serves it.

    ``backend_cpus`` are the board's CPUs that the serving daemon is kept on; none means any. ``queues`` is the number
    of request queues (of a network, of pairs), ``queue_size`` that of the entries of each (of a network, of those it
    receives by); left out, both are the backend's own. ``unit_extra`` are settings of the unit that serves it.
    ``address`` is its place in the guest: of a virtio-mmio slot, guest-physical, or its device number on PCI's root
    bus. ``interrupt`` is that of a virtio-mmio slot, as the GIC counts (INTID). One says the other. ``socket`` is where
    the daemon of another tool listens (``program: vhost-user``).
    """

    frontend: Name
    backend: Name
    program: Program
    transport: Transport
    data_path: DataPath
    region: Name | None = None
    backend_cpus: CpuList = ()
    queues: Annotated[int, Field(ge=1, le=1024)] | None = None
    queue_size: Annotated[int, Field(ge=1, le=32768)] | None = None
    address: Address | None = None
    interrupt: Annotated[int, Field(ge=32, le=1019)] | None = None
    unit_extra: UnitExtra = Field(default_factory=dict)
    socket: SocketPath | None = None

    if TYPE_CHECKING:
        type: str

    translates: ClassVar[bool] = False
    """Whether it is an IOMMU: it carries no data, and stands before the guest's other devices."""
    pool_bytes: ClassVar[int] = LEAST_POOL_BYTES
    """The least that it takes of a pool; a disk keeps its queue's depth in flight. Rings of up to 256 KiB are in it."""
    maps_segments: ClassVar[bool] = False
    """Whether its driver hands over up to a whole segment of a pool, 256 KiB, in one piece (Linux drivers/virtio/
    virtio_ring.c, virtio_max_dma_size)."""

    def least_of_pool(self, entries: int) -> int:
        """Return the least in bytes that it takes of a pool, with queues of so many entries."""
        rings = (self.queues or 1) * ring_pages(entries) * PAGE_BYTES
        return self.pool_bytes + max(0, align_up(rings, FEW_BUFFERS_BYTES) - FEW_BUFFERS_BYTES)

    def spread_in_pool(self, entries: int) -> int:  # noqa: ARG002
        """Return the bytes of those segments of a pool in which it keeps buffers for what may come."""
        return 0

    def claims(self) -> Iterator[Claim]:
        """Yield what of the board only one device can have."""
        yield from ()

    def misfits(self, daemon: "Daemon[Any] | None", *, by_a_guest: bool) -> Iterator[Misfit]:  # noqa: ARG002
        """Yield the settings that do not fit its program, which may be a daemon, or which a guest may run."""
        yield from ()

    def board_nodes(self) -> tuple[str, ...]:
        """Return the nodes in the board's ``/dev`` that serving it takes, for it alone."""
        return ()

    def common_nodes(self) -> tuple[str, ...]:
        """Return those that any number of devices open at a time, as their group may."""
        return ()

    def disk_files(self) -> Iterator[tuple[Disk, KeyPath]]:
        """Yield the disks behind it in the order of the file, each with its place below the device."""
        yield from ()

    def folder(self) -> Share | None:
        """Return the folder of the board that it gives to its frontend."""
        return None

    def root_kind(self) -> str:
        """Return what a guest may find its root file system on: the prefix of its disks, or fs, or net; or nothing."""
        return ""

    def driver_options(self) -> tuple[str, ...]:
        """Return the options of the guest's kernel that only some devices of the type need."""
        return ()

    def of_machine(self) -> str:
        """Return the property of QEMU's machine that it is, where it is that and no device of its own."""
        return ""


D = TypeVar("D", bound=DeviceBase)


@record
class Service(Generic[D]):
    """How one program serves one type of device.

    ``names`` are QEMU's by transport, empty where QEMU has no device; then there are no ``options`` of it, either.
    ``kernel``: options of the guest's kernel (Linux drivers/*/Kconfig, 6.12 to 7.2). ``since`` is the first QEMU that
    has the device. With ``reconnects`` QEMU connects in the background, which only devices that wait for it survive
    (QEMU 7.2 ends in an assertion for a vhost-user-rng that does not; 10.0 connects to a passt that was started again,
    and nothing goes through). ``queues`` are the limits of what can be chosen of them. ``holds`` is what a device whose
    frontend grants pages holds at worst. ``ends`` are the drivers of frontend and backend where both are in kernels.
    ``xl_type`` is the word of xl's lists for it, empty for a disk. ``feature``: what it asks of Xen or xl besides.
    """

    names: Mapping[Transport, str]
    options: Callable[[D, Wiring], Parts] | None
    kernel: tuple[str, ...] = ()
    since: Version = OLDEST
    reconnects: bool = False
    virtio: bool = True
    queues: QueueLimits = NOT_CHOSEN
    holds: Holds = holds_nothing
    ends: tuple[str, str] | None = None
    xl_type: str = ""
    feature: Feature | None = None


@record
class DeviceType(Generic[D]):
    """A type of device, and the programs that serve it without a file of their own, on either hypervisor."""

    model: type[D]
    kvm: Mapping[Program, Service[D]]
    xen: Mapping[Program, Service[D]]


@record
class Installed:
    """Where a program is on a board; ``packages`` is empty for what no Debian release has."""

    packages: Mapping[Suite, str]
    executable: str


def _no_class(_: Any) -> None:
    return None


@record
class Daemon(Installed, Generic[D]):
    """A program that serves devices from processes of its own, one a device, and what its unit lets it do.

    ``serves`` may be a type that stands in the same file. ``numbered_socket``: it appends the guest's number to the
    socket's path, even for one guest. ``address_families`` are the sockets that it opens; with others than these it
    works in the board's own network. ``device_class`` is the class of nodes that it opens for a device, and the group
    that may open them (udev's rules). ``self_sandboxed``: it makes namespaces of its own and cannot be shut in further;
    ``changes_owners``: it acts for the guest's users in a folder. ``vhost_user``: it speaks that to QEMU, or to what
    joins it to a Xen guest. ``one_guest``: why it serves one Xen guest of a board only. ``without_bridge``: a network
    by it is the board's own, without an address of the board's. ``not_older``: why the package of an older Debian
    release will not do.
    """

    program: Program
    serves: type[D]
    arguments: Callable[[D, Wiring], Lines]
    kvm: Service[D] | None
    xen: Service[D] | None
    numbered_socket: bool = False
    readiness: Readiness = Readiness.LISTENS
    address_families: tuple[str, ...] = ("AF_UNIX",)
    device_class: Callable[[D], tuple[str, str] | None] = _no_class
    self_sandboxed: bool = False
    changes_owners: bool = False
    vhost_user: bool = True
    one_guest: str = ""
    without_bridge: bool = False
    not_older: str = "it has no such package"


def built_by_hand(program: Program) -> str:
    """Return where a program is that no Debian release has."""
    return f"/usr/local/bin/{program.value}"


def both(mmio: str, pci: str) -> Mapping[Transport, str]:
    """Return QEMU's names on virtio-mmio and on PCI."""
    return {Transport.MMIO: mmio, Transport.PCI: pci}


def only_pci(pci: str) -> Mapping[Transport, str]:
    """Return QEMU's name of what it has on PCI alone."""
    return {Transport.PCI: pci}


def of_xen(
    holds: Holds,
    kernel: tuple[str, ...] = (),
    ends: tuple[str, str] | None = None,
    xl_type: str = "",
    feature: Feature | None = None,
    queues: QueueLimits = NOT_CHOSEN,
) -> Service[Any]:
    """Return how a backend serves one of Xen's own protocols, older than virtio, which grant each page."""
    return Service(
        {Transport.XENBUS: ""},
        None,
        kernel,
        virtio=False,
        queues=queues,
        holds=holds,
        ends=ends,
        xl_type=xl_type,
        feature=feature,
    )


def of_xen_virtio(holds: Holds, kernel: tuple[str, ...], xl_type: str = "") -> Service[Any]:
    """Return how a program in dom0 serves a Xen guest with a virtio device, without QEMU."""
    return Service({Transport.MMIO: ""}, None, kernel, holds=holds, xl_type=xl_type)


def in_dom0(by_qemu: Service[D], holds: Holds) -> Service[D]:
    """Return how a QEMU in dom0 serves a Xen guest with what QEMU itself serves under KVM.

    Its vhost and vhost-user devices need the guest's RAM as files, which Xen has not. For xl all of them are
    "virtio,device": only i2c and gpio get nodes of their own (libxl libxl_arm.c).
    """
    names = {Transport.MMIO: by_qemu.names[Transport.MMIO]}
    return Service(
        names,
        by_qemu.options,
        by_qemu.kernel,
        XENPVH_SINCE,
        queues=by_qemu.queues,
        holds=holds,
        xl_type="virtio,device",
    )


def word_of(model: type[DeviceBase]) -> str:
    """Return the topology's word for a type of device."""
    word: str = get_args(model.model_fields["type"].annotation)[0]
    return word
