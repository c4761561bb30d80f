"""What was decided: every address, interrupt, socket, unit and order. Nothing optional left to choose.

Records in the vocabulary of the hypervisors. A renderer loops over them and prints; if it
needs arithmetic, a field is missing here. Addresses carry their origin.
"""

from __future__ import annotations

import ipaddress
from enum import Enum

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.diagnostics import Span
from vtool.model.board_facts import BoardFacts, Watchdog
from vtool.model.combinations import Suite, Version
from vtool.platform.host_memory import Taken

BOARD_FOLDER = "/var/lib/vtool"
"""vtool's folder on a board: ``generations/``, ``store/``, ``disks/`` and the link ``current``."""

CURRENT = f"{BOARD_FOLDER}/current"
DISKS = f"{BOARD_FOLDER}/disks"
SHARES = f"{BOARD_FOLDER}/shares"
RUN = "/run/vtool"
PROGRAM = f"{CURRENT}/vtool-board"
TRACK_HIWATER = "swiotlb=track_hiwater"
"""Has a guest's kernel count what of a pool is used, which Linux from 7.3 on does with this word alone.

It is a parameter of its own beside a user's ``swiotlb=``: 6.12 takes ``force`` as the last word alone, and passes over
this one."""
VERIFY_SCRATCH_BYTES = 8 << 20
"""The end of a disk with ``verify: write`` that belongs to ``vtool verify``."""


class OriginKind(Enum):
    """Who chose a number."""

    FIXED = "fixed"
    FACT = "fact"
    ALLOCATED = "allocated"


@record
class Origin:
    """Who chose a number, and why or where."""

    kind: OriginKind
    reason: str


@record
class Pool:
    """A pool of a KVM guest: guest-physical range and its device-tree node and label.

    ``use`` is its compatible, ``flag`` the property that goes with it (or none); ``numa_node`` is that of the
    memory backend it lies in, alone unless it is 0. Only a ``shared`` one is seen by backends.
    """

    region: str
    range: AddressRange
    origin: Origin
    node_name: str
    label: str
    numa_node: int
    use: str = "restricted-dma-pool"
    flag: str = ""
    device_nodes: tuple[str, ...] = ()
    shared: bool = True


@record
class HostRegion:
    """A region in the host's reserved-memory: host-physical range and its device-tree node.

    ``compatible`` is empty for one that no driver takes by itself; ``flag`` is no-map or reusable.
    """

    region: str
    range: AddressRange
    origin: Origin
    node_name: str
    label: str
    compatible: str = ""
    flag: str = "no-map"
    device_nodes: tuple[str, ...] = ()


@record
class QemuOption:
    """One option of QEMU: its name, the word it begins with (or none), and key-value pairs, all unquoted."""

    name: str
    word: str
    pairs: tuple[tuple[str, str], ...] = ()


@record
class MmioPlace:
    """A virtio-mmio slot: guest-physical base and interrupt."""

    slot: int
    base: int
    spi_index: int


@record
class PciPlace:
    """A device number on the root bus, function 0; ``config_cell`` is its first cell in ``reg`` (IEEE 1275 PCI)."""

    slot: int
    config_cell: int


@record
class KvmMemory:
    """One memory backend of QEMU, which is one NUMA node; ``cpus`` is empty where there are none."""

    identity: str
    size_bytes: int
    shared: bool
    numa_node: int
    cpus: str


@record
class KvmDisk:
    """A file behind a KVM guest's device."""

    disk_path: str
    disk_bytes: int
    scratch: AddressRange | None


