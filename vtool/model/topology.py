"""What the user wrote: the topology file as frozen types, version 1.

Holds shape only. References are names; whether they point anywhere, and whether the numbers fit,
is decided by ``vtool.check``; what was left out is decided by ``vtool.plan``.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, create_model

from vtool.base.units import AddressRange
from vtool.model.access import Access, ProofSettings, Way, way_into
from vtool.model.combinations import QEMU_OF_SUITE, Suite, Version
from vtool.model.devices import Device
from vtool.model.types import (
    Address,
    ColourList,
    CpuList,
    DeviceTreePath,
    ExtraLine,
    FactsReference,
    FoundByTag,
    Granule,
    HugePageSize,
    ImageReference,
    IncludedFiles,
    KernelArguments,
    Model,
    Name,
    PciAddress,
    SecurityLabel,
    Size,
    UnitExtra,
    Variables,
    VectorBits,
)
from vtool.platform.host_memory import HOST_ALIGNMENT
from vtool.platform.layouts import XEN_MOST_SPIS
from vtool.platform.xen_properties import PROPERTIES

Settings = TypeVar("Settings", bound=Model)


class Role(Enum):
    """What a domain is to its board: ``control`` owns the hardware (dom0, the KVM host)."""

    CONTROL = "control"
    GUEST = "guest"


class RegionUse(Enum):
    """What a region is for; decides its device-tree node."""

    RESTRICTED_DMA_POOL = "restricted-dma-pool"
    """All DMA of the devices that name it, by copying; what virtio is confined to."""
    SHARED_DMA_POOL = "shared-dma-pool"
    """Coherent memory, or a CMA area, for drivers that ask for it; virtio never does."""
    SHARED_MEMORY = "shared-memory"


POOL_USES = (RegionUse.RESTRICTED_DMA_POOL, RegionUse.SHARED_DMA_POOL)
"""The uses that Linux's binding reserved-memory/shared-dma-pool.yaml describes."""


class Vmm(Enum):
    """Who writes QEMU's command line on the board: vtool's units, or libvirt from XML."""

    QEMU = "qemu"
    LIBVIRT = "libvirt"


QemuVersion = Annotated[str, Field(pattern=r"^[0-9]{1,2}\.[0-9]{1,2}$", description="a QEMU version such as 10.0")]


def _version(text: str) -> Version:
    major, minor = text.split(".")
    return int(major), int(minor)


class Kvm(Model):
    """KVM: Linux on the board is the host, QEMU the VMM.

    ``suite`` is the Debian release of the board; ``qemu_version`` is for a QEMU that is not that
    release's own; ``machine`` pins QEMU's ``virt`` to a version.
    """

    kind: Literal["kvm"]
    vmm: Vmm = Vmm.QEMU
    suite: Suite = Suite.TRIXIE
    qemu_version: QemuVersion | None = None
    machine: Annotated[
        str, Field(pattern=r"^virt(-[0-9]{1,2}\.[0-9]{1,2})?$", description="virt, or virt with a version: virt-10.0")
    ] = "virt"

    @property
    def qemu(self) -> Version:
        """Return the version of the board's QEMU."""
        if self.qemu_version is None:
            return QEMU_OF_SUITE[self.suite]
        return _version(self.qemu_version)


class Scheduler(Enum):
    """Xen's schedulers, as its command line and device tree name them."""

    CREDIT = "credit"
    CREDIT2 = "credit2"
    RTDS = "rtds"
    ARINC653 = "arinc653"
    NULL = "null"


class CpuPool(Model):
    """CPUs set apart at boot, with a scheduler of their own (Xen's default when left out)."""

    cpus: CpuList
    scheduler: Scheduler | None = None


class StaticMemory(Model):
    """Host memory set aside at boot; vtool chooses where unless ``address`` (host-physical) says it."""

    size: Size
    address: Address | None = None


class XenPatch(Enum):
    """A change to Xen's source that upstream does not have, and that no ``.config`` file shows.

    ``pool-node``: the ``xen-shmem`` node of a region's owner is also compatible with
    ``restricted-dma-pool``, and the N-th such node of a domain has the phandle 65100 + N, from 0.
    ``virtio-waits``: a place for virtio that nobody serves yet reads zero, where Xen has a fault for the guest.
    """

    POOL_NODE = "pool-node"
    VIRTIO_WAITS = "virtio-waits"


