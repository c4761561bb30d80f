"""What was decided: every address, interrupt, socket, unit and order. Nothing optional left to choose.

Frozen dataclasses in the vocabulary of the hypervisors. A renderer loops over them and prints; if it
needs arithmetic, a field is missing here. Addresses carry their origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from vtool.model.board_facts import BoardFacts
from vtool.units import AddressRange

BOARD_FOLDER = "/var/lib/vtool"
"""vtool's folder on a board: ``generations/``, ``store/``, ``disks/`` and the link ``current``."""

CURRENT = f"{BOARD_FOLDER}/current"
DISKS = f"{BOARD_FOLDER}/disks"
RUN = "/run/vtool"
PROGRAM = f"{CURRENT}/vtool-board"
VERIFY_SCRATCH_BYTES = 8 << 20
"""The end of a disk with ``verify: write`` that belongs to ``vtool verify``."""


class OriginKind(Enum):
    """Who chose a number."""

    FIXED = "fixed"
    FACT = "fact"
    ALLOCATED = "allocated"


@dataclass(frozen=True)
class Origin:
    """Who chose a number, and why or where."""

    kind: OriginKind
    reason: str


@dataclass(frozen=True)
class Pool:
    """A restricted-dma-pool of a KVM guest: guest-physical range and its device-tree node."""

    region: str
    range: AddressRange
    origin: Origin
    node_name: str
    numa_node: int


@dataclass(frozen=True)
class HostRegion:
    """A region in the host's reserved-memory: host-physical range and its device-tree node."""

    region: str
    range: AddressRange
    origin: Origin
    node_name: str


@dataclass(frozen=True)
class KvmBlockDevice:
    """A virtio-mmio disk of a KVM guest, served by a vhost-user daemon through a pool."""

    name: str
    slot: int
    mmio_base: int
    spi_index: int
    node_name: str
    pool: Pool
    socket: str
    queues: int
    disk_path: str
    disk_bytes: int
    scratch: AddressRange | None
    backend_unit: str
    guest_device: str


@dataclass(frozen=True)
class KvmGuest:
    """A KVM guest: guest-physical RAM, pools right after it, devices on pinned mmio slots."""

    name: str
    cpus: int
    ram: AddressRange
    pools: tuple[Pool, ...]
    memory_bytes: int
    kernel: str
    ramdisk: str | None
    bootargs: str
    ready: str
    devices: tuple[KvmBlockDevice, ...]
    unit: str
    run_folder: str
    console_socket: str
    console_log: str
    qmp_socket: str
    overlay: str
    device_tree: str
    gic_version: int
    kernel_image: str
    ramdisk_image: str | None


@dataclass(frozen=True)
class XenDisk:
    """A PV disk: a file on a loop device behind a stable link, granted by the frontend (grant map)."""

    name: str
    virtual_device: str
    link: str
    disk_path: str
    disk_bytes: int
    scratch: AddressRange | None
    backend_unit: str


@dataclass(frozen=True)
class XenInterface:
    """A PV network interface (grant copy): both ends' addresses with prefix, and the bridge."""

    name: str
    index: int
    mac: str
    bridge: str
    frontend_address: str
    backend_address: str
    backend_unit: str


@dataclass(frozen=True)
class XenGuest:
    """A domU started by xl."""

    name: str
    cpus: int
    memory_bytes: int
    kernel: str
    ramdisk: str | None
    bootargs: str
    ready: str
    disks: tuple[XenDisk, ...]
    interfaces: tuple[XenInterface, ...]
    unit: str
    config: str
    console_log: str
    kernel_image: str
    ramdisk_image: str | None


@dataclass(frozen=True)
class Bridge:
    """A bridge in the control domain, with its address and prefix."""

    name: str
    address: str
    unit: str


@dataclass(frozen=True)
class ControlDomain:
    """The domain that owns the hardware: the KVM host or dom0."""

    name: str
    cpus: int
    memory_bytes: int | None
    kernel_image: str
    bootargs: str


@dataclass(frozen=True)
class BoardPlan:
    """Everything decided for one board. ``xen_image`` and ``xen_bootargs`` are None under KVM."""

    name: str
    facts: BoardFacts
    hypervisor: str
    control: ControlDomain
    xen_image: str | None
    xen_bootargs: str | None
    host_regions: tuple[HostRegion, ...]
    kvm_guests: tuple[KvmGuest, ...]
    xen_guests: tuple[XenGuest, ...]
    bridges: tuple[Bridge, ...]

    @property
    def guests(self) -> tuple[KvmGuest | XenGuest, ...]:
        """All guests, whatever the hypervisor."""
        return (*self.kvm_guests, *self.xen_guests)


@dataclass(frozen=True)
class Plan:
    """The whole topology, decided."""

    name: str
    boards: tuple[BoardPlan, ...]
