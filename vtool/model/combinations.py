"""What there is to choose from: which program serves which device, over what, through which data path.

Tables only; every row has its source. The checks accept what stands here, the planner takes QEMU's and
the programs' names from it. A combination that is ``deployed`` is deployed and proven by this version;
the others are planned and rendered, and ``vtool deploy`` refuses them (VT714).

QEMU's names and versions: hw/virtio, seen in QEMU 7.2's ``-device help`` where that has them; programs:
their own command lines and Debian's packages. A data path is listed where it has been seen to work or
needs nothing of the program; a daemon behind a pool must be one that was seen to work with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from vtool.base.records import record
from vtool.model.devices import DataPath, Device, Program, Transport

Version = tuple[int, int]


class Suite(Enum):
    """A Debian release that a board runs."""

    BOOKWORM = "bookworm"
    TRIXIE = "trixie"
    TRIXIE_BACKPORTS = "trixie-backports"
    """trixie with QEMU and its daemons from trixie-backports."""
    SID = "sid"


QEMU_OF_SUITE: Mapping[Suite, Version] = {
    Suite.BOOKWORM: (7, 2),
    Suite.TRIXIE: (10, 0),
    Suite.TRIXIE_BACKPORTS: (11, 1),
    Suite.SID: (11, 1),
}
"""The QEMU of each Debian release."""


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


def _by_hand(program: Program, *, numbered: bool = False, activated: bool = False) -> ProgramFacts:
    readiness = Readiness.ACTIVATED if activated else Readiness.LISTENS
    return ProgramFacts({}, f"/usr/local/bin/{program.value}", numbered, readiness)


_EVERY_SUITE = tuple(Suite)
_SINCE_TRIXIE = (Suite.TRIXIE, Suite.TRIXIE_BACKPORTS, Suite.SID)
PROGRAMS: Mapping[Program, ProgramFacts] = {
    Program.QEMU: ProgramFacts(dict.fromkeys(_EVERY_SUITE, "qemu-system-arm"), "/usr/bin/qemu-system-aarch64"),
    Program.QEMU_STORAGE_DAEMON: ProgramFacts(
        {Suite.BOOKWORM: "qemu-system-common", **dict.fromkeys(_SINCE_TRIXIE, "qemu-utils")},
        "/usr/bin/qemu-storage-daemon",
        readiness=Readiness.FORKS,
    ),
    # bookworm's virtiofsd is the C one of QEMU, with other options.
    Program.VIRTIOFSD: ProgramFacts(
        dict.fromkeys(_SINCE_TRIXIE, "virtiofsd"),
        "/usr/libexec/virtiofsd",
        readiness=Readiness.ACTIVATED,
    ),
    # bookworm's passt has no --vhost-user.
    Program.PASST: ProgramFacts(dict.fromkeys(_SINCE_TRIXIE, "passt"), "/usr/bin/passt"),
    # No Debian release has them for arm64: its QEMU there is built without Xen.
    Program.QEMU_XENPVH: ProgramFacts({}, "/usr/local/bin/qemu-system-aarch64"),
    Program.VIRTIO_DISK: ProgramFacts({}, "/usr/local/bin/virtio-disk"),
    Program.VHOST_DEVICE_VSOCK: ProgramFacts({Suite.SID: "vhost-device-vsock"}, "/usr/bin/vhost-device-vsock"),
    Program.VHOST_DEVICE_CAN: _by_hand(Program.VHOST_DEVICE_CAN, numbered=True),
    Program.VHOST_DEVICE_CONSOLE: _by_hand(Program.VHOST_DEVICE_CONSOLE, numbered=True),
    Program.VHOST_DEVICE_GPIO: _by_hand(Program.VHOST_DEVICE_GPIO, numbered=True),
    Program.VHOST_DEVICE_GPU: _by_hand(Program.VHOST_DEVICE_GPU),
    Program.VHOST_DEVICE_I2C: _by_hand(Program.VHOST_DEVICE_I2C, numbered=True),
    Program.VHOST_DEVICE_INPUT: _by_hand(Program.VHOST_DEVICE_INPUT),
    Program.VHOST_DEVICE_RNG: _by_hand(Program.VHOST_DEVICE_RNG, numbered=True),
    Program.VHOST_DEVICE_RTC: _by_hand(Program.VHOST_DEVICE_RTC, activated=True),
    Program.VHOST_DEVICE_SCMI: _by_hand(Program.VHOST_DEVICE_SCMI),
    Program.VHOST_DEVICE_SCSI: _by_hand(Program.VHOST_DEVICE_SCSI),
    Program.VHOST_DEVICE_SOUND: _by_hand(Program.VHOST_DEVICE_SOUND, activated=True),
    Program.VHOST_DEVICE_SPI: _by_hand(Program.VHOST_DEVICE_SPI, numbered=True),
    # vtool's own: in its guest's ramdisk, and with the generation in dom0.
    Program.VTOOL_RING: _by_hand(Program.VTOOL_RING),
}


def is_daemon(program: Program) -> bool:
    """Whether a program serves a device from a process of its own."""
    return program in PROGRAMS and program not in (Program.QEMU, Program.QEMU_XENPVH, Program.VTOOL_RING)


_BOTH = (Transport.MMIO, Transport.PCI)
_SHARED = {DataPath.SHARED_RAM: _BOTH}
# A daemon behind virtio-mmio needs no ACCESS_PLATFORM of its own; behind PCI QEMU asks for it.
_POOLED = {**_SHARED, DataPath.POOL: (Transport.MMIO,), DataPath.POOL_IN_RAM: (Transport.MMIO,)}
_IN_VMM = {**_SHARED, DataPath.POOL_IN_RAM: _BOTH, DataPath.VIOMMU: (Transport.PCI,)}
_ONLY_PCI = {DataPath.SHARED_RAM: (Transport.PCI,)}


@record
class _Service:
    """How one program serves one type of device under KVM: QEMU's names by transport.

    With ``reconnects`` QEMU connects in the background, which only devices that wait for it survive
    (QEMU 7.2 ends in an assertion for a vhost-user-rng that does not; 10.0 connects to a passt that was
    started again, and nothing goes through).
    """

    type: str
    program: Program
    mmio: str
    pci: str
    paths: Mapping[DataPath, tuple[Transport, ...]]
    kernel: tuple[str, ...]
    since: Version = (7, 2)
    reconnects: bool = False


# Options of the guest's kernel: Linux drivers/*/Kconfig, 6.12 to 7.2.
_SERVICES = (
    _Service(
        "blk",
        Program.QEMU_STORAGE_DAEMON,
        "vhost-user-blk",
        "vhost-user-blk-pci",
        _POOLED,
        ("VIRTIO_BLK",),
        reconnects=True,
    ),
    _Service("blk", Program.QEMU, "virtio-blk-device", "virtio-blk-pci", _IN_VMM, ("VIRTIO_BLK",)),
    _Service("net", Program.PASST, "virtio-net-device", "virtio-net-pci", _POOLED, ("VIRTIO_NET",)),
    _Service("net", Program.QEMU, "virtio-net-device", "virtio-net-pci", _IN_VMM, ("VIRTIO_NET",)),
    _Service("fs", Program.VIRTIOFSD, "vhost-user-fs-device", "vhost-user-fs-pci", _POOLED, ("VIRTIO_FS",)),
    _Service(
        "console",
        Program.VHOST_DEVICE_CONSOLE,
        "",
        "vhost-user-test-device-pci",
        _ONLY_PCI,
        ("VIRTIO_CONSOLE",),
        since=(10, 2),
    ),
    _Service("console", Program.QEMU, "virtio-serial-device", "virtio-serial-pci", _IN_VMM, ("VIRTIO_CONSOLE",)),
    _Service("rng", Program.VHOST_DEVICE_RNG, "vhost-user-rng", "vhost-user-rng-pci", _SHARED, ("HW_RANDOM_VIRTIO",)),
    _Service("rng", Program.QEMU, "virtio-rng-device", "virtio-rng-pci", _IN_VMM, ("HW_RANDOM_VIRTIO",)),
    _Service(
        "vsock",
        Program.VHOST_DEVICE_VSOCK,
        "vhost-user-vsock-device",
        "vhost-user-vsock-pci",
        _SHARED,
        ("VIRTIO_VSOCKETS",),
    ),
    _Service(
        "gpio", Program.VHOST_DEVICE_GPIO, "vhost-user-gpio-device", "vhost-user-gpio-pci", _SHARED, ("GPIO_VIRTIO",)
    ),
    _Service("i2c", Program.VHOST_DEVICE_I2C, "vhost-user-i2c-device", "vhost-user-i2c-pci", _SHARED, ("I2C_VIRTIO",)),
    _Service(
        "scmi",
        Program.VHOST_DEVICE_SCMI,
        "vhost-user-scmi",
        "vhost-user-scmi-pci",
        _SHARED,
        ("ARM_SCMI_TRANSPORT_VIRTIO",),
        since=(10, 0),
    ),
    _Service(
        "snd",
        Program.VHOST_DEVICE_SOUND,
        "vhost-user-snd",
        "vhost-user-snd-pci",
        _SHARED,
        ("SND_VIRTIO",),
        since=(10, 0),
    ),
    _Service(
        "gpu",
        Program.VHOST_DEVICE_GPU,
        "vhost-user-gpu",
        "vhost-user-gpu-pci",
        _SHARED,
        ("DRM_VIRTIO_GPU",),
    ),
    _Service("gpu", Program.QEMU, "virtio-gpu-device", "virtio-gpu-pci", _SHARED, ("DRM_VIRTIO_GPU",)),
    _Service(
        "input",
        Program.VHOST_DEVICE_INPUT,
        "vhost-user-input",
        "vhost-user-input-pci",
        _SHARED,
        ("VIRTIO_INPUT",),
    ),
    _Service("input", Program.QEMU, "virtio-input-host-device", "virtio-input-host-pci", _SHARED, ("VIRTIO_INPUT",)),
    _Service(
        "scsi",
        Program.VHOST_DEVICE_SCSI,
        "vhost-user-scsi",
        "vhost-user-scsi-pci",
        _SHARED,
        ("SCSI_VIRTIO", "BLK_DEV_SD"),
    ),
    _Service("scsi", Program.QEMU, "virtio-scsi-device", "virtio-scsi-pci", _IN_VMM, ("SCSI_VIRTIO", "BLK_DEV_SD")),
    _Service(
        "can",
        Program.VHOST_DEVICE_CAN,
        "",
        "vhost-user-test-device-pci",
        _ONLY_PCI,
        ("CAN_VIRTIO_CAN",),
        since=(10, 2),
    ),
    _Service("spi", Program.VHOST_DEVICE_SPI, "", "vhost-user-spi-pci", _ONLY_PCI, ("SPI_VIRTIO",), since=(11, 1)),
    _Service("rtc", Program.VHOST_DEVICE_RTC, "", "vhost-user-rtc-pci", _ONLY_PCI, ("VIRTIO_RTC",), since=(11, 1)),
    _Service("iommu", Program.QEMU, "", "virtio-iommu-pci", _ONLY_PCI, ()),
    _Service("balloon", Program.QEMU, "virtio-balloon-device", "virtio-balloon-pci", _SHARED, ("VIRTIO_BALLOON",)),
    _Service("ivshmem", Program.QEMU, "", "ivshmem-plain", {DataPath.BAR: (Transport.PCI,)}, ()),
)


@dataclass(frozen=True)
class Combination:
    """One way to serve a device: the five choices, whether vtool deploys and proves it, and what it takes.

    ``qemu_device`` and ``since`` are QEMU's name of the device and the first version that has it;
    ``reconnects`` says whether QEMU finds a daemon again that was restarted; ``kernel`` are the options
    of the frontend's kernel. All four are empty for Xen's PV devices; ``xl_type`` is the word of xl's
    `virtio` list for a device that stands there.
    """

    hypervisor: str
    type: str
    data_path: DataPath
    transport: Transport
    program: Program
    deployed: bool = field(default=False, compare=False)
    qemu_device: str = field(default="", compare=False)
    since: Version = field(default=(0, 0), compare=False)
    reconnects: bool = field(default=False, compare=False)
    kernel: tuple[str, ...] = field(default=(), compare=False)
    xl_type: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.data_path.value} over {self.transport.value} by {self.program.value}"


_OF_TRANSPORT = {Transport.MMIO: ("VIRTIO_MMIO",), Transport.PCI: ("VIRTIO_PCI", "PCI_HOST_GENERIC")}
_OF_PATH = {
    DataPath.POOL: ("DMA_RESTRICTED_POOL",),
    DataPath.POOL_IN_RAM: ("DMA_RESTRICTED_POOL",),
    DataPath.GRANT: ("XEN_VIRTIO",),
}
_DEPLOYED_UNDER_KVM = {
    ("blk", DataPath.SHARED_RAM, Transport.MMIO, Program.QEMU_STORAGE_DAEMON),
    ("blk", DataPath.POOL, Transport.MMIO, Program.QEMU_STORAGE_DAEMON),
    ("blk", DataPath.POOL_IN_RAM, Transport.MMIO, Program.QEMU_STORAGE_DAEMON),
    ("blk", DataPath.POOL_IN_RAM, Transport.PCI, Program.QEMU),
    ("blk", DataPath.VIOMMU, Transport.PCI, Program.QEMU),
    ("net", DataPath.SHARED_RAM, Transport.MMIO, Program.PASST),
    ("net", DataPath.POOL, Transport.MMIO, Program.PASST),
    ("net", DataPath.POOL_IN_RAM, Transport.PCI, Program.QEMU),
    ("net", DataPath.VIOMMU, Transport.PCI, Program.QEMU),
    ("fs", DataPath.SHARED_RAM, Transport.MMIO, Program.VIRTIOFSD),
    ("fs", DataPath.POOL, Transport.MMIO, Program.VIRTIOFSD),
    ("iommu", DataPath.SHARED_RAM, Transport.PCI, Program.QEMU),
    ("ivshmem", DataPath.BAR, Transport.PCI, Program.QEMU),
}


def _under_kvm(service: _Service, path: DataPath, transport: Transport) -> Combination:
    transport_options = ("PCI_HOST_GENERIC",) if service.type == "ivshmem" else _OF_TRANSPORT[transport]
    return Combination(
        "kvm",
        service.type,
        path,
        transport,
        service.program,
        deployed=(service.type, path, transport, service.program) in _DEPLOYED_UNDER_KVM,
        qemu_device=service.mmio if transport is Transport.MMIO else service.pci,
        since=service.since,
        reconnects=service.reconnects,
        kernel=(*_OF_PATH.get(path, ()), *transport_options, *service.kernel),
    )


# Linux net/9p/Kconfig, fs/9p/Kconfig.
_XEN_9P = ("NET_9P", "NET_9P_XEN", "9P_FS")
XENPVH_SINCE: Version = (9, 2)
"""QEMU 9.2 has xenpvh's grants, and fills its virtio-mmio windows upwards as libxl does (hw/xen/xen-pvh-common.c);
before, the first device was in the highest one, where an unpatched Xen's guest does not look."""


