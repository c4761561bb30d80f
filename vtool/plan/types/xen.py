"""Guests that xl starts, their devices, and what serves them in dom0."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.data_paths import DataPath
from vtool.model.access import ProofKind
from vtool.model.devices import Program
from vtool.model.devices.arguments import QemuOption
from vtool.plan.types.devices import MmioPlace, Queues, Tap, VhostUserBackend
from vtool.plan.types.guest import (
    FileDisk,
    GrantLimit,
    GuestAccess,
    GuestDevice,
    GuestImage,
    GuestKind,
    NotOnTheBoard,
    RegionView,
    StartedLater,
    started_from,
)
from vtool.plan.types.passthrough import PassthroughNode
from vtool.plan.types.regions import RegionFile
from vtool.plan.types.windows import GuestWindows, Window, WindowKind, machine_and_ram, passed_windows
from vtool.platform import layouts
from vtool.platform.xen_properties import XenSetting


@record
class XenDisk:
    """A PV disk, granted by the frontend (grant map): behind a stable link, a file's loop device or a device."""

    name: str
    virtual_device: str
    link: str
    behind: FileDisk
    backend_unit: str

    @property
    def scratch(self) -> AddressRange | None:
        """Return the part of it that verify may write to."""
        return self.behind.scratch

    @property
    def files(self) -> tuple[FileDisk, ...]:
        """Return the file behind it."""
        return (self.behind,)

    @property
    def served_by(self) -> str:
        """Return the unit that has its loop device."""
        return self.backend_unit


@record
class XenServedDisk(NotOnTheBoard):
    """A PV disk that a driver domain serves: ``target`` is a block device inside that domain.

    ``scratch`` is the end of it that verify may write to, where it is a disk of that domain's whose end is that.
    ``deployed`` where that domain is vtool's own.
    """

    name: str
    virtual_device: str
    target: str
    backend: str
    backend_unit: str
    scratch: AddressRange | None
    deployed: bool


@record
class XenShare:
    """A folder of the control domain over Xen's 9p transport; ``type`` is xl's word for what serves it."""

    name: str
    tag: str
    path: str
    type: str
    backend_unit: str

    @property
    def files(self) -> tuple[FileDisk, ...]:
        """Return nothing: it is a folder."""
        return ()

    @property
    def served_by(self) -> str:
        """Return the unit that makes its folder."""
        return self.backend_unit


@record
class XenInterface(NotOnTheBoard):
    """A PV network interface (grant copy): both ends' addresses with prefix, and the bridge.

    ``backend`` is the driver domain that has the bridge, None for the control domain; ``deployed`` but for a driver
    domain that is not vtool's own.
    """

    name: str
    index: int
    mac: str
    bridge: str
    frontend_address: str
    backend_address: str
    backend_unit: str
    backend: str | None = None
    deployed: bool = True


@record
class XenAttached:
    """A PV device that xl attaches to a guest which Xen started: an interface or a disk, and the unit that does it."""

    unit: str
    interface: XenInterface | None = None
    disk: XenDisk | None = None

    @property
    def name(self) -> str:
        """Return the device's name."""
        device = self.interface or self.disk
        assert device is not None
        return device.name

    @property
    def files(self) -> tuple[FileDisk, ...]:
        """Return the file behind a disk."""
        return self.disk.files if self.disk else ()

    @property
    def served_by(self) -> str:
        """Return the unit that attaches it."""
        return self.unit

    @property
    def requires(self) -> str:
        """Return the unit of what it stands on: a bridge, or a loop device."""
        return (self.interface or self.disk).backend_unit  # type: ignore[union-attr]


@record
class DriverDomain:
    """What a guest is to the guests whose PV devices it serves, and what that takes of it at worst.

    The mappings and event channels it has are Xen's defaults or the user's limits.
    """

    frontends: tuple[str, ...]
    mapped_at_worst: int
    mappings_available: int
    event_channels_at_worst: int
    event_channels_available: int


@record
class XenDaemon:
    """A program in dom0 that serves one virtio device of a Xen guest; ``files`` are what it opens on the board."""

    program: Program
    unit: str
    executable: str
    arguments: tuple[tuple[str, ...] | QemuOption, ...]
    files: tuple[str, ...] = ()