@record
class KvmBackend:
    """A daemon that serves one device of one guest, and what its unit lets it do.

    ``arguments`` are grouped into lines, an option and its value to each. QEMU connects to ``socket``,
    which is not always the path in them. ``maps_bytes`` is the guest memory that QEMU hands to it: all
    that is shared of that guest, whatever this device uses. ``device_nodes`` become its user's,
    ``device_class`` is (class of nodes, group). ``self_sandboxed``: it makes namespaces of its own and
    cannot be shut in further; ``changes_owners``: it acts for the guest's users in a folder;
    ``found_again``: QEMU connects again when it was restarted.
    """

    program: str
    package: str
    unit: str
    socket_unit: str | None
    folder: str
    socket: str
    executable: str
    arguments: tuple[tuple[str, ...] | QemuOption, ...]
    readiness: str
    maps_bytes: int
    files: tuple[str, ...] = ()
    state_folder: str = ""
    device_nodes: tuple[str, ...] = ()
    device_class: tuple[str, str] | None = None
    address_families: tuple[str, ...] = ("AF_UNIX",)
    own_network: bool = True
    self_sandboxed: bool = False
    changes_owners: bool = False
    restarts_always: bool = False
    host_cpus: tuple[int, ...] = ()
    read_only: bool = False
    found_again: bool = False


@record
class KvmTap:
    """A tap interface on a bridge, for a network device inside a QEMU that runs as user ``owner``."""

    name: str
    bridge: str
    bridge_unit: str
    unit: str
    owner: str


@record
class RegionFile:
    """A region that two guests see: a file in the board's memory, and the unit that makes it."""

    region: str
    path: str
    size_bytes: int
    unit: str


@record
class RingEnd:
    """One domain's end of a ring, as vtool-ring is told it there.

    Side ``a`` is the backend's, and makes the ring where there is none. ``region`` is a path with what of it,
    ``target`` a TAP interface, a file or a block device. ``address`` and ``mac`` are those of an interface.
    """

    domain: str
    command: str
    side: str
    region: str
    target: str
    address: str = ""
    mac: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the words of its command line."""
        option = {"net": "--tap", "export": "--file", "attach": "--nbd"}[self.command]
        patient = ("--timeout", "0") if self.command == "attach" else ()
        return (self.command, "--region", self.region, "--side", self.side, option, self.target, *patient)

    @property
    def kernel_word(self) -> str:
        """Return what tells vtool's guest of it, on its kernel's command line."""
        fields = (self.command, self.side, self.region, self.target, self.address, self.mac)
        return "vtool.ring=" + ",".join(fields).rstrip(",")


@record
class KvmRing:
    """A guest's end of a ring with another guest, behind a BAR of the same region in both.

    ``disk_bytes`` is what the exported device holds where vtool knows it; ``scratch`` is the part of it that
    ``vtool verify`` may write to.
    """

    end: RingEnd
    disk_bytes: int | None = None
    scratch: AddressRange | None = None


@record
class KvmDevice:
    """A device of a KVM guest on a place of its own, served by a daemon or, without ``backend``, by QEMU.

    ``node_name`` is its node in the guest's tree, below the PCI host bridge for a PCI device;
    ``guest_device`` is its name in the guest's sysfs. ``options`` make it; an IOMMU's are also needed
    where the tree is written.
    """

    name: str
    type: str
    program: str
    transport: str
    data_path: str
    deployed: bool
    place: MmioPlace | PciPlace
    node_name: str
    guest_device: str
    pool: Pool | None
    disks: tuple[KvmDisk, ...]
    backend: KvmBackend | None
    tap: KvmTap | None
    region_file: RegionFile | None
    options: tuple[QemuOption, ...]
    frontend_address: str = ""
    backend_address: str = ""
    ring: KvmRing | None = None

    @property
    def virtio(self) -> bool:
        """Whether it is a virtio device that carries data: no IOMMU, and no window alone or with a ring in it."""
        return self.type not in ("iommu", "ivshmem") and self.ring is None

    @property
    def guest_sysfs(self) -> str:
        """Return its folder in the guest's sysfs."""
        bus = "/sys/bus/pci/devices" if isinstance(self.place, PciPlace) else "/sys/bus/platform/devices"
        return f"{bus}/{self.guest_device}"

    def setting(self, key: str) -> str:
        """Return the value of a key of its options, or the empty text."""
        return next((value for option in self.options for name, value in option.pairs if name == key), "")


