"""Rules on PCI devices of the board that guests get."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.places import kvm_pci
from vtool.model.topology import Kvm, Role
from vtool.platform.layouts import QEMU_VIRT_PCI_COUNT
from vtool.reading.source import KeyPath


@rule(
    "VT498",
    what="a PCI device that cannot be given to a domain",
    why="QEMU gives PCI devices to guests of KVM by VFIO, each to one; of Xen's guests on Arm none has one.",
    example="pci: [0000:01:00.0] for two guests, or under Xen",
    fix="Give each to one guest of KVM.",
)
def pci_devices_can_be_given(context: Context) -> Iterator[Diagnostic]:
    """A PCI device goes to one guest of KVM, which has a place for it."""
    for board in context.topology.boards:
        given: dict[str, KeyPath] = {}
        for name, domain in context.domains_on(board):
            why = _why_not(context, name) if domain.pci else None
            if why is not None:
                yield context.find("VT498", why, ("domains", name, "pci"), key=True)
                continue
            room = QEMU_VIRT_PCI_COUNT - len(kvm_pci(name, context.lookup.devices_of[name]))
            for index, address in enumerate(domain.pci):
                path: KeyPath = ("domains", name, "pci", index)
                if address in given:
                    label = Label(context.span(*given[address]), "here first")
                    message = f"PCI device {address} is given away already"
                    yield context.find("VT498", message, path, labels=(label,))
                elif index >= room:
                    message = f"'{name}' has no place left for {address}: {QEMU_VIRT_PCI_COUNT} on its root bus"
                    yield context.find("VT498", message, path)
                given.setdefault(address, path)


def _why_not(context: Context, name: str) -> str | None:
    hypervisor = context.hypervisor_of(name)
    if context.topology.domains[name].role is not Role.GUEST:
        return f"'{name}' is the control domain, which has the board's PCI devices"
    if not isinstance(hypervisor, Kvm):
        return "Xen on Arm gives no guest a PCI device: its SUPPORT.md (4.20) has that for x86 alone"
    return None