@record
class _XenService:
    """How one program in dom0 serves one type of virtio device of a Xen guest."""

    type: str
    program: Program
    paths: tuple[DataPath, ...]
    kernel: tuple[str, ...]
    qemu_device: str = ""
    xl_type: str = ""


_IN_DOM0 = (DataPath.GRANT, DataPath.SHARED_RAM)
# What QEMU serves itself; its vhost and vhost-user devices need the guest's RAM as files, which Xen has not. For
# xl all of them are "virtio,device": only i2c and gpio get nodes of their own (libxl libxl_arm.c).
_QEMU_IN_DOM0 = ("blk", "net", "rng", "console", "scsi", "input")
_XEN_SERVICES = (
    *(
        _XenService(
            service.type,
            Program.QEMU_XENPVH,
            _IN_DOM0 if service.type == "input" else (*_IN_DOM0, DataPath.POOL),
            service.kernel,
            service.mmio,
            "virtio,device",
        )
        for service in _SERVICES
        if service.program is Program.QEMU and service.type in _QEMU_IN_DOM0
    ),
    # xen-troops/virtio-disk, branch virtio_next: grants or foreign mappings, as the addresses say.
    _XenService("blk", Program.VIRTIO_DISK, _IN_DOM0, ("VIRTIO_BLK",)),
    # vireshk/xen-vhost-frontend src/supported_devices.rs, which compares the types as decimal numbers: libxl's
    # words for i2c and gpio are hexadecimal and look the same, and of the other ones libxl does not look further.
    # The daemons are built with the Xen feature of vm-memory, which excludes the one that KVM needs.
    _XenService("i2c", Program.VHOST_DEVICE_I2C, _IN_DOM0, ("I2C_VIRTIO",), xl_type="virtio,device22"),
    _XenService("gpio", Program.VHOST_DEVICE_GPIO, _IN_DOM0, ("GPIO_VIRTIO",), xl_type="virtio,device29"),
    _XenService("fs", Program.VIRTIOFSD, _IN_DOM0, ("VIRTIO_FS",), xl_type="virtio,device26"),
)


