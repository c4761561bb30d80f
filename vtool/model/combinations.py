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

from vtool.data_paths import DataPath
from vtool.data_paths.facts import Transport
from vtool.model.devices import DAEMONS, Device
from vtool.model.devices.base import Program, ProgramFacts, Readiness, Service, Suite, Version, both, by_hand, only_pci
from vtool.platform.qemu_releases import XENPVH_SINCE

__all__ = ["Readiness", "Suite", "Version"]


QEMU_OF_SUITE: Mapping[Suite, Version] = {
    Suite.BOOKWORM: (7, 2),
    Suite.TRIXIE: (10, 0),
    Suite.TRIXIE_BACKPORTS: (11, 1),
    Suite.SID: (11, 1),
}
"""The QEMU of each Debian release."""


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
    # vtool's own: in its guest's ramdisk, and with the generation in dom0.
    Program.VTOOL_RING: by_hand(Program.VTOOL_RING),
    **{daemon.PROGRAM: daemon.FACTS for daemon in DAEMONS},
}


def is_daemon(program: Program) -> bool:
    """Whether a program serves a device from a process of its own."""
    return program in PROGRAMS and program not in (Program.QEMU, Program.QEMU_XENPVH, Program.VTOOL_RING)


# Options of the guest's kernel: Linux drivers/*/Kconfig, 6.12 to 7.2.
_UNDER_KVM = (
    Service(
        "blk",
        Program.QEMU_STORAGE_DAEMON,
        both("vhost-user-blk", "vhost-user-blk-pci"),
        ("VIRTIO_BLK",),
        reconnects=True,
    ),
    Service("blk", Program.QEMU, both("virtio-blk-device", "virtio-blk-pci"), ("VIRTIO_BLK",)),
    Service("net", Program.PASST, both("virtio-net-device", "virtio-net-pci"), ("VIRTIO_NET",)),
    Service("net", Program.QEMU, both("virtio-net-device", "virtio-net-pci"), ("VIRTIO_NET",)),
    Service("fs", Program.VIRTIOFSD, both("vhost-user-fs-device", "vhost-user-fs-pci"), ("VIRTIO_FS",)),
    Service("iommu", Program.QEMU, only_pci("virtio-iommu-pci"), ()),
    Service("balloon", Program.QEMU, both("virtio-balloon-device", "virtio-balloon-pci"), ("VIRTIO_BALLOON",)),
    Service("ivshmem", Program.QEMU, only_pci("ivshmem-plain"), (), virtio=False),
    Service("blk", Program.VTOOL_RING, {Transport.SHARED_MEMORY: "ivshmem-plain"}, ("BLK_DEV_NBD",), virtio=False),
    Service("net", Program.VTOOL_RING, {Transport.SHARED_MEMORY: "ivshmem-plain"}, ("TUN",), virtio=False),
    *(service for daemon in DAEMONS for service in daemon.UNDER_KVM),
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


_BY_XENBUS, _BY_MMIO = {Transport.XENBUS: ""}, {Transport.MMIO: ""}
# What QEMU serves itself; its vhost and vhost-user devices need the guest's RAM as files, which Xen has not. For
# xl all of them are "virtio,device": only i2c and gpio get nodes of their own (libxl libxl_arm.c).
_QEMU_IN_DOM0 = ("blk", "net", "rng", "console", "scsi", "input")
_UNDER_XEN = (
    Service("blk", Program.BLKBACK, _BY_XENBUS, virtio=False),
    Service("net", Program.NETBACK, _BY_XENBUS, virtio=False),
    Service("fs", Program.XEN_9PFSD, _BY_XENBUS, _XEN_9P, virtio=False),
    Service("fs", Program.QEMU, _BY_XENBUS, _XEN_9P, virtio=False),
    *(
        Service(
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
    Service("blk", Program.VIRTIO_DISK, _BY_MMIO, ("VIRTIO_BLK",)),
    # vireshk/xen-vhost-frontend src/supported_devices.rs, which compares the types as decimal numbers: libxl's
    # words for i2c and gpio are hexadecimal and look the same, and of the other ones libxl does not look further.
    # The daemons are built with the Xen feature of vm-memory, which excludes the one that KVM needs.
    *(service for daemon in DAEMONS for service in daemon.UNDER_XEN),
    Service("fs", Program.VIRTIOFSD, _BY_MMIO, ("VIRTIO_FS",), xl_type="virtio,device26"),
    Service("blk", Program.VTOOL_RING, {Transport.SHARED_MEMORY: ""}, ("BLK_DEV_NBD",), virtio=False),
    Service("net", Program.VTOOL_RING, {Transport.SHARED_MEMORY: ""}, ("TUN",), virtio=False),
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


def _combinations(hypervisor: str, service: Service) -> Iterator[Combination]:
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


def combination_requested(hypervisor: str, device: Device) -> Combination:
    """Return a device's choices as a row, whether or not the table has it."""
    return Combination(hypervisor, device.type, device.data_path, device.transport, device.program)


def combination_of(hypervisor: str, device: Device) -> Combination | None:
    """Return the table's row for a device's choices, or None when there is none."""
    return _BY_CHOICES.get(combination_requested(hypervisor, device))