QEMU_XENPVH = "vtool:qemu-xenpvh"
"""The QEMU with Xen that vtool builds: of trixie, whatever the board runs."""
OF_THE_BOARD = "board"
"""Where a kernel or a ramdisk is named: what the board runs now, which is on the board alone."""
OWN_RAMDISKS = ("vtool:guest-initramfs", "vtool:bench-initramfs")
"""vtool's reference guest, whose init helps to prove what nobody can ask a guest for."""
DRIVER_DOMAIN_RAMDISK = "vtool:driver-domain"
"""The same with Xen's tools, whose init makes bridges and runs `xl devd`."""


class Xen(Model):
    """Xen; ``image`` is the hypervisor binary: Debian's own, ``vtool:xen``, or a file.

    ``version`` and ``config`` (a ``.config`` file) say how it was built; both are read from the image
    where it carries them, as Debian's does. ``patches`` are the changes to the source of a Xen that vtool did not
    build, which nothing else tells. ``qemu_image`` is a QEMU for dom0 that was built with Xen, which Debian's for
    arm64 was not; ``qemu_version`` is its version where that is not ``vtool:qemu-xenpvh``, or, alone, that of one
    that is on the board. ``extra`` are words for its command line that vtool knows nothing of.
    ``xsm_policy`` is a compiled policy of FLASK, which takes the place of Xen's default, SILO.
    """

    kind: Literal["xen"]
    image: ImageReference = "vtool:xen-debian"
    version: Annotated[str, Field(pattern=r"^4\.[0-9]{1,2}$", description="a Xen release such as 4.20")] | None = None
    config: ImageReference | None = None
    patches: tuple[XenPatch, ...] = ()
    qemu_image: ImageReference | None = None
    qemu_version: QemuVersion | None = None
    bootargs: KernelArguments = ""
    extra: KernelArguments = ""
    xsm_policy: ImageReference | None = None
    static_heap: StaticMemory | None = None
    cpupools: dict[Name, CpuPool] = Field(default_factory=dict)

    @property
    def qemu(self) -> Version | None:
        """Return the version of dom0's QEMU with Xen, None when there is none or it is not known."""
        if self.qemu_version is None and self.qemu_image == QEMU_XENPVH:
            return QEMU_OF_SUITE[Suite.TRIXIE]
        return _version(self.qemu_version) if self.qemu_version else None


Hypervisor = Annotated[Kvm | Xen, FoundByTag("kind", {"kvm": Kvm, "xen": Xen}.get, lambda: (Kvm, Xen))]


class Board(Model):
    """One board: whose facts file describes it, and which hypervisor it is to run.

    With ``watchdog: false`` the watchdog that its facts name is left alone.
    """

    facts: FactsReference
    hypervisor: Hypervisor
    watchdog: bool = True


class Start(Enum):
    """Who starts a Xen guest: ``xl`` in dom0, or Xen itself at boot (``dom0less``)."""

    XL = "xl"
    DOM0LESS = "dom0less"


class Enhanced(Enum):
    """What of Xen's paravirtual interfaces a dom0less guest gets (``xen,enhanced``)."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    NO_XENSTORE = "no-xenstore"
    LEGACY = "legacy"


class Firmware(Enum):
    """What runs in a guest before anything else: EDK2, as Debian's qemu-efi-aarch64 has it, or U-Boot (u-boot-qemu)."""

    UEFI = "uefi"
    U_BOOT = "u-boot"


class Tee(Enum):
    """What speaks to the trusted execution environment for a guest of xl (``tee``)."""

    OPTEE = "optee"
    FFA = "ffa"


class GicVersion(Enum):
    """The interrupt controller that a guest of xl sees."""

    V2 = "v2"
    V3 = "v3"

    @property
    def number(self) -> int:
        """Return the version as facts have it."""
        return int(self.value[1:])


class HostRange(Model):
    """A range of host memory, host-physical."""

    base: Address
    size: Size

    @property
    def range(self) -> AddressRange:
        """Return it as a range."""
        return AddressRange.of_size(self.base, self.size)


