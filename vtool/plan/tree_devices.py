"""Devices of the board for guests of Xen, as the board's own tree has them. Enter at ``with_devices``.

The tree is not at hand where a topology is planned (``vtool.plan.passthrough``).
Xen docs/misc/arm/passthrough.txt, docs/misc/arm/device-tree/passthrough.txt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from vtool.base.units import PAGE_BYTES, AddressRange, align_up, joined
from vtool.check.xen_passthrough import consent
from vtool.diagnostics import Diagnostic, VtoolError
from vtool.diagnostics.codes import declare
from vtool.plan.guest_node import clocks_of, guest_node
from vtool.plan.types import BoardPlan, PassthroughNode, Registers, TreeDevice, XenBootGuest, XenGuest
from vtool.plan.types.origins import Origin, OriginKind, fact
from vtool.platform import layouts
from vtool.platform.devicetree import Node, Tree
from vtool.platform.tree_interrupts import interrupts_of

_Guest = XenGuest | XenBootGuest
_AnyGuest = TypeVar("_AnyGuest", XenGuest, XenBootGuest)

declare(
    "VT490",
    what="a node has no registers that a guest could have",
    why="A guest gets whole pages of the node's own `reg`; children with registers of their own do not come with it.",
    example="passthrough: [/soc/usb@ff9d0000], whose controller is a child with registers behind `ranges`",
    fix="Pass through the node that has the registers.",
)
declare(
    "VT491",
    what="registers of another device are in the same page",
    why="Memory is given to guests in pages: with one device the guest would drive the other one, too.",
    example="passthrough: [/virtio_mmio@a000000], beside /virtio_mmio@a000200",
    fix="Give both to the same guest, or neither.",
)
declare(
    "VT492",
    what="an interrupt of a device cannot be given to a guest",
    why="Xen hands over shared interrupts (SPIs) of the board's GIC, each to one domain.",
    example="a device whose interrupt goes to a GPIO controller, or is shared with a device of dom0",
    fix="Pass through another device, or all that share the interrupt, to one guest.",
)
declare(
    "VT493",
    what="the guest has something else where it would see a device",
    why="Registers need addresses that neither RAM nor the layout of Xen's guests takes; a mapping is of whole pages.",
    example="passthrough: [{node: /rtc@9010000, address: 0x4000_0000}]",
    fix="Leave `address` out, or write one that is free.",
)
declare(
    "VT494",
    what="the rate of a clock is not known",
    why="The clock's controller stays with dom0: to the guest it is a fixed clock, and its driver asks for the rate.",
    example="passthrough of a UART whose clock comes from a clock controller",
    fix="Write the rates, in the order of the node's `clocks`: passthrough: [{node: ..., clocks: [100_000_000]}].",
)
declare(
    "VT495",
    what="an interrupt of a device is another one's in the guest",
    why="A device's interrupt has the same number in the guest, where virtio devices and the UART have theirs.",
    example="a device of intid 34 for a guest of xl with two virtio devices",
    fix="Give the guest fewer virtio devices, or none, or no UART.",
)


def with_devices(board: BoardPlan, tree: Tree) -> BoardPlan:
    """Return the plan with what the board's own tree says of the nodes that guests get; of absent ones nothing.

    Raises VtoolError VT360, VT490 to VT495.
    """
    if not board.passthrough:
        return board
    reading = _Reading(tree, board)
    xl = tuple(reading.fitted(guest) for guest in board.xen_guests)
    boot = replace(board.xen_boot, guests=tuple(reading.fitted(guest) for guest in board.xen_boot.guests))
    if reading.found:
        raise VtoolError(reading.found)
    return replace(board, xen_guests=xl, xen_boot=boot)


class _Reading:
    """A board's tree, read for the guests of a plan; ``found`` is what cannot be given to them."""

    def __init__(self, tree: Tree, board: BoardPlan) -> None:
        self.found: list[Diagnostic] = []
        self._tree = tree
        self._by_phandle = tree.by_phandle()
        self._given_to = {node.path: node.domain for node in board.passthrough}

    def fitted(self, guest: _AnyGuest) -> _AnyGuest:
        """Return a guest with what the tree says of its nodes."""
        if not guest.passthrough:
            return guest
        taken = list(_taken(guest))
        return replace(guest, passthrough=tuple(self._told(wish, guest, taken) for wish in guest.passthrough))

    def _told(self, wish: PassthroughNode, guest: _Guest, taken: list[AddressRange]) -> PassthroughNode:
        """Return a node with what the tree says of it; ``taken`` of the guest's addresses grows by its registers."""
        node = self._tree.node(wish.path)
        if node is None or node.path != wish.path:  # VT417
            return wish
        before = len(self.found)
        registers = tuple(self._registers(wish, node, guest, taken))
        self.found += (*self._unconfined(wish, node), *self._interrupts(wish, node, guest))
        clocks, why_not = clocks_of(node, wish.clocks_hz, self._by_phandle)
        if why_not:
            words, number = why_not
            hint = f"write their rates: `{{node: {wish.path}, clocks: [{', '.join(['HZ'] * number)}]}}`"
            self.found.append(Diagnostic("VT494", f"'{wish.path}' {words}", wish.place, hints=(hint,)))
        if len(self.found) > before:
            return wish
        intids = [each.intid for each in interrupts_of(node, self._by_phandle) if each.intid is not None]
        written, left_out = guest_node(node, registers, clocks, self._by_phandle)
        device = TreeDevice(registers, tuple(intids), tuple(dict.fromkeys(clocks)), written, left_out)
        return replace(wish, device=device)

    # -- registers

    def _registers(
        self, wish: PassthroughNode, node: Node, guest: _Guest, taken: list[AddressRange]
    ) -> Iterator[Registers]:
        why, own = self._own_registers(node)
        if why:
            self.found.append(Diagnostic("VT490", f"'{wish.path}' {why}", wish.place))
            return
        pages = [_pages(each) for each in own]
        self.found += self._neighbours(wish, node, pages)
        first = next(each for each in joined(pages) if each.contains(pages[0]))
        offset = None if wish.address is None else wish.address - first.base
        for host in joined(pages):
            inside, origin = _place(host, offset, guest, taken)
            free_if_wished = () if offset is None else layouts.XEN_PCI
            if inside is None or any(inside.overlaps(other) for other in taken if other not in free_if_wished):
                where = inside or host
                free = next(layouts.xen_guest_places(host.size_bytes, PAGE_BYTES, taken), None)
                hint = f"or write {free.base:#x}, where it is free" if free and len(joined(pages)) == 1 else ""
                message = f"'{wish.domain}' cannot see the registers of '{wish.path}' at {where}: {origin.reason}"
                hints = (f"leave `address` out and let vtool choose{', ' if hint else ''}{hint}",)
                self.found.append(Diagnostic("VT493", message, wish.place, hints=hints if wish.address else ()))
                continue
            taken.append(inside)
            yield Registers(host, inside, origin)

    def _own_registers(self, node: Node) -> tuple[str, list[AddressRange]]:
        try:
            own = node.ranges()
            if not own or len(own) < len(node.reg()):
                return "has no registers of which the tree says where a CPU sees them", []
            inner = next((each for each in node.walk() if each is not node and each.ranges()), None)
        except ValueError as error:
            return f"cannot be read: {error}", []
        if inner is not None:
            return f"has registers of its own child '{inner.path}' behind it, which do not come with it", []
        return "", own

    def _neighbours(self, wish: PassthroughNode, node: Node, pages: list[AddressRange]) -> Iterator[Diagnostic]:
        for other, registers in self._every_register:
            mine = other is node or self._given_to.get(other.path) == wish.domain
            if mine or not any(registers.overlaps(page) for page in pages):
                continue
            message = f"'{wish.path}' shares a page with '{other.path}' {registers}"
            yield Diagnostic("VT491", f"{message}: who gets one can drive the other", wish.place)
            return

    @cached_property
    def _every_register(self) -> list[tuple[Node, AddressRange]]:
        found = []
        for node in self._tree.root.walk():
            if node.string("device_type") == "memory" or node.path.startswith("/reserved-memory/"):
                continue
            try:
                found += [(node, each) for each in node.ranges()]
            except ValueError:
                continue
        return found

    # -- interrupts and the IOMMU

    def _interrupts(self, wish: PassthroughNode, node: Node, guest: _Guest) -> Iterator[Diagnostic]:
        of_guest = dict(_interrupts_of_guest(guest))
        for interrupt in interrupts_of(node, self._by_phandle):
            intid = interrupt.intid
            if intid is None:
                message = f"an interrupt of '{wish.path}' {interrupt.words}: Xen cannot give it to a guest"
                yield Diagnostic("VT492", message, wish.place)
                continue
            sharing = [path for path in self._on_interrupt.get(intid, ()) if path != node.path]
            elsewhere = next((path for path in sharing if self._given_to.get(path) != wish.domain), None)
            if elsewhere is not None:
                message = f"intid {intid} of '{wish.path}' is that of '{elsewhere}', too, which does not go with it"
                yield Diagnostic("VT492", message, wish.place)
            if intid in of_guest:
                message = f"intid {intid} of '{wish.path}' is that of {of_guest[intid]} in '{wish.domain}'"
                yield Diagnostic("VT495", message, wish.place)
            spis = next((each.value for each in guest.settings if each.row.name == "nr_spis" and each.value), None)
            if spis is not None and intid >= layouts.SPI_FIRST_INTID + spis:
                message = f"intid {intid} of '{wish.path}' is beyond the {spis} SPIs of '{wish.domain}'"
                hint = f"leave `spis` out, or write at least {intid - layouts.SPI_FIRST_INTID + 1}"
                yield Diagnostic("VT495", message, wish.place, hints=(hint,))

    @cached_property
    def _on_interrupt(self) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for node in self._tree.root.walk():
            if not node.available:
                continue
            for interrupt in interrupts_of(node, self._by_phandle):
                if interrupt.intid is not None:
                    found.setdefault(interrupt.intid, []).append(node.path)
        return found

    def _unconfined(self, wish: PassthroughNode, node: Node) -> Iterator[Diagnostic]:
        if wish.forced or {"iommus", "iommu-map"} & node.values.keys():
            return
        if node.phandle and any(node.phandle in other.cells("mmu-masters") for other in self._tree.root.walk()):
            return
        message = f"no IOMMU stands before '{wish.path}': its node in the tree names none (`iommus`)"
        yield Diagnostic("VT360", message, wish.place, hints=(consent(wish.path, wish.domain),))