@record
class XenVirtio:
    """A virtio device of a Xen guest, on the place that libxl gives it: disks first, then the others.

    ``grants``: the backend maps what is granted, else the guest's memory. ``backend`` is a vhost-user
    daemon. ``disk`` is the loop device of
    one that stands in xl's ``disk`` list, ``xl_type`` the word of one in its ``virtio`` list; a guest that
    xl does not start has neither. ``pool_phandle`` is that of its memory region.
    """

    name: str
    type: str
    program: Program
    data_path: DataPath
    place: MmioPlace
    intid: int
    node_name: str
    grants: bool
    xl_type: str
    disk: XenDisk | None
    disks: tuple[FileDisk, ...]
    tap: Tap | None
    mac: str
    frontend_address: str
    options: tuple[QemuOption, ...]
    daemon: XenDaemon | None
    backend: VhostUserBackend | None
    pool: str | None
    pool_phandle: int | None
    deployed: bool
    served_by: str
    queues: Queues = Queues()

    @property
    def files(self) -> tuple[FileDisk, ...]:
        """Return the file of xl's disk, and those that QEMU opens."""
        return (*(self.disk.files if self.disk else ()), *self.disks)


@record
class XenQemu:
    """The QEMU in dom0 that has all virtio devices of one guest, in the order of their places.

    ``domain_id`` is None where only the running board knows it. ``memory_bytes`` is what QEMU must take
    for the guest's RAM, from the base of Xen's first bank on. ``image`` is what becomes ``executable``, None
    where the board has its own. Disks of the board that are ``given`` are among its ``device_nodes``.
    """

    unit: str
    executable: str
    image: str | None
    run_folder: str
    qmp_socket: str
    memory_bytes: int
    cpus: int
    domain_id: int | None
    requires: tuple[str, ...]
    files: tuple[str, ...]
    device_nodes: tuple[str, ...]
    own_network: bool
    given: tuple[str, ...] = ()


class GuestWithQemu:
    """A guest of Xen whose virtio devices a QEMU in dom0 may have."""

    qemu: XenQemu | None

    @property
    def qmp_socket(self) -> str | None:
        """Return the socket of its QEMU's monitor, where it has one."""
        return self.qemu.qmp_socket if self.qemu else None

    @property
    def answers_qmp(self) -> bool:
        """Whether it has a QEMU."""
        return self.qemu is not None

    @property
    def own_files(self) -> tuple[FileDisk, ...]:
        """Return nothing: it has no firmware."""
        return ()

    @property
    def region_files(self) -> tuple[RegionFile, ...]:
        """Return nothing: what it shares is no file."""
        return ()


def qemu_images(qemu: XenQemu | None) -> tuple[GuestImage, ...]:
    """Return the image of a guest's QEMU, where that is not the board's own."""
    if qemu is None or qemu.image is None:
        return ()
    return (GuestImage(PurePosixPath(qemu.executable).name, qemu.image, (qemu.unit,), executable=True, of_qemu=True),)


def virtio_windows(guest: str, devices: tuple[XenVirtio, ...]) -> Iterator[Window]:
    """Yield the addresses of virtio devices of a Xen guest."""
    for device in devices:
        note = f"intid {device.intid}"
        yield Window(device.place.range, WindowKind.DEVICE, device.name, device.place.origin, guest, note)


@record
class XenVhostFrontend:
    """The program in dom0 that joins vhost-user daemons to one guest, by links in a folder of its own.

    It looks for its N-th device of a kind behind the link ``<kind>.sock<N>``: ``links`` are (link, socket).
    ``foreign``: it maps all of the guest at once, else what is granted.
    """

    unit: str
    executable: str
    folder: str
    links: tuple[tuple[str, str], ...]
    foreign: bool
    requires: tuple[str, ...]