class Capability(Enum):
    """What of dom0's rights a dom0less guest gets (``capabilities``)."""

    CONTROL = "control"
    HARDWARE = "hardware"
    XENSTORE = "xenstore"


def _with_rows(written: type[Settings]) -> type[Settings]:
    """Add the fields that no code reads by name, from Xen's properties: numbers within their limits, and flags."""
    missing: dict[str, Any] = {}
    for row in PROPERTIES:
        if row.key.startswith("xen.") and row.field not in written.model_fields:
            least, most = row.limits or (0, 0)
            number = Annotated[int, Field(ge=least, le=most)] | None
            missing[row.field] = (number, None) if row.limits else (bool, False)
    return create_model(
        written.__name__, __base__=written, __module__=written.__module__, __doc__=written.__doc__, **missing
    )


@_with_rows
class XenDomain(Model):
    """What only Xen has. Guests of xl have ``uart`` (if it is written), ``spis``, ``p2m_memory``,
    ``trap_unmapped_accesses``, ``sve``, ``llc_colors``, ``scmi_smc``, ``vcpu_affinity`` and the limits on grants
    (``max_...``), too, and they alone ``gic_version`` and ``seclabel``.

    ``static_memory`` backs the guest with host memory set aside at boot, at ``memory_address`` if
    that is given, or in the ``static_ranges``; ``direct_map`` gives it the same addresses inside. ``p2m_memory`` is
    for the guest's page tables. Without ``trap_unmapped_accesses`` reads of nothing give ones. ``sve`` is the longest
    vector in bits, or ``max``; ``llc_colors`` are the guest's share of the last-level cache; ``scmi_smc`` lets
    it, and no longer dom0, call the firmware. ``force_assign_without_iommu`` are nodes of ``passthrough`` that no
    IOMMU confines, and that the guest is to have all the same: by their DMA it reaches all memory.
    ``vcpu_affinity`` are the board's CPUs that each vCPU is kept on, in the order of their numbers.
    """

    # What no code reads by its name is not listed here: `_with_rows` has it from the table.
    enhanced: Enhanced | None = None
    static_memory: bool = False
    memory_address: Address | None = None
    static_ranges: tuple[HostRange, ...] = ()
    direct_map: bool = False
    uart: bool = True
    spis: Annotated[int, Field(ge=1, le=XEN_MOST_SPIS)] | None = None
    p2m_memory: Size | None = None
    capabilities: tuple[Capability, ...] = ()
    trap_unmapped_accesses: bool = True
    sve: VectorBits | None = None
    llc_colors: ColourList = ()
    scmi_smc: bool = False
    force_assign_without_iommu: tuple[DeviceTreePath, ...] = ()
    max_grant_frames: Annotated[int, Field(ge=1, le=65535)] | None = None
    max_maptrack_frames: Annotated[int, Field(ge=0, le=65535)] | None = None
    vcpu_affinity: tuple[CpuList, ...] = ()
    gic_version: GicVersion | None = None
    seclabel: SecurityLabel | None = None


class KvmDomain(Model):
    """What only guests of KVM have.

    ``vcpu_affinity`` are the board's CPUs that each vCPU is kept on, in the order of their numbers; ``host_cpus`` are
    those of QEMU's other threads then. ``hugepages`` is the size of the pages that the guest's memory is made of, which
    the board sets aside while it runs.
    """

    vcpu_affinity: tuple[CpuList, ...] = ()
    hugepages: HugePageSize | None = None


class PassedNode(Model):
    """A node of the board's device tree that a guest gets; its path alone says the same without the rest.

    ``address`` is where the guest sees its first registers, guest-physical; the others keep their distance from them.
    ``clocks`` are the rates of the node's clocks in hertz, in its order, where the tree does not say them.
    """

    node: DeviceTreePath
    address: Address | None = None
    # Not strict: what a validator in Python hands on is a list.
    clocks: Annotated[tuple[Annotated[int, Field(ge=1, lt=1 << 32)], ...], Field(strict=False)] = ()


def _to_node(value: Any) -> Any:
    return {"node": value} if isinstance(value, str) else value