@record
class KvmGuest:
    """A KVM guest: guest-physical RAM, pools right after it, devices on pinned places.

    ``overlay`` is None when QEMU's own tree needs nothing. ``machine`` is QEMU's with its properties;
    ``machine_options`` change the tree that QEMU writes, too, and come before all devices. ``requires``
    are the units that must run first. ``libvirt_xml`` is None when QEMU runs from the guest's own unit.
    ``files`` and ``device_nodes`` are what QEMU itself opens on the board.
    """

    name: str
    cpus: int
    ram: AddressRange
    pools: tuple[Pool, ...]
    memory_bytes: int
    memory: tuple[KvmMemory, ...]
    kernel: str
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
    kernel_image: str
    ramdisk_image: str | None

    @property
    def outlives(self) -> frozenset[str]:
        """Return the units that it needs to start and goes on without: QEMU finds them again."""
        return frozenset(d.backend.unit for d in self.devices if d.backend is not None and d.backend.found_again)


@record
class XenDisk:
    """A PV disk: a file on a loop device behind a stable link, granted by the frontend (grant map)."""

    name: str
    virtual_device: str
    link: str
    disk_path: str
    disk_bytes: int
    scratch: AddressRange | None
    backend_unit: str


@record
class XenServedDisk:
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


@record
class XenInterface:
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

    program: str
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
    program: str
    data_path: str
    place: MmioPlace
    intid: int
    node_name: str
    grants: bool
    xl_type: str
    disk: XenDisk | None
    disks: tuple[KvmDisk, ...]
    tap: KvmTap | None
    mac: str
    frontend_address: str
    options: tuple[QemuOption, ...]
    daemon: XenDaemon | None
    backend: KvmBackend | None
    pool: str | None
    pool_phandle: int | None
    deployed: bool


@record
class XenQemu:
    """The QEMU in dom0 that has all virtio devices of one guest, in the order of their places.

    ``domain_id`` is None where only the running board knows it. ``memory_bytes`` is what QEMU must take
    for the guest's RAM, from the base of Xen's first bank on. ``image`` is what becomes ``executable``, None
    where the board has its own.
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
class XenGuest:
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
    device_tree: str | None = None
    device_tree_image: str | None = None
    passthrough: tuple[str, ...] = ()
    cpupool: str | None = None
    uart: bool = False
    spis: int | None = None
    p2m_bytes: int | None = None
    traps_unmapped_accesses: bool = True
    sve_bits: int | None = None
    llc_colors: str | None = None
    sci_type: str | None = None
    max_grant_version: int | None = None
    max_grant_frames: int | None = None
    max_maptrack_frames: int | None = None
    host_cpus: tuple[int, ...] = ()
    grants_at_worst: int = 0
    grants_available: int = 0
    served_disks: tuple[XenServedDisk, ...] = ()
    shares: tuple[XenShare, ...] = ()
    driver_domain: DriverDomain | None = None

    virtio: tuple[XenVirtio, ...] = ()
    qemu: XenQemu | None = None
    create_unit: str | None = None
    vhost_frontend: XenVhostFrontend | None = None

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


@record
class BootModule:
    """A file that U-Boot loads for Xen: its name in the boot set, its host-physical address and window.

    ``image`` is empty for a partial tree that is rendered.
    """

    file: str
    image: str
    window: AddressRange
    node_name: str
    compatible: str


@record
class SharedView:
    """How one domain sees a static shared region.

    ``host`` is None when Xen takes pages from its heap; ``role`` is None when Xen itself is the owner. ``slot`` is the
    number of the 64 bytes that vtool's own guest writes there for `verify`; None where the domain is another.
    """

    region: str
    xen_id: str
    role: str | None
    host: AddressRange | None
    host_origin: Origin
    inside: AddressRange
    inside_origin: Origin
    node_name: str
    slot: int | None = None


@record
class EventChannelEnd:
    """One end of a static event channel: its port, and the labels of its node and of the other end's."""

    channel: str
    domain: str
    port: int
    origin: Origin
    label: str
    other_label: str
    other_domain: str
    other_port: int


