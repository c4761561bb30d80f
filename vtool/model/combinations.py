"""What there is to choose from: which program serves which device, over what, through which data path.

Tables only; every row has its source. The checks accept what stands here, the planner takes QEMU's and
the programs' names from it. A combination that is ``deployed`` is deployed and proven by this version;
the others are planned and rendered, and ``vtool deploy`` refuses them (VT714).

QEMU's names and versions: hw/virtio, seen in QEMU 7.2's ``-device help`` where that has them; programs:
their own command lines and Debian's packages. A data path is listed where it has been seen to work or
needs nothing of the program; a daemon behind a pool must be one that was seen to work with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from vtool.base.records import record
from vtool.data_paths import DataPath
from vtool.data_paths.facts import Transport
from vtool.model.devices import Device, Program

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


@record
class _Service:
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


def _both(mmio: str, pci: str) -> Mapping[Transport, str]:
    return {Transport.MMIO: mmio, Transport.PCI: pci}


def _only_pci(pci: str) -> Mapping[Transport, str]:
    return {Transport.PCI: pci}


# Options of the guest's kernel: Linux drivers/*/Kconfig, 6.12 to 7.2.
_UNDER_KVM = (
    _Service(
        "blk",
        Program.QEMU_STORAGE_DAEMON,
        _both("vhost-user-blk", "vhost-user-blk-pci"),
        ("VIRTIO_BLK",),
        reconnects=True,
    ),
    _Service("blk", Program.QEMU, _both("virtio-blk-device", "virtio-blk-pci"), ("VIRTIO_BLK",)),
    _Service("net", Program.PASST, _both("virtio-net-device", "virtio-net-pci"), ("VIRTIO_NET",)),
    _Service("net", Program.QEMU, _both("virtio-net-device", "virtio-net-pci"), ("VIRTIO_NET",)),
    _Service("fs", Program.VIRTIOFSD, _both("vhost-user-fs-device", "vhost-user-fs-pci"), ("VIRTIO_FS",)),
    _Service(
        "console",
        Program.VHOST_DEVICE_CONSOLE,
        _only_pci("vhost-user-test-device-pci"),
        ("VIRTIO_CONSOLE",),
        since=(10, 2),
    ),
    _Service("console", Program.QEMU, _both("virtio-serial-device", "virtio-serial-pci"), ("VIRTIO_CONSOLE",)),
    _Service("rng", Program.VHOST_DEVICE_RNG, _both("vhost-user-rng", "vhost-user-rng-pci"), ("HW_RANDOM_VIRTIO",)),
    _Service("rng", Program.QEMU, _both("virtio-rng-device", "virtio-rng-pci"), ("HW_RANDOM_VIRTIO",)),
    _Service(
        "vsock",
        Program.VHOST_DEVICE_VSOCK,
        _both("vhost-user-vsock-device", "vhost-user-vsock-pci"),
        ("VIRTIO_VSOCKETS",),
    ),
    _Service(
        "gpio", Program.VHOST_DEVICE_GPIO, _both("vhost-user-gpio-device", "vhost-user-gpio-pci"), ("GPIO_VIRTIO",)
    ),
    _Service("i2c", Program.VHOST_DEVICE_I2C, _both("vhost-user-i2c-device", "vhost-user-i2c-pci"), ("I2C_VIRTIO",)),
    _Service(
        "scmi",
        Program.VHOST_DEVICE_SCMI,
        _both("vhost-user-scmi", "vhost-user-scmi-pci"),
        ("ARM_SCMI_TRANSPORT_VIRTIO",),
        since=(10, 0),
    ),
    _Service(
        "snd", Program.VHOST_DEVICE_SOUND, _both("vhost-user-snd", "vhost-user-snd-pci"), ("SND_VIRTIO",), since=(10, 0)
    ),
    _Service("gpu", Program.VHOST_DEVICE_GPU, _both("vhost-user-gpu", "vhost-user-gpu-pci"), ("DRM_VIRTIO_GPU",)),
    _Service("gpu", Program.QEMU, _both("virtio-gpu-device", "virtio-gpu-pci"), ("DRM_VIRTIO_GPU",)),
    _Service("input", Program.VHOST_DEVICE_INPUT, _both("vhost-user-input", "vhost-user-input-pci"), ("VIRTIO_INPUT",)),
    _Service("input", Program.QEMU, _both("virtio-input-host-device", "virtio-input-host-pci"), ("VIRTIO_INPUT",)),
    _Service(
        "scsi",
        Program.VHOST_DEVICE_SCSI,
        _both("vhost-user-scsi", "vhost-user-scsi-pci"),
        ("SCSI_VIRTIO", "BLK_DEV_SD"),
    ),
    _Service("scsi", Program.QEMU, _both("virtio-scsi-device", "virtio-scsi-pci"), ("SCSI_VIRTIO", "BLK_DEV_SD")),
    _Service(
        "can", Program.VHOST_DEVICE_CAN, _only_pci("vhost-user-test-device-pci"), ("CAN_VIRTIO_CAN",), since=(10, 2)
    ),
    _Service("spi", Program.VHOST_DEVICE_SPI, _only_pci("vhost-user-spi-pci"), ("SPI_VIRTIO",), since=(11, 1)),
    _Service("rtc", Program.VHOST_DEVICE_RTC, _only_pci("vhost-user-rtc-pci"), ("VIRTIO_RTC",), since=(11, 1)),
    _Service("iommu", Program.QEMU, _only_pci("virtio-iommu-pci"), ()),
    _Service("balloon", Program.QEMU, _both("virtio-balloon-device", "virtio-balloon-pci"), ("VIRTIO_BALLOON",)),
    _Service("ivshmem", Program.QEMU, _only_pci("ivshmem-plain"), (), virtio=False),
    _Service("blk", Program.VTOOL_RING, {Transport.SHARED_MEMORY: "ivshmem-plain"}, ("BLK_DEV_NBD",), virtio=False),
    _Service("net", Program.VTOOL_RING, {Transport.SHARED_MEMORY: "ivshmem-plain"}, ("TUN",), virtio=False),
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


# Linux net/9p/Kconfig, fs/9p/Kconfig.
_XEN_9P = ("NET_9P", "NET_9P_XEN", "9P_FS")
XENPVH_SINCE: Version = (9, 2)
"""QEMU 9.2 has xenpvh's grants, and fills its virtio-mmio windows upwards as libxl does (hw/xen/xen-pvh-common.c);
before, the first device was in the highest one, where an unpatched Xen's guest does not look."""


