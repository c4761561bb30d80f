"""A board and the whole topology, decided. Enter at `Plan`."""

from __future__ import annotations

import ipaddress

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.diagnostics import Span
from vtool.model.board_facts import BoardFacts, Watchdog
from vtool.model.combinations import Suite, Version
from vtool.plan.types.guest import Guest
from vtool.plan.types.kvm import KvmGuest
from vtool.plan.types.regions import HostRegion
from vtool.plan.types.xen import XenGuest, XenQemu
from vtool.plan.types.xen_boot import XenBoot
from vtool.platform.host_memory import Taken


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
        found += [(f"region '{view.region}'", view.host) for view in boot.views if view.host is not None]
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
    def all_guests(self) -> tuple[Guest, ...]:
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
        return tuple((guest.name, guest.qemu) for guest in self.all_guests if guest.qemu is not None)


@record
class Plan:
    """The whole topology, decided."""

    name: str
    boards: tuple[BoardPlan, ...]
