"""Rules on how far addresses go: what lies beyond the address space of the board's CPUs, no guest can have."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import AddressRange, format_size
from vtool.check.context import Context
from vtool.check.free import free_in_guest
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.cores import MOST_ADDRESS_BITS, physical_address_bits
from vtool.model.topology import Domain, Role, Xen
from vtool.platform import layouts
from vtool.reading.source import KeyPath

_XEN_LAYOUT_BYTES = sum(bank.size_bytes for bank in layouts.XEN_GUEST_RAM)
_MOST_BITS_OF_XEN = 48
"""Xen xen/arch/arm/include/asm/page-bits.h PADDR_BITS; since 4.18 xen/arch/arm/Kconfig has the same number."""


@rule(
    "VT352",
    what="an address beyond what the board's CPUs can reach",
    why="Cores have 40, 44 or 48 bits of address, and guests no more; Xen stops at what lies beyond, before dom0 runs.",
    example="addresses: {fe0: 0x1000_0000_0000_0000}",
    fix="Leave the address out and let vtool choose, or choose a lower one.",
)
def guest_addresses_exist(context: Context) -> Iterator[Diagnostic]:
    """What a guest sees ends within the guest-physical address space, which is as large as the CPUs' own.

    Xen xen/arch/arm/mmu/p2m.c setup_virt_paging: p2m_ipa_bits is at most PARange, and at most PADDR_BITS; of PARange
    Linux arch/arm64/kvm/reset.c kvm_set_ipa_limit and QEMU hw/arm/virt.c virt_kvm_type likewise. Host addresses are
    compared with RAM (VT404).
    """
    for board, loaded in context.facts.items():
        bits, whose = physical_address_bits(loaded.facts)
        is_xen = isinstance(context.topology.boards[board].hypervisor, Xen)
        if is_xen and bits > _MOST_BITS_OF_XEN:
            bits, whose = _MOST_BITS_OF_XEN, "as Xen is built"
        key = ("cpu_nodes",) if loaded.facts.cpu_nodes else ("cpus",)
        label = Label(loaded.document.span(key, key=True), "the board's CPUs are here")
        for name, domain in context.domains_on(board):
            if domain.role is not Role.GUEST:
                continue
            for what, where, path in _seen_by(context, name, domain, is_xen=is_xen):
                if where.end > 1 << bits:
                    message = (
                        f"{what} ends at {where.end:#x}, beyond the {bits} bits of address of board '{board}' "
                        f"({whose}), which end at {1 << bits:#x}"
                    )
                    hint = free_in_guest(context, name, str(path[1])) if path[0] == "regions" else ""
                    yield context.find("VT352", message, path, labels=(label,), hints=(hint,) if hint else ())


@rule("VT408")
def facts_are_addressable(context: Context) -> Iterator[Diagnostic]:
    """No board has RAM where no arm64 CPU reaches."""
    for board, loaded in context.facts.items():
        for index, bank in enumerate(loaded.facts.ram):
            if bank.range.end > 1 << MOST_ADDRESS_BITS:
                what = f"RAM {bank.range} is beyond the {MOST_ADDRESS_BITS} bits of address of any arm64 CPU"
                message = f"the facts of board '{board}' contradict themselves: {what}"
                label = Label(loaded.document.span(("ram", index)), "here")
                yield context.find("VT408", message, ("boards", board, "facts"), labels=(label,))


def _seen_by(
    context: Context, name: str, domain: Domain, *, is_xen: bool
) -> Iterator[tuple[str, AddressRange, KeyPath]]:
    """Yield the RAM of a guest, and regions at places that the user fixed, where other rules do not bound them."""
    regions = context.lookup.regions_of[name]
    if domain.memory is not None and not domain.is_direct and not _more_than_the_board(context, name, domain.memory):
        pools = (region.size for _, region in context.lookup.pools_of(name))
        ram = layouts.qemu_guest_memory(domain.memory, pools)
        if is_xen:
            ram = layouts.xen_guest_ram(min(domain.memory, _XEN_LAYOUT_BYTES))[-1]
        yield f"the RAM of '{name}'", ram, ("domains", name, "memory")
    for region_name, region in regions.items():
        address, key = region.address_in(name)
        if address is not None and not domain.is_direct and context.is_static_shared(region):
            where = AddressRange.of_size(address, region.size)
            yield f"region '{region_name}' in '{name}'", where, ("regions", region_name, *key)


def _more_than_the_board(context: Context, name: str, memory: int) -> bool:
    """Whether a guest has more memory than its board, which VT406 says."""
    return memory > sum(bank.size for bank in context.facts[context.board_of[name]].facts.ram)


@rule("VT352")
def guests_fit_their_layout(context: Context) -> Iterator[Diagnostic]:
    """A guest of Xen has no more RAM than the two banks of its layout (Xen public/arch-arm.h)."""
    for board in context.facts:
        for name, domain in context.domains_on(board):
            memory = domain.memory or 0
            guest = domain.role is Role.GUEST and isinstance(context.hypervisor_of(name), Xen)
            beyond = guest and not domain.is_direct and memory > _XEN_LAYOUT_BYTES
            if beyond and not _more_than_the_board(context, name, memory):
                layout = format_size(_XEN_LAYOUT_BYTES)
                message = (
                    f"'{name}' has {format_size(memory)} of memory, the layout of Xen's guests has room for {layout}"
                )
                yield context.find("VT352", message, ("domains", name, "memory"))