_BY_XENBUS, _BY_MMIO = {Transport.XENBUS: ""}, {Transport.MMIO: ""}
# What QEMU serves itself; its vhost and vhost-user devices need the guest's RAM as files, which Xen has not. For
# xl all of them are "virtio,device": only i2c and gpio get nodes of their own (libxl libxl_arm.c).
_QEMU_IN_DOM0 = ("blk", "net", "rng", "console", "scsi", "input")
_UNDER_XEN = (
    _Service("blk", Program.BLKBACK, _BY_XENBUS, virtio=False),
    _Service("net", Program.NETBACK, _BY_XENBUS, virtio=False),
    _Service("fs", Program.XEN_9PFSD, _BY_XENBUS, _XEN_9P, virtio=False),
    _Service("fs", Program.QEMU, _BY_XENBUS, _XEN_9P, virtio=False),
    *(
        _Service(
            service.type,
            Program.QEMU_XENPVH,
            {Transport.MMIO: service.names[Transport.MMIO]},
            service.kernel,
            XENPVH_SINCE,
            xl_type="virtio,device",
        )
        for service in _UNDER_KVM
        if service.program is Program.QEMU and service.type in _QEMU_IN_DOM0
    ),
    # xen-troops/virtio-disk, branch virtio_next: grants or foreign mappings, as the addresses say.
    _Service("blk", Program.VIRTIO_DISK, _BY_MMIO, ("VIRTIO_BLK",)),
    # vireshk/xen-vhost-frontend src/supported_devices.rs, which compares the types as decimal numbers: libxl's
    # words for i2c and gpio are hexadecimal and look the same, and of the other ones libxl does not look further.
    # The daemons are built with the Xen feature of vm-memory, which excludes the one that KVM needs.
    _Service("i2c", Program.VHOST_DEVICE_I2C, _BY_MMIO, ("I2C_VIRTIO",), xl_type="virtio,device22"),
    _Service("gpio", Program.VHOST_DEVICE_GPIO, _BY_MMIO, ("GPIO_VIRTIO",), xl_type="virtio,device29"),
    _Service("fs", Program.VIRTIOFSD, _BY_MMIO, ("VIRTIO_FS",), xl_type="virtio,device26"),
    _Service("blk", Program.VTOOL_RING, {Transport.SHARED_MEMORY: ""}, ("BLK_DEV_NBD",), virtio=False),
    _Service("net", Program.VTOOL_RING, {Transport.SHARED_MEMORY: ""}, ("TUN",), virtio=False),
)