@record
class XenCpuPool:
    """CPUs that Xen sets apart at boot, with the label that domains name, and the number that Xen gives the pool."""

    name: str
    number: int
    label: str
    node_name: str
    cpus: tuple[int, ...]
    scheduler: str | None

    @property
    def xl_name(self) -> str:
        """Return xl's name of it (tools/helpers/xen-init-dom0.c)."""
        return f"Pool-{self.number}"


@record
class XenRing:
    """A ring between a guest that Xen builds and dom0, in a region that both have.

    dom0's end is ``unit``, with ``executable`` of ``image``; ``tap_unit`` makes its interface. ``disk`` is what it
    exports.
    """

    name: str
    type: str
    data_path: str
    region: str
    size_bytes: int
    frontend: RingEnd
    backend: RingEnd
    unit: str
    tap_unit: str | None
    executable: str
    image: str
    deployed: bool
    disk: KvmDisk | None = None


@record
class StaticRange:
    """Host memory set aside for one purpose, with who chose it."""

    range: AddressRange
    origin: Origin


@record
class XenBootGuest:
    """A domU that Xen itself builds at boot (dom0less): everything of its device-tree node.

    ``domain_id`` is the number that Xen gives it; ``unit`` finds it on the running board, ``ready`` is waited for
    in Xen's own log. ``hard_affinity`` is where each of its CPUs may run; ``capabilities`` are Xen's bits;
    ``sve_bits`` is 0 for the longest vector there is; ``says_passthrough``: no partial device tree implies it.
    """

    name: str
    domain_id: int
    unit: str
    ready: str
    ready_timeout_s: int
    node_name: str
    cpus: int
    memory_bytes: int
    ram: tuple[AddressRange, ...]
    static_memory: StaticRange | None
    direct_map: bool
    uart: bool
    spis: int | None
    enhanced: str | None
    cpupool: str | None
    hard_affinity: str | None
    p2m_bytes: int | None
    capabilities: int
    traps_unmapped_accesses: bool
    sve_bits: int | None
    llc_colors: str | None
    sci_type: str | None
    max_grant_version: int | None
    max_grant_frames: int | None
    max_maptrack_frames: int | None
    passthrough: tuple[str, ...]
    says_passthrough: bool
    kernel: BootModule
    ramdisk: BootModule | None
    device_tree: BootModule | None
    bootargs: str
    shared: tuple[SharedView, ...]
    event_channels: tuple[EventChannelEnd, ...]
    virtio: tuple[XenVirtio, ...] = ()
    qemu: XenQemu | None = None
    rings: tuple[XenRing, ...] = ()

    @property
    def has_xenstore(self) -> bool:
        """Whether dom0's toolstack can reach it once ``init-dom0less`` ran."""
        return self.enhanced == "enabled"

    @property
    def modules(self) -> tuple[BootModule, ...]:
        """Return the files that are loaded for it, in order."""
        return tuple(module for module in (self.kernel, self.ramdisk, self.device_tree) if module is not None)


@record
class XenBoot:
    """What Xen is told at boot beside dom0: guests, shared memory of dom0, pools, heap, event channels."""

    guests: tuple[XenBootGuest, ...] = ()
    shared: tuple[SharedView, ...] = ()
    event_channels: tuple[EventChannelEnd, ...] = ()
    cpupools: tuple[XenCpuPool, ...] = ()
    static_heap: StaticRange | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing beyond dom0."""
        return not (self.guests or self.shared or self.event_channels or self.cpupools or self.static_heap)

    @property
    def channel_ends(self) -> tuple[EventChannelEnd, ...]:
        """Return both ends of every static event channel."""
        return (*self.event_channels, *(end for guest in self.guests for end in guest.event_channels))


@record
class Bridge:
    """A bridge in the control domain, with its address and prefix."""

    name: str
    address: str
    unit: str

    @property
    def network(self) -> str:
        """Return the network that its address is in."""
        return str(ipaddress.IPv4Interface(self.address).network)


@record
class XenArgument:
    """Words that vtool adds to Xen's command line for what the topology asks, and why."""

    words: str
    reason: str