PassedThrough = Annotated[
    PassedNode,
    BeforeValidator(_to_node, json_schema_input_type=DeviceTreePath | PassedNode),
    Field(description="the path of a device-tree node such as /soc/ethernet@e6800000, or a mapping with it as `node`"),
]


_KVM_DEFAULTS = KvmDomain.model_construct()
_XEN_DEFAULTS = XenDomain.model_construct()  # not checked: that would build a validator at import


class Domain(Model):
    """One domain. ``board`` may be left out when the topology has one board.

    ``memory`` is required of guests and of a Xen dom0; a region that a guest owns comes on top of it.
    ``ready`` is the text on the domain's console that says it is up, ``ready_timeout_s`` how long after its start
    that may take. A control domain's ``kernel: board`` is what the board runs now, with its own ramdisk where none is
    named. ``host_cpus`` are the board's CPUs that a guest is kept on; none means any. ``device_tree`` is a
    partial device tree for a Xen guest; ``passthrough`` names device-tree nodes of the board given to it, of which
    vtool else writes one; ``pci`` are PCI devices of the board given to a KVM guest. ``tee`` lets a guest of xl call a
    trusted execution environment. ``extra`` are lines in the words of who starts a guest, ``unit_extra`` settings of
    its unit, which nobody checks (``vtool.platform.extra``).

    ``access`` is how a proof gets into a guest, ``proof`` what of it must be shown.

    With ``firmware`` a guest of KVM boots from its own disk, unless it has a ``kernel``.
    """

    board: Name | None = None
    role: Role = Role.GUEST
    cpus: Annotated[int, Field(ge=1, le=128)] = 1
    host_cpus: CpuList = ()
    memory: Size | None = None
    kernel: ImageReference = "vtool:linux"
    firmware: Firmware | None = None
    ramdisk: ImageReference | None = None
    device_tree: ImageReference | None = None
    passthrough: tuple[PassedThrough, ...] = ()
    pci: tuple[PciAddress, ...] = ()
    tee: Tee | None = None
    start: Start = Start.XL
    cpupool: Name | None = None
    xen: XenDomain | None = None
    kvm: KvmDomain | None = None
    bootargs: KernelArguments = ""
    extra: tuple[ExtraLine, ...] = ()
    unit_extra: UnitExtra = Field(default_factory=dict)
    ready: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            pattern=r"^[\x20-\x7e]+$",
            description="1 to 200 printable ASCII characters",
        ),
    ] = "vtool: domain ready"
    ready_timeout_s: Annotated[int, Field(ge=1, le=1200)] = 120
    access: Access | None = None
    proof: ProofSettings | None = None

    @property
    def passed_nodes(self) -> tuple[str, ...]:
        """Return the paths of the nodes that it gets of the board."""
        return tuple(wish.node for wish in self.passthrough)

    @property
    def under_xen(self) -> XenDomain:
        """Return what is written below ``xen``, which goes without saying where nothing is."""
        return self.xen or _XEN_DEFAULTS

    @property
    def under_kvm(self) -> KvmDomain:
        """Return what is written below ``kvm``, which goes without saying where nothing is."""
        return self.kvm or _KVM_DEFAULTS

    @property
    def is_ours(self) -> bool:
        """Whether a ramdisk of vtool's runs in it, whose init answers as a proof expects."""
        return self.ramdisk in (*OWN_RAMDISKS, DRIVER_DOMAIN_RAMDISK)

    @property
    def way_into(self) -> Way:
        """Return how a proof gets into it."""
        return way_into(self.access, is_ours=self.is_ours, at_boot=self.start is Start.DOM0LESS)

    @property
    def says_when_ready(self) -> str:
        """Return the text that its console is waited for; empty where nobody said one, and none is to be expected."""
        ready = self.ready  # where it is written wrongly, what it is instead is not known (vtool.model.partial)
        if "ready" in self.model_fields_set or self.access is None:
            return ready
        if self.access.login is not None:
            return self.access.login.prompt.rstrip()
        return ready if self.access.shell is not None else ""

    @property
    def boots_itself(self) -> bool:
        """Whether its firmware finds what to boot on its own disks: then it has no kernel from outside."""
        kernel = self.kernel  # where it is written wrongly, it is written all the same (vtool.model.partial)
        return self.firmware is not None and bool(kernel) and "kernel" not in self.model_fields_set

    @property
    def pins(self) -> Mapping[tuple[str | int, ...], tuple[int, ...]]:
        """Return the board's CPUs that its vCPUs are kept on, by the keys that say it."""
        found: dict[tuple[str | int, ...], tuple[int, ...]] = {("host_cpus",): self.host_cpus} if self.host_cpus else {}
        for key, each in (("xen", self.under_xen.vcpu_affinity), ("kvm", self.under_kvm.vcpu_affinity)):
            found |= {(key, "vcpu_affinity", vcpu): cpus for vcpu, cpus in enumerate(each)}
        return found

    @property
    def affinity(self) -> tuple[tuple[int, ...], ...]:
        """Return the CPUs that each vCPU is kept on; nothing where all may be anywhere."""
        return self.under_xen.vcpu_affinity or (self.host_cpus,) * (self.cpus if self.host_cpus else 0)

    @property
    def has_static_memory(self) -> bool:
        """Whether host memory is set aside for it at boot."""
        return self.under_xen.static_memory or bool(self.under_xen.static_ranges)

    @property
    def ramdisk_named(self) -> str | None:
        """Return the ramdisk, which goes without saying for the board's own kernel; None without one."""
        own = self.role is Role.CONTROL and self.ramdisk is None and self.kernel == OF_THE_BOARD
        return OF_THE_BOARD if own else self.ramdisk

    @property
    def is_direct(self) -> bool:
        """Whether a domain's addresses are the host's."""
        return self.role is Role.CONTROL or self.under_xen.direct_map