XEN_VHOST_FRONTEND = "/usr/local/bin/xen-vhost-frontend"
"""Joins vhost-user daemons to a Xen guest; vireshk/xen-vhost-frontend, a prototype."""


def behind_vhost_frontend(hypervisor: str, program: Program) -> bool:
    """Whether a program is a vhost-user daemon that xen-vhost-frontend joins to the guest."""
    return hypervisor == "xen" and is_daemon(program) and program is not Program.VIRTIO_DISK


_OF_TRANSPORT = {
    Transport.MMIO: ("VIRTIO_MMIO",),
    Transport.PCI: ("VIRTIO_PCI", "PCI_HOST_GENERIC"),
    Transport.XENBUS: (),
    Transport.SHARED_MEMORY: (),
}


def _finds_it(hypervisor: str, transport: Transport, *, virtio: bool) -> tuple[str, ...]:
    """Return the options by which a frontend's kernel finds a device: a region is behind a BAR, or in Xen's memory."""
    if virtio or transport is Transport.XENBUS:
        return _OF_TRANSPORT[transport]
    return ("PCI_HOST_GENERIC",) if hypervisor == "kvm" else ("DEVMEM",)


def _combinations(hypervisor: str, service: _Service) -> Iterator[Combination]:
    """Yield what a program can serve: through each path that takes it, over each transport that both have."""
    # Under Xen what grants comes first.
    paths = sorted(DataPath, key=lambda path: hypervisor == "xen" and not path.traits.grants)
    for path in (path for path in paths if path.traits.virtio == service.virtio):
        traits, program = path.traits, service.program
        for transport, name in service.names.items():
            by = [by for by in traits.served(hypervisor) if by.fits(program.value, service.type, transport)]
            if not by:
                continue
            finds_it = _finds_it(hypervisor, transport, virtio=service.virtio)
            yield Combination(
                hypervisor,
                service.type,
                path,
                transport,
                program,
                deployed=any(one.deployed for one in by),
                qemu_device=name,
                since=service.since if name or hypervisor == "kvm" else (0, 0),
                reconnects=service.reconnects,
                kernel=(*traits.kernel, *finds_it, *service.kernel),
                xl_type=service.xl_type,
            )


COMBINATIONS = (
    *(combination for service in _UNDER_KVM for combination in _combinations("kvm", service)),
    *(combination for service in _UNDER_XEN for combination in _combinations("xen", service)),
)
"""Every way to serve a device that vtool knows."""

_BY_CHOICES = {combination: combination for combination in COMBINATIONS}


def wish_of(hypervisor: str, device: Device) -> Combination:
    """Return a device's choices as a row, whether or not the table has it."""
    return Combination(hypervisor, device.type, device.data_path, device.transport, device.program)


def combination_of(hypervisor: str, device: Device) -> Combination | None:
    """Return the table's row for a device's choices, or None when there is none."""
    return _BY_CHOICES.get(wish_of(hypervisor, device))