@record
class XenGuest(GuestWithQemu, StartedLater):
    """A domU started by xl; one with ``driver_domain`` serves others, which start after it is ready.

    With ``create_unit`` it is made paused by that unit, and ``unit`` lets it run once the backends of
    its virtio devices are there.
    """

    name: str
    cpus: int
    memory_bytes: int
    kernel: str
    ramdisk: str | None
    bootargs: str
    ready: str
    ready_timeout_s: int
    disks: tuple[XenDisk, ...]
    interfaces: tuple[XenInterface, ...]
    unit: str
    config: str
    console_log: str
    kernel_image: str
    ramdisk_image: str | None
    gic_version: int
    device_tree: str | None = None
    device_tree_image: str | None = None
    passthrough: tuple[PassthroughNode, ...] = ()
    settings: tuple[XenSetting, ...] = ()
    affinity: tuple[tuple[int, ...], ...] = ()
    """The board's CPUs that each of its vCPUs is kept on; nothing where all may be anywhere."""
    grants: GrantLimit | None = None
    """What its devices hold at worst, and what it has; None where they hold none."""
    served_disks: tuple[XenServedDisk, ...] = ()
    shares: tuple[XenShare, ...] = ()
    driver_domain: DriverDomain | None = None

    virtio: tuple[XenVirtio, ...] = ()
    qemu: XenQemu | None = None
    create_unit: str | None = None
    vhost_frontend: XenVhostFrontend | None = None
    not_checked: tuple[str, ...] = ()
    """Lines of its xl.cfg that are the user's own."""
    access: GuestAccess = GuestAccess()
    require: tuple[ProofKind, ...] = ()
    uart_log: str | None = None
    """What it printed on a UART of Xen's, where it has one and may use that instead (Xen tools/console/daemon/io.c)."""

    @property
    def kind(self) -> GuestKind:
        """Return how it is started."""
        return GuestKind.XL

    @property
    def starts_first(self) -> bool:
        """Whether it serves other guests."""
        return self.driver_domain is not None

    @property
    def banks(self) -> tuple[AddressRange, ...]:
        """Return its RAM, guest-physical."""
        return layouts.xen_guest_ram(self.memory_bytes)

    @property
    def console_socket(self) -> None:
        """Return nothing: xl has its console."""
        return

    @property
    def images(self) -> tuple[GuestImage, ...]:
        """Return kernel, ramdisk, partial device tree and QEMU."""
        tree = self.device_tree_image
        partial = () if tree is None else (GuestImage("partial.dtb", tree, (self.unit,)),)
        return (*started_from(self.kernel_image, self.ramdisk_image, self.unit), *partial, *qemu_images(self.qemu))

    @property
    def devices(self) -> tuple[GuestDevice, ...]:
        """Return its PV devices, then the virtio devices."""
        return (*self.disks, *self.served_disks, *self.shares, *self.interfaces, *self.virtio)

    @property
    def windows(self) -> GuestWindows:
        """Return the layout of Xen's guests, its RAM, its virtio devices and those of the board that it gets."""
        layout = layouts.xen_guest_layout(self.gic_version)
        found = (
            *machine_and_ram(self.name, layout, self.banks),
            *virtio_windows(self.name, self.virtio),
            *passed_windows(self.name, self.passthrough),
        )
        return GuestWindows("Xen guest started by xl", found)

    @property
    def views(self) -> tuple[RegionView, ...]:
        """Return nothing: xl shares no regions."""
        return ()

    @property
    def bridges(self) -> tuple[str, ...]:
        """Return dom0's bridges that its interfaces are on."""
        taps = (device.tap for device in self.virtio if device.tap)
        mine = (interface.bridge for interface in self.interfaces if interface.backend is None)
        return (*mine, *(tap.bridge for tap in taps))

    @property
    def backend_units(self) -> tuple[str, ...]:
        """Return the units that must run before xl makes it, each once, in the order of the devices' kinds."""
        units = [disk.backend_unit for disk in (*self.disks, *(v.disk for v in self.virtio if v.disk))]
        units += [disk.backend_unit for disk in self.served_disks] + [share.backend_unit for share in self.shares]
        units += [interface.backend_unit for interface in self.interfaces]
        units += [device.daemon.unit for device in self.virtio if device.daemon]
        units += [self.vhost_frontend.unit] if self.vhost_frontend else []
        return tuple(dict.fromkeys(units))