def _pages(where: AddressRange) -> AddressRange:
    return AddressRange(where.base // PAGE_BYTES * PAGE_BYTES, align_up(where.end, PAGE_BYTES))


def _place(
    host: AddressRange, offset: int | None, guest: _Guest, taken: list[AddressRange]
) -> tuple[AddressRange | None, Origin]:
    """Return where a guest sees pages: where the user says, else where the host does, else in the first free range."""
    if offset is not None:
        base = host.base + offset
        if base < 0 or base % PAGE_BYTES:
            return None, Origin(OriginKind.FIXED, f"{base:#x} is not the address of a page")
        return AddressRange.of_size(base, host.size_bytes), Origin(OriginKind.FIXED, "as `address` says, it is taken")
    if not any(host.overlaps(other) for other in taken):
        return host, fact("where the board has it")
    direct = isinstance(guest, XenBootGuest) and guest.direct_map
    found = None if direct else next(layouts.xen_guest_places(host.size_bytes, PAGE_BYTES, taken), None)
    why = "first free range above its RAM: the layout of Xen's guests has something else where the board has it"
    return found, Origin(OriginKind.ALLOCATED, why if found else "there is no room")


def _taken(guest: _Guest) -> Iterator[AddressRange]:
    """Yield what is taken of a guest's addresses."""
    if isinstance(guest, XenBootGuest):
        yield from (view.inside for view in guest.shared)
        if guest.direct_map:
            yield from guest.ram
            return
    yield from layouts.xen_guest_taken(guest.memory_bytes)


def _interrupts_of_guest(guest: _Guest) -> Iterator[tuple[int, str]]:
    """Yield the interrupts that a guest has by itself, and what they are of."""
    uart = next((setting.value for setting in guest.settings if setting.row.name == "vpl011"), False)
    if uart:
        yield layouts.SPI_FIRST_INTID, "the UART"
    for device in guest.virtio:
        yield device.intid, f"device '{device.name}'"
