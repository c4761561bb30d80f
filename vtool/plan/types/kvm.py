"""Guests that QEMU runs under KVM, and their devices."""

from __future__ import annotations

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.data_paths import DataPath
from vtool.data_paths.facts import Transport
from vtool.diagnostics import Span
from vtool.model.access import ProofKind
from vtool.model.devices import Program
from vtool.model.devices.arguments import QemuOption
from vtool.plan.types.devices import MmioPlace, PciPlace, Queues, Tap, VhostUserBackend
from vtool.plan.types.guest import (
    FileDisk,
    GuestAccess,
    GuestImage,
    GuestKind,
    NotByXl,
    RegionView,
    StartedLater,
    started_from,
    written_files,
)
from vtool.plan.types.regions import Pool, RegionFile
from vtool.plan.types.rings import KvmRing
from vtool.plan.types.windows import GuestWindows, Window, WindowKind, machine_and_ram
from vtool.platform import layouts

TRACK_HIWATER = "swiotlb=track_hiwater"
"""Has a guest's kernel count what of a pool is used, which Linux from 7.3 on does with this word alone.

It is a parameter of its own beside a user's ``swiotlb=``: 6.12 takes ``force`` as the last word alone, and passes over
this one."""


@record
class KvmMemory:
    """One memory backend of QEMU, which is one NUMA node; ``cpus`` is empty where there are none."""

    identity: str
    size_bytes: int
    shared: bool
    numa_node: int
    cpus: str


@record
class KvmDevice:
    """A device of a KVM guest on a place of its own, served by a daemon or, without ``backend``, by QEMU.

    ``node_name`` is its node in the guest's tree, below the PCI host bridge for a PCI device;
    ``guest_device`` is its name in the guest's sysfs. ``virtio``: it is a virtio device that carries data. ``options``
    make it; those of an IOMMU, which ``translates``, are also needed where the tree is written.
    """

    name: str
    type: str
    program: Program
    transport: Transport
    data_path: DataPath
    deployed: bool
    virtio: bool
    translates: bool
    place: MmioPlace | PciPlace
    node_name: str
    guest_device: str
    pool: Pool | None
    disks: tuple[FileDisk, ...]
    backend: VhostUserBackend | None
    tap: Tap | None
    region_file: RegionFile | None
    options: tuple[QemuOption, ...]
    frontend_address: str = ""
    backend_address: str = ""
    ring: KvmRing | None = None
    queues: Queues = Queues()

    @property
    def files(self) -> tuple[FileDisk, ...]:
        """Return its disks' files."""
        return self.disks

    @property
    def served_by(self) -> str | None:
        """Return its daemon's unit; None where the guest's own QEMU has it."""
        return self.backend.unit if self.backend else None

    @property
    def guest_sysfs(self) -> str:
        """Return its folder in the guest's sysfs."""
        bus = "/sys/bus/pci/devices" if isinstance(self.place, PciPlace) else "/sys/bus/platform/devices"
        return f"{bus}/{self.guest_device}"

    def setting(self, key: str) -> str:
        """Return the value of a key of its options, or the empty text."""
        return next((value for option in self.options for name, value in option.pairs if name == key), "")


@record
class HostPci:
    """A PCI device of the board, its place on the guest's root bus and its name in the guest's sysfs.

    ``wished_at`` is where the user wrote it.
    """

    address: str
    wished_at: Span
    place: PciPlace
    guest_device: str

    @property
    def options(self) -> tuple[QemuOption, ...]:
        """Return what makes it (QEMU docs/system/devices, hw/vfio/pci.c)."""
        place = (("bus", "pcie.0"), ("addr", f"{self.place.slot:#x}"))
        identity = self.address.replace(":", "-").replace(".", "-")
        return (QemuOption("-device", "vfio-pci", (("id", f"pci-{identity}"), ("host", self.address), *place)),)


@record
class KvmFirmware:
    """What is in the flash chips of QEMU's virt machine: code of a ``package``, and a file for what it keeps.

    U-Boot keeps nothing: None.
    """

    code: str
    package: str
    variables: FileDisk | None


