"""Devices of the board that guests of Xen get: what was asked for, and what the board's own tree says of them."""

from __future__ import annotations

from vtool.base.records import record
from vtool.base.units import AddressRange
from vtool.diagnostics import Span
from vtool.plan.types.origins import Origin


@record
class Registers:
    """Pages of the host with registers of a device, and where its guest sees them."""

    host: AddressRange
    inside: AddressRange
    origin: Origin


@record
class FixedClock:
    """A clock of the board, to the guest one that always runs at this rate."""

    label: str
    rate_hz: int


@record
class GuestProperty:
    """A property in a guest's tree: bytes, or the labels of the nodes that it refers to."""

    name: str
    value: bytes = b""
    labels: tuple[str, ...] = ()


@record
class GuestNode:
    """A node in a guest's tree."""

    name: str
    properties: tuple[GuestProperty, ...]
    children: tuple[GuestNode, ...] = ()


@record
class TreeDevice:
    """A device as the board's own tree has it, and as its guest gets it.

    ``intids`` are its interrupts, the same for board and guest. ``left_out`` are properties of its node that refer to
    nodes that the guest has not.
    """

    registers: tuple[Registers, ...]
    intids: tuple[int, ...]
    clocks: tuple[FixedClock, ...]
    node: GuestNode
    left_out: tuple[str, ...]


@record
class PassthroughNode:
    """A node of the board's device tree that dom0 leaves to a guest, and where the user wrote it.

    ``address`` is where its first registers are to be, ``clocks_hz`` are the rates of its clocks, as far as the user
    says so. ``forced``: no IOMMU is before it, and it is given away all the same. ``device`` is None as long as the
    board's own tree is not at hand.
    """

    path: str
    domain: str
    place: Span
    address: int | None = None
    clocks_hz: tuple[int, ...] = ()
    forced: bool = False
    device: TreeDevice | None = None

    @property
    def registers(self) -> tuple[Registers, ...]:
        """Return its registers, none as long as they are not known."""
        return self.device.registers if self.device else ()

    @property
    def intids(self) -> tuple[int, ...]:
        """Return its interrupts, none as long as they are not known."""
        return self.device.intids if self.device else ()

    @property
    def clocks(self) -> tuple[FixedClock, ...]:
        """Return its clocks, none as long as they are not known."""
        return self.device.clocks if self.device else ()

    @property
    def what(self) -> str:
        """Say in words what the guest gets, or why that is not known."""
        if self.device is None:
            return "registers and interrupts are those of the board's own tree, which is not at hand"
        words = [f"{each.host} seen at {each.inside.base:#x} ({each.origin.reason})" for each in self.registers]
        words += [f"intid {intid}" for intid in self.intids]
        words += [f"a fixed clock of {clock.rate_hz} Hz" for clock in self.clocks]
        words += [f"without {', '.join(f'`{name}`' for name in self.device.left_out)}"] * bool(self.device.left_out)
        return ", ".join(words)