@record
class ControlDomain:
    """The domain that owns the hardware: the KVM host or dom0."""

    name: str
    cpus: int
    memory_bytes: int | None
    kernel_image: str
    bootargs: str


@record
class PassthroughNode:
    """A node of the board's device tree that dom0 leaves to a guest, and where the user wrote it."""

    path: str
    domain: str
    place: Span


@record
class BoardPlan:
    """Everything decided for one board. ``xen_image`` and ``xen_bootargs`` are None under KVM.

    ``xen_release`` is None where it is not known, too. ``suite`` is the board's Debian, None under Xen; ``qemu`` is the
    release of the QEMU that runs guests or serves them, None without one.
    """

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
    xen_boot: XenBoot = XenBoot()
    watchdog: Watchdog | None = None
    passthrough: tuple[PassthroughNode, ...] = ()
    xen_arguments: tuple[XenArgument, ...] = ()
    xen_release: tuple[int, int] | None = None
    suite: Suite | None = None
    qemu: Version | None = None

    @property
    def ram(self) -> tuple[AddressRange, ...]:
        """The board's RAM, host-physical, ascending."""
        return tuple(sorted(AddressRange.of_size(bank.base, bank.size) for bank in self.facts.ram))

    @property
    def host_claims(self) -> tuple[Taken, ...]:
        """Everything that has a host address of its own: regions, static heap and memory, rooms of boot modules."""
        boot = self.xen_boot
        found = [(f"region '{region.region}'", region.range) for region in self.host_regions]
        views = (*boot.shared, *(view for guest in boot.guests for view in guest.shared))
        found += [(f"region '{view.region}'", view.host) for view in views if view.host is not None]
        found += [("the static heap", boot.static_heap.range)] if boot.static_heap else []
        for guest in boot.guests:
            found += [(f"memory of '{guest.name}'", guest.static_memory.range)] if guest.static_memory else []
            found += [(f"the room for '{module.file}'", module.window) for module in guest.modules]
        return tuple(Taken(*claim) for claim in dict.fromkeys(found))

    @property
    def guests(self) -> tuple[KvmGuest | XenGuest, ...]:
        """All guests that are started on the running board, whatever the hypervisor."""
        return (*self.kvm_guests, *self.xen_guests)

    @property
    def all_guests(self) -> tuple[XenBootGuest | KvmGuest | XenGuest, ...]:
        """All guests, those that Xen builds at boot first."""
        return (*self.xen_boot.guests, *self.guests)

    @property
    def ready_timeout_s(self) -> int:
        """How long it may take until all guests are ready: first driver domains, then the others, side by side."""
        drivers = [guest for guest in self.xen_guests if guest.driver_domain]
        others = [guest for guest in self.all_guests if guest not in drivers]
        return sum(max((guest.ready_timeout_s for guest in some), default=0) for some in (drivers, others))

    @property
    def xen_qemus(self) -> tuple[tuple[str, XenQemu], ...]:
        """Each guest of Xen with a QEMU of its own in dom0, and that."""
        named = [(guest.name, guest.qemu) for guest in self.xen_boot.guests]
        named += [(guest.name, guest.qemu) for guest in self.xen_guests]
        return tuple((name, qemu) for name, qemu in named if qemu is not None)


@record
class Plan:
    """The whole topology, decided."""

    name: str
    boards: tuple[BoardPlan, ...]