@record
class KvmGuest(StartedLater, NotByXl):
    """A KVM guest: guest-physical RAM, pools right after it, devices on pinned places.

    ``overlay`` is None when QEMU's own tree needs nothing. ``machine`` is QEMU's with its properties;
    ``machine_options`` change the tree that QEMU writes, too, and come before all devices. ``requires``
    are the units that must run first. ``libvirt_xml`` is None when QEMU runs from the guest's own unit.
    ``files`` and ``device_nodes`` are what QEMU itself opens on the board, the disks of the board that are ``given``
    among these; what of the nodes is for all is in ``common_nodes``. ``pci_unit`` takes the devices of ``pci`` from
    their drivers. ``vcpu_affinity`` are the CPUs of each vCPU, and ``host_cpus`` those of all else of its QEMU then;
    ``huge_page_bytes`` is the size of the pages that its memory is made of, 0 where that is nobody's wish.
    """

    name: str
    cpus: int
    ram: AddressRange
    pools: tuple[Pool, ...]
    memory_bytes: int
    memory: tuple[KvmMemory, ...]
    kernel: str | None
    ramdisk: str | None
    bootargs: str
    ready: str
    ready_timeout_s: int
    devices: tuple[KvmDevice, ...]
    unit: str
    run_folder: str
    console_socket: str
    console_log: str
    qmp_socket: str
    overlay: str | None
    device_tree: str
    gic_version: int
    machine: str
    machine_options: tuple[QemuOption, ...]
    requires: tuple[str, ...]
    libvirt_xml: str | None
    files: tuple[str, ...]
    device_nodes: tuple[str, ...]
    own_network: bool
    host_cpus: tuple[int, ...]
    kernel_image: str | None
    ramdisk_image: str | None
    given: tuple[str, ...] = ()
    pci: tuple[HostPci, ...] = ()
    pci_unit: str | None = None
    not_checked: tuple[str, ...] = ()
    """Arguments of its QEMU that are the user's own: one option and its value each, as a shell reads them."""
    access: GuestAccess = GuestAccess()
    require: tuple[ProofKind, ...] = ()
    firmware: KvmFirmware | None = None
    common_nodes: tuple[str, ...] = ()
    vcpu_affinity: tuple[tuple[int, ...], ...] = ()
    huge_page_bytes: int = 0

    @property
    def huge_pages(self) -> int:
        """Return how many huge pages its memory is made of."""
        return self.memory_bytes // self.huge_page_bytes if self.huge_page_bytes else 0

    @property
    def allowed_cpus(self) -> tuple[int, ...]:
        """Return the CPUs that all threads of its QEMU together may use; nothing where that is any."""
        of_vcpus = (cpu for cpus in self.vcpu_affinity for cpu in cpus)
        return tuple(sorted({*self.host_cpus, *of_vcpus})) if self.host_cpus else ()

    @property
    def kind(self) -> GuestKind:
        """Return how it is started."""
        return GuestKind.KVM

    @property
    def banks(self) -> tuple[AddressRange, ...]:
        """Return its RAM, guest-physical, without pools."""
        return (self.ram,)

    @property
    def grants(self) -> None:
        """Return nothing: KVM has none."""
        return

    @property
    def handed(self) -> tuple[Tap, ...]:
        """Return its macvtap interfaces, whose files QEMU is handed."""
        return tuple(device.tap for device in self.devices if device.tap and device.tap.direct)

    @property
    def answers_qmp(self) -> bool:
        """Whether its QEMU is started by its own unit, and not by libvirt."""
        return self.libvirt_xml is None

    @property
    def qemu(self) -> None:
        """Return nothing: its own unit is its QEMU."""
        return

    @property
    def images(self) -> tuple[GuestImage, ...]:
        """Return kernel and ramdisk."""
        return started_from(self.kernel_image, self.ramdisk_image, self.unit)

    @property
    def written_files(self) -> tuple[str, ...]:
        """Return the files that QEMU itself may write to."""
        inside = (disk for device in self.devices if device.backend is None for disk in device.disks)
        return written_files((*inside, *self.own_files))

    @property
    def own_files(self) -> tuple[FileDisk, ...]:
        """Return the file in which its firmware keeps its variables."""
        return (self.firmware.variables,) if self.firmware and self.firmware.variables else ()

    @property
    def region_files(self) -> tuple[RegionFile, ...]:
        """Return the files behind its ivshmem devices."""
        return tuple(device.region_file for device in self.devices if device.region_file)

    @property
    def windows(self) -> GuestWindows:
        """Return QEMU's layout, its RAM and pools, and the virtio-mmio slots that its devices have."""
        found = [*machine_and_ram(self.name, layouts.qemu_virt_layout(self.gic_version), self.banks)]
        found += [Window(p.range, WindowKind.REGION, p.region, p.origin, note=p.use.value) for p in self.pools]
        on_slots = [(device.name, device.place) for device in self.devices if isinstance(device.place, MmioPlace)]
        for name, place in on_slots:
            note = f"spi_index {place.spi_index}"
            found.append(Window(place.range, WindowKind.DEVICE, name, place.origin, self.name, note))
        used = f"{len(on_slots)} of {layouts.QEMU_VIRT_MMIO.count} virtio-mmio slots used"
        return GuestWindows(f"QEMU virt, GICv{self.gic_version}", tuple(found), (used,))

    @property
    def views(self) -> tuple[RegionView, ...]:
        """Return its pools."""
        return tuple(RegionView(pool.region, pool.range, pool.origin) for pool in self.pools)

    @property
    def outlives(self) -> frozenset[str]:
        """Return the units that it needs to start and goes on without: QEMU finds them again."""
        return frozenset(d.backend.unit for d in self.devices if d.backend is not None and d.backend.found_again)