class Region(Model):
    """Memory shared ahead of time: the owner pays for it, the borrowers see it too.

    ``address`` is where its owner sees it: guest-physical for a guest, host-physical for the control
    domain. Under Xen a region of dom0less guests may leave out ``owner`` (Xen itself owns it), fix
    ``host_address`` and say in ``addresses`` where borrowers see it; ``placed: false`` lets Xen take
    pages from its heap, at no host address in particular.

    ``alignment`` is kept by every address of it; ``granule`` is the largest page size of the kernels that
    map it, of which its size and addresses are multiples. Left out, the granule is that of the kernels that
    vtool knows the build of, else 4 KiB.

    ``device_nodes`` are nodes of the owner's device tree that name a pool in ``memory-region``; ``reusable``
    lets the kernel use a shared-dma-pool for what it can move away (CMA).
    """

    size: Size
    owner: Name | None = None
    host_address: Address | None = None
    addresses: dict[Name, Address] = Field(default_factory=dict)
    placed: bool = True
    borrowers: tuple[Name, ...] = ()
    use: RegionUse
    address: Address | None = None
    alignment: Size | None = None
    granule: Granule | None = None
    reusable: bool = False
    device_nodes: tuple[DeviceTreePath, ...] = ()

    @property
    def step(self) -> int:
        """What addresses in a guest that vtool chooses are multiples of."""
        return self.alignment or HOST_ALIGNMENT

    def address_in(self, domain: str) -> tuple[int | None, tuple[str, ...]]:
        """Return where a domain sees it if the user fixed that, and the key that says it."""
        if domain == self.owner:
            return self.address, ("address",)
        return self.addresses.get(domain), ("addresses", domain)


class EventChannel(Model):
    """A static event channel between two domains that Xen builds at boot; ports are chosen if left out."""

    between: Annotated[tuple[Name, ...], Field(min_length=2, max_length=2)]
    ports: dict[Name, Annotated[int, Field(ge=1, le=1023)]] = Field(default_factory=dict)


class Topology(Model):
    """The whole file; ``include`` and ``variables`` are gone once ``vtool.reading.language`` has read it."""

    version: Literal[1]
    include: IncludedFiles = ()
    variables: Variables = Field(default_factory=dict)
    name: Name
    boards: Annotated[dict[Name, Board], Field(min_length=1)]
    domains: Annotated[dict[Name, Domain], Field(min_length=1)]
    regions: dict[Name, Region] = Field(default_factory=dict)
    devices: dict[Name, Device] = Field(default_factory=dict)
    event_channels: dict[Name, EventChannel] = Field(default_factory=dict)
