"""A board and the whole topology, decided. Enter at `Plan`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.model.board_facts import BoardFacts, Watchdog
from vtool.model.combinations import Suite, Version
from vtool.model.load_windows import load_windows
from vtool.model.topology import OF_THE_BOARD
from vtool.plan.types.kvm import KvmGuest
from vtool.plan.types.origins import Origin, OriginKind, fact
from vtool.plan.types.passthrough import PassthroughNode
from vtool.plan.types.regions import HostRegion
from vtool.plan.types.windows import Window, WindowKind
from vtool.plan.types.xen import XenGuest
from vtool.plan.types.xen_boot import BootModule, XenBoot, XenBootGuest
from vtool.platform.host_memory import Taken


@record
class Bridge:
    """A bridge in the control domain, with its address and prefix where vtool gives it one.

    One that is ``existing`` is another tool's; ``unit`` is then systemd's of that interface. Into one with an
    ``uplink`` goes that interface of the board, whose addresses and routes the bridge takes over.
    """

    name: str
    address: str
    unit: str
    existing: bool = False
    uplink: str = ""

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
    """The domain that owns the hardware: the KVM host or dom0.

    ``ramdisk_window`` is None where the loader need not be told, too. The board's own ramdisk is ``ramdisk_required``
    where the user named it; else it is taken if the board has one.
    """

    name: str
    cpus: int
    memory_bytes: int | None
    kernel_image: str
    bootargs: str
    ramdisk_image: str | None = None
    ramdisk_window: AddressRange | None = None
    ramdisk_required: bool = False

    @property
    def images(self) -> Mapping[str, str]:
        """Return what it is started with, by the names of the boot set's files: references of images."""
        ramdisk = {"initrd": self.ramdisk_image} if self.ramdisk_image is not None else {}
        return {"Image": self.kernel_image, **ramdisk}

    @property
    def takes_the_boards_own(self) -> bool:
        """Whether something of that is what the board runs now, which is on the board alone."""
        return OF_THE_BOARD in self.images.values()


@record
class UnitExtra:
    """Settings that the user adds to a unit, by section; ``place`` is where a topology has them."""

    unit: str
    section: str
    lines: tuple[str, ...]
    place: tuple[str, ...]


@record
class BoardPlan:
    """Everything decided for one board. ``xen_image`` and ``xen_bootargs`` are None under KVM.

    ``xen_release`` is None where it is not known, too. ``suite`` is the board's Debian, None under Xen; ``qemu`` is the
    release of the QEMU that runs guests or serves them, None without one. ``xsm_policy`` is the image of a policy for
    FLASK. ``xen_not_checked`` are the last words of Xen's command line, and ``units_not_checked`` settings of units:
    the user's own, of which vtool knows nothing.
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
    xen_arguments: tuple[XenArgument, ...] = ()
    xen_release: tuple[int, int] | None = None
    suite: Suite | None = None
    qemu: Version | None = None
    xsm_policy: str | None = None
    xen_not_checked: str = ""
    units_not_checked: tuple[UnitExtra, ...] = ()

    @property
    def ram(self) -> tuple[AddressRange, ...]:
        """The board's RAM, host-physical, ascending."""
        return tuple(sorted(AddressRange.of_size(bank.base, bank.size) for bank in self.facts.ram))

    @property
    def direct(self) -> tuple[str, ...]:
        """Return the interfaces of the board that guests are on without a bridge."""
        return tuple(sorted({tap.direct for guest in self.kvm_guests for tap in guest.handed}))

    @property
    def guests(self) -> tuple[KvmGuest | XenGuest | XenBootGuest, ...]:
        """All guests, whatever the hypervisor and whoever starts them."""
        return (*self.kvm_guests, *self.xen_guests, *self.xen_boot.guests)

    @property
    def passthrough(self) -> tuple[PassthroughNode, ...]:
        """Return the nodes that dom0 leaves to guests, whoever starts these; in the order of their paths."""
        nodes = [node for guest in self.xen_guests for node in guest.passthrough]
        nodes += (node for guest in self.xen_boot.guests for node in guest.passthrough)
        return tuple(sorted(nodes, key=lambda node: node.path))

    @property
    def windows(self) -> tuple[Window, ...]:
        """What is where in the host's memory: RAM, carve-outs, what is placed, and where what is loaded."""
        return (*self._of_facts(), *self._placed(), *self._loads())

    @property
    def host_claims(self) -> tuple[Taken, ...]:
        """Everything that has a host address of its own: regions, static heap and memory, rooms of boot modules."""
        return tuple(Taken(window.claim, window.range) for window in self._placed())

    def _of_facts(self) -> Iterator[Window]:
        said = f"facts of '{self.facts.name}'"
        for index, bank in enumerate(self.facts.ram):
            yield Window(bank.range, WindowKind.RAM, f"RAM bank {index}", fact(said))
        for carve in self.facts.carve_outs:
            yield Window(carve.range, WindowKind.CARVE_OUT, carve.name, fact(f"{said}: {carve.reason}"))

    def _placed(self) -> Iterator[Window]:
        boot = self.xen_boot
        for region in self.host_regions:
            note, claim = region.compatible or "reserved-memory of the host", f"region '{region.region}'"
            yield Window(region.range, WindowKind.REGION, region.region, region.origin, note=note, claim=claim)
        for view in {view.region: view for view in boot.views}.values():
            if view.host is not None:
                note, claim = "static shared memory", f"region '{view.region}'"
                yield Window(view.host, WindowKind.REGION, view.region, view.host_origin, note=note, claim=claim)
        if (heap := boot.static_heap) is not None:
            claim = "the static heap"
            yield Window(heap.range, WindowKind.DOMAIN_MEMORY, "static heap", heap.origin, "Xen", claim=claim)
        for guest in boot.guests:
            name = guest.name
            for static in guest.static_memory:
                what, claim = f"RAM of {name}", f"memory of '{name}'"
                yield Window(static.range, WindowKind.DOMAIN_MEMORY, what, static.origin, name, claim=claim)
            for module in guest.modules:
                yield _room(module, name)
        if boot.xsm_policy is not None:
            yield _room(boot.xsm_policy, "Xen")

    def _loads(self) -> Iterator[Window]:
        names = {"device_tree": "device tree", "kernel": "kernel of the control domain", "ramdisk": "ramdisk"}
        if self.xen_image is not None:
            names["hypervisor"] = "hypervisor"
        windows, origin = dict(load_windows(self.facts)), fact(f"facts of '{self.facts.name}': boot.load")
        if self.control.ramdisk_window is not None:
            windows["ramdisk"] = self.control.ramdisk_window
        for key, name in names.items():
            if key in windows:
                yield Window(windows[key], WindowKind.BOOT_LOAD, name, origin)

    @property
    def ready_timeout_s(self) -> int:
        """How long it may take until all guests are ready: first driver domains, then the others, side by side."""
        by_turn = ([guest for guest in self.guests if guest.starts_first is first] for first in (True, False))
        return sum(max((guest.ready_timeout_s for guest in turn), default=0) for turn in by_turn)


def _room(module: BootModule, owner: str) -> Window:
    origin, claim = Origin(OriginKind.ALLOCATED, "one window above the other"), f"the room for '{module.file}'"
    return Window(module.window, WindowKind.BOOT_LOAD, module.file, origin, owner, claim=claim)


@record
class Plan:
    """The whole topology, decided."""

    name: str
    boards: tuple[BoardPlan, ...]
