"""Rules on places of devices that the user gives: an address, an interrupt, a number on a guest's bus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vtool.check.context import Context
from vtool.data_paths.facts import Transport
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.devices import Device
from vtool.model.places import given_slots, has_device, in_disk_list, kvm_pci
from vtool.model.topology import Kvm, Start
from vtool.platform.layouts import (
    QEMU_VIRT_MMIO,
    QEMU_VIRT_PCI_COUNT,
    QEMU_VIRT_PCI_FIRST,
    XEN_VIRTIO_MMIO,
    MmioSlots,
)

_NUMBERS = range(QEMU_VIRT_PCI_FIRST, QEMU_VIRT_PCI_FIRST + QEMU_VIRT_PCI_COUNT)


@rule(
    "VT444",
    what="a device cannot be where its `address` or `interrupt` says",
    why="A machine has slots for virtio-mmio at addresses and interrupts of its own, and numbers on its PCI bus.",
    example="address: 0x0a00_0100, between two slots of QEMU's virt machine",
    fix="Write the address or the interrupt of a slot, or leave both out.",
)
def places_are_the_machines(context: Context) -> Iterator[Diagnostic]:
    """A place that is given is one of the machine's, and of the bus that the device is on."""
    for name, device in context.sound_devices():
        hypervisor = context.hypervisor_of(device.frontend)
        if hypervisor is None or (device.address is None and device.interrupt is None):
            continue
        key = "address" if device.address is not None else "interrupt"
        path = ("devices", name, key)
        if device.transport is Transport.MMIO:
            slots = QEMU_VIRT_MMIO if isinstance(hypervisor, Kvm) else XEN_VIRTIO_MMIO
            yield from _of_a_slot(context, name, device, slots)
        elif device.transport is Transport.XENBUS or device.translates:
            message = f"device '{name}' has no place that could be given: "
            message += "its guest finds it in xenstore" if not device.translates else "it is a part of the machine"
            yield context.find("VT444", message, path, key=True)
        elif device.interrupt is not None:
            message = f"device '{name}' is on PCI, and shares its interrupts with others"
            yield context.find("VT444", message, ("devices", name, "interrupt"), key=True)
        elif device.address not in _NUMBERS:
            message = f"{device.address:#x} is no device number that is free on the root bus of QEMU's virt machine"
            free = _free(_NUMBERS, kvm_pci(device.frontend, context.lookup.devices_of[device.frontend]))
            hint = f"those for devices are {_NUMBERS[0]:#x} to {_NUMBERS[-1]:#x}"
            yield context.find("VT444", message, path, hints=(hint + (f"; {free:#x} is free" if free else ""),))


def _of_a_slot(context: Context, name: str, device: Device, slots: MmioSlots) -> Iterator[Diagnostic]:
    at, number = slots.slot_at(device.address, None), slots.slot_at(None, device.interrupt)
    first, last = slots.address(0), slots.address(slots.count - 1)
    if at is None:
        message = f"no virtio-mmio slot of '{device.frontend}' is at {device.address:#x}"
        hint = f"there are {slots.count}, {slots.stride_bytes:#x} apart from {first:#x} to {last:#x}"
        yield context.find("VT444", message, ("devices", name, "address"), hints=(hint,))
    if number is None:
        message = f"no virtio-mmio slot of '{device.frontend}' has the interrupt {device.interrupt}"
        hint = f"there are {slots.interrupt(0)} to {slots.interrupt(slots.count - 1)}, as the GIC counts (SPIs from 32)"
        yield context.find("VT444", message, ("devices", name, "interrupt"), hints=(hint,))
    if at is not None and number is not None and slots.slot_at(device.address, device.interrupt) is None:
        message = f"the slot at {slots.address(at):#x} has the interrupt {slots.interrupt(at)}, not {device.interrupt}"
        hint = f"that of {device.interrupt} is at {slots.address(number):#x}; one of the two is enough"
        yield context.find("VT444", message, ("devices", name, "interrupt"), hints=(hint,))


@rule(
    "VT445",
    what="a place that is given to a device is taken, or cannot be had beside the others",
    why="A slot has one device; and xl gives slots to virtio disks first, then to others, one after the other.",
    example="two devices at 0x0a00_0000",
    fix="Give another place, or leave it out.",
)
def places_can_be_had(context: Context) -> Iterator[Diagnostic]:
    """No two devices are at one place, and of a Xen guest places follow each other."""
    for domain in context.topology.domains:
        hypervisor = context.hypervisor_of(domain)
        if hypervisor is None:
            continue
        mine = {n: d for n, d in context.sound_devices(domain) if has_device(domain, d)}
        mmio = {n: d for n, d in mine.items() if d.transport is Transport.MMIO and d.frontend == domain}
        if isinstance(hypervisor, Kvm):
            yield from _alone(context, mmio, given_slots(mmio, QEMU_VIRT_MMIO), "slot of virtio-mmio")
            numbers = {n: d.address for n, d in mine.items() if n not in mmio and d.address in _NUMBERS}
            yield from _alone(context, mine, {n: at for n, at in numbers.items() if at is not None}, "number on PCI")
            continue
        given = given_slots(mmio, XEN_VIRTIO_MMIO)
        yield from _alone(context, mmio, given, "slot of virtio-mmio")
        by_xl = context.topology.domains[domain].start is Start.XL
        disks = sum(in_disk_list(device) for device in mmio.values()) if by_xl else 0
        for name, slot in given.items():
            reach = range(disks) if by_xl and in_disk_list(mmio[name]) else range(disks, len(mmio))
            if slot not in reach:
                who = "xl gives slots to virtio disks first, and" if by_xl else "the QEMU of the guest gives slots"
                message = f"device '{name}' cannot have slot {slot}: {who} one after the other"
                hint = ", ".join(f"{XEN_VIRTIO_MMIO.address(at):#x}" for at in reach)
                path = ("devices", name, _key(mmio[name]))
                yield context.find("VT445", message, path, hints=(f"it can be at {hint}",))


def _alone(
    context: Context, devices: Mapping[str, Device], given: Mapping[str, int], what: str
) -> Iterator[Diagnostic]:
    first: dict[int, str] = {}
    for name, number in given.items():
        other = first.setdefault(number, name)
        if other != name:
            label = Label(context.span("devices", other, _key(devices[other])), "first here")
            message = f"device '{name}' has the {what} of '{other}'"
            yield context.find("VT445", message, ("devices", name, _key(devices[name])), labels=(label,))


def _key(device: Device) -> str:
    return "address" if device.address is not None else "interrupt"


def _free(numbers: range, taken: Mapping[str, int]) -> int | None:
    return next((number for number in numbers if number not in taken.values()), None)