XEN_VHOST_FRONTEND = "/usr/local/bin/xen-vhost-frontend"
"""Joins vhost-user daemons to a Xen guest; vireshk/xen-vhost-frontend, a prototype."""


def behind_vhost_frontend(hypervisor: str, program: Program) -> bool:
    """Whether a program is a vhost-user daemon that xen-vhost-frontend joins to the guest."""
    return hypervisor == "xen" and is_daemon(program) and program is not Program.VIRTIO_DISK


_DEPLOYED_UNDER_XEN = {
    (kind, path, Program.QEMU_XENPVH)
    for kind in ("blk", "net")
    for path in (DataPath.GRANT, DataPath.SHARED_RAM, DataPath.POOL)
}


def _under_xen(service: _XenService, path: DataPath) -> Combination:
    return Combination(
        "xen",
        service.type,
        path,
        Transport.MMIO,
        service.program,
        deployed=(service.type, path, service.program) in _DEPLOYED_UNDER_XEN,
        qemu_device=service.qemu_device,
        since=XENPVH_SINCE if service.qemu_device else (0, 0),
        kernel=(*_OF_PATH.get(path, ()), "VIRTIO_MMIO", *service.kernel),
        xl_type=service.xl_type,
    )


def _by_ring(hypervisor: str, kind: str, driver: str) -> Combination:
    """Return the row of a ring: under KVM both ends find the region behind a PCI BAR, under Xen in their memory."""
    under_kvm = hypervisor == "kvm"
    return Combination(
        hypervisor,
        kind,
        DataPath.RING,
        Transport.SHARED_MEMORY,
        Program.VTOOL_RING,
        deployed=True,
        qemu_device="ivshmem-plain" if under_kvm else "",
        since=(7, 2) if under_kvm else (0, 0),
        kernel=("PCI_HOST_GENERIC" if under_kvm else "DEVMEM", driver),
    )


