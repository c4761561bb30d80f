"""What Xen itself builds at boot (dom0less): guests, modules, event channels, CPU pools."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.model.access import ProofKind
from vtool.model.topology import OWN_RAMDISKS, Enhanced, Scheduler
from vtool.plan.types.guest import (
    GrantLimit,
    GuestAccess,
    GuestDevice,
    GuestImage,
    GuestKind,
    NotByXl,
    RegionView,
)
from vtool.plan.types.origins import Origin, StaticRange
from vtool.plan.types.passthrough import PassthroughNode
from vtool.plan.types.regions import SharedView
from vtool.plan.types.rings import XenRing
from vtool.plan.types.windows import GuestWindows, Window, WindowKind, machine_and_ram, passed_windows
from vtool.plan.types.xen import GuestWithQemu, XenAttached, XenQemu, XenVirtio, qemu_images, virtio_windows
from vtool.platform import layouts
from vtool.platform.xen_properties import XenSetting


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
class XenBootGuest(GuestWithQemu, NotByXl):
    """A domU that Xen itself builds at boot (dom0less): everything of its device-tree node.

    ``domain_id`` is the number that Xen gives it; ``unit`` finds it on the running board, ``ready`` is waited for
    in Xen's own log. ``affinity`` is where each of its CPUs may run;
    ``settings`` are its properties by the table of Xen's.
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
    static_memory: tuple[StaticRange, ...]
    direct_map: bool
    uart: bool
    enhanced: Enhanced | None
    cpupool: str | None
    affinity: tuple[tuple[int, ...], ...]
    passthrough: tuple[PassthroughNode, ...]
    settings: tuple[XenSetting, ...]
    kernel: BootModule
    ramdisk: BootModule | None
    device_tree: BootModule | None
    bootargs: str
    gic_version: int
    shared: tuple[SharedView, ...]
    event_channels: tuple[EventChannelEnd, ...]
    virtio: tuple[XenVirtio, ...] = ()
    qemu: XenQemu | None = None
    rings: tuple[XenRing, ...] = ()
    not_checked: tuple[str, ...] = ()
    """Properties of its node that are the user's own, as a device-tree source has them, without the `;`."""
    access: GuestAccess = GuestAccess()
    require: tuple[ProofKind, ...] = ()
    attached: tuple[XenAttached, ...] = ()
    """What xl attaches to it once it has its xenstore."""
    grants: GrantLimit | None = None
    """What that holds at worst, and what it has; None where it holds nothing."""

    @property
    def kind(self) -> GuestKind:
        """Return how it is started."""
        return GuestKind.DOM0LESS

    @property
    def at_boot(self) -> bool:
        """Return True: Xen builds it."""
        return True

    @property
    def target_units(self) -> tuple[str, ...]:
        """Return the units of its rings and of what is attached to it: its own is asked for by what waits for it."""
        return (*(ring.unit for ring in self.rings), *(one.unit for one in self.attached))

    @property
    def windows(self) -> GuestWindows:
        """Return the layout of Xen's guests or the board's, its RAM, regions, virtio and the board's devices."""
        layout = layouts.AS_ON_THE_BOARD if self.direct_map else layouts.xen_guest_layout(self.gic_version)
        found = [*machine_and_ram(self.name, layout, self.ram)]
        for view in self.shared:
            host = f"host-physical {view.host}" if view.host else "anywhere in Xen's heap"
            found.append(Window(view.inside, WindowKind.REGION, view.region, view.inside_origin, note=host))
        found += (*virtio_windows(self.name, self.virtio), *passed_windows(self.name, self.passthrough))
        notes = ("mapped directly: its machine is where the board's is",) if self.direct_map else ()
        return GuestWindows("Xen guest started by Xen at boot", tuple(found), notes)

    @property
    def banks(self) -> tuple[AddressRange, ...]:
        """Return its RAM, guest-physical."""
        return self.ram

    @property
    def console_log(self) -> None:
        """Return nothing: Xen's own log has what it prints."""
        return

    @property
    def console_socket(self) -> None:
        """Return nothing: it is one of Xen's consoles."""
        return

    @property
    def images(self) -> tuple[GuestImage, ...]:
        """Return what is loaded for it (not the tree that is rendered), its QEMU, and the program of its rings."""
        loaded = [GuestImage(module.file, module.image, at_boot=True) for module in self.modules if module.image]
        units = tuple(ring.unit for ring in self.rings)
        program = [GuestImage("vtool-ring", ring.image, units, executable=True) for ring in self.rings[:1]]
        return (*loaded, *qemu_images(self.qemu), *program)

    @property
    def devices(self) -> tuple[GuestDevice, ...]:
        """Return its rings, then its virtio devices, then what is attached to it."""
        return (*self.rings, *self.virtio, *self.attached)

    @property
    def views(self) -> tuple[RegionView, ...]:
        """Return the static shared regions that it has."""
        return tuple(RegionView(view.region, view.inside, view.inside_origin) for view in self.shared)

    @property
    def says_drivers(self) -> bool:
        """Whether it says on its console which driver has a device of the board, as vtool's own guest does."""
        return self.uart and self.ramdisk is not None and self.ramdisk.image in OWN_RAMDISKS

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
    """What Xen is told at boot beside dom0: guests, shared memory of dom0, event channels, policy, pools, heap."""

    guests: tuple[XenBootGuest, ...] = ()
    shared: tuple[SharedView, ...] = ()
    event_channels: tuple[EventChannelEnd, ...] = ()
    xsm_policy: BootModule | None = None
    cpupools: tuple[XenCpuPool, ...] = ()
    static_heap: StaticRange | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing beyond dom0."""
        said = (self.guests, self.shared, self.event_channels, self.xsm_policy, self.cpupools, self.static_heap)
        return not any(said)

    @property
    def views(self) -> tuple[SharedView, ...]:
        """Return how each domain sees each static shared region, dom0 first."""
        return (*self.shared, *(view for guest in self.guests for view in guest.shared))

    @property
    def modules(self) -> tuple[BootModule, ...]:
        """Return the files that are loaded for all guests, in order, and Xen's policy."""
        own = () if self.xsm_policy is None else (self.xsm_policy,)
        return (*(module for guest in self.guests for module in guest.modules), *own)

    def shared_with(self, control: str) -> Iterator[tuple[str, tuple[SharedView, ...], tuple[EventChannelEnd, ...]]]:
        """Yield each domain, dom0 (``control`` by name) first, with its regions and its ends of event channels."""
        yield control, self.shared, self.event_channels
        for guest in self.guests:
            yield guest.name, guest.shared, guest.event_channels

    @property
    def channel_ends(self) -> tuple[EventChannelEnd, ...]:
        """Return both ends of every static event channel."""
        return (*self.event_channels, *(end for guest in self.guests for end in guest.event_channels))
