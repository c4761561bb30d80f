"""What Xen itself builds at boot (dom0less): guests, modules, event channels, CPU pools."""

from __future__ import annotations

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.model.topology import Enhanced, Scheduler
from vtool.plan.types.origins import Origin, StaticRange
from vtool.plan.types.regions import SharedView
from vtool.plan.types.rings import XenRing
from vtool.plan.types.xen import XenQemu, XenVirtio


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
    scheduler: Scheduler | None

    @property
    def xl_name(self) -> str:
        """Return xl's name of it (tools/helpers/xen-init-dom0.c)."""
        return f"Pool-{self.number}"


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
    enhanced: Enhanced | None
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
        return self.enhanced is Enhanced.ENABLED

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