COMBINATIONS = (
    *(
        _under_kvm(service, path, transport)
        for service in _SERVICES
        for path, transports in service.paths.items()
        for transport in transports
    ),
    Combination("xen", "blk", DataPath.PV, Transport.XENBUS, Program.BLKBACK, deployed=True),
    Combination("xen", "net", DataPath.PV, Transport.XENBUS, Program.NETBACK, deployed=True),
    Combination("xen", "fs", DataPath.PV, Transport.XENBUS, Program.XEN_9PFSD, kernel=_XEN_9P),
    Combination("xen", "fs", DataPath.PV, Transport.XENBUS, Program.QEMU, kernel=_XEN_9P),
    *(_under_xen(service, path) for service in _XEN_SERVICES for path in service.paths),
    *(
        _by_ring(hypervisor, kind, driver)
        for hypervisor in ("kvm", "xen")
        for kind, driver in (("blk", "BLK_DEV_NBD"), ("net", "TUN"))
    ),
)
"""Every way to serve a device that vtool knows."""

_BY_CHOICES = {combination: combination for combination in COMBINATIONS}


def wish_of(hypervisor: str, device: Device) -> Combination:
    """Return a device's choices as a row, whether or not the table has it."""
    return Combination(hypervisor, device.type, device.data_path, device.transport, device.program)


def combination_of(hypervisor: str, device: Device) -> Combination | None:
    """Return the table's row for a device's choices, or None when there is none."""
    return _BY_CHOICES.get(wish_of(hypervisor, device))
