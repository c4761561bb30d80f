"""Rules on KVM domains: what devices of one domain do to each other, and what its machine has room for."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import MIB, align_up, format_size
from vtool.check.context import Context
from vtool.diagnostics import Diagnostic
from vtool.diagnostics.codes import rule
from vtool.model.combinations import combination_of
from vtool.model.devices import Device
from vtool.model.topology import Firmware, Kvm, Role
from vtool.platform.layouts import (
    QEMU_RAMDISK_OFFSET,
    QEMU_RAMDISK_ROOM,
    QEMU_VIRT_MOST_CPUS,
    qemu_kernel_end,
    qemu_tree_end,
)
from vtool.reading.source import KeyPath


def kvm_devices(context: Context, domain: str | None = None) -> Iterator[tuple[str, Device, Kvm]]:
    """Yield the devices under KVM whose combination exists; those of one domain if it is given."""
    for name, device in context.sound_devices(domain):
        hypervisor = context.hypervisor_of(device.frontend)
        if isinstance(hypervisor, Kvm) and combination_of("kvm", device) is not None:
            yield name, device, hypervisor


@rule(
    "VT446",
    what="firmware that a domain cannot have, or a key that it leaves no room for",
    why="Debian has it for QEMU alone, and it boots what its guest's disks have: no words or ramdisk reach that.",
    example="firmware: uefi for a guest of Xen",
    fix="Follow the message.",
)
def firmware_can_be_had(context: Context) -> Iterator[Diagnostic]:
    """Firmware is for guests of KVM, and boots from a disk or the kernel that the topology gives."""
    for name, domain in context.topology.domains.items():
        hypervisor = context.hypervisor_of(name)
        if domain.firmware is None or hypervisor is None:
            continue
        path: KeyPath = ("domains", name, "firmware")
        if domain.role is Role.CONTROL:
            yield context.find("VT446", f"the firmware of '{name}' is its board's", path, key=True)
        elif not isinstance(hypervisor, Kvm):
            message = f"no Debian package has firmware for '{name}', a guest of Xen"
            hint = "EDK2's ArmVirtXen (XEN_EFI.fd) begins like an arm64 kernel: name one of your own with `kernel`"
            yield context.find("VT446", message, path, key=True, hints=(hint,))
        elif pools := [f"'{region}'" for region, _ in context.lookup.pools_of(name)]:
            message = f"'{name}' has the pool {pools[0]}: whether firmware keeps out of it has not been seen"
            yield context.find("VT446", message, path, key=True)
        elif domain.firmware is Firmware.U_BOOT and not domain.boots_itself:
            message = f"U-Boot starts what it finds on a disk of '{name}', and no `kernel` from outside"
            yield context.find("VT446", message, ("domains", name, "kernel"), key=True, hints=("`uefi` does",))
        elif domain.boots_itself:
            for key in ("ramdisk", "bootargs"):
                if getattr(domain, key):
                    message = f"`{key}` of '{name}' has no effect: its firmware boots what it finds on a disk"
                    hint = "with a `kernel` the firmware starts that, with its ramdisk and words"
                    hints = (hint,) if domain.firmware is Firmware.UEFI else ()
                    yield context.find("VT446", message, ("domains", name, key), key=True, hints=hints)
            mine = context.lookup.devices_of[name].values()
            if not any(device.frontend == name and device.root_kind() for device in mine):
                message = f"the firmware of '{name}' finds nothing to boot: it has no disk and no network"
                yield context.find("VT446", message, path, key=True)


@rule("VT346")
def regions_are_bars(context: Context) -> Iterator[Diagnostic]:
    """A region that guests see behind a BAR has the size of one, and no address."""
    for name in dict.fromkeys(d.region for _, d, _ in kvm_devices(context) if d.data_path.traits.at_both_ends):
        region = context.topology.regions.get(name or "")
        if name is None or region is None:
            continue  # VT301, VT346, VT351
        if region.size & (region.size - 1) or region.size < MIB:
            message = f"region '{name}' of {format_size(region.size)} cannot be a PCI BAR"
            larger = format_size(max(1 << (region.size - 1).bit_length(), MIB))
            hint = f"the next size that can be is {larger}: a power of two, at least 1MiB"
            yield context.find("VT346", message, ("regions", name, "size"), hints=(hint,))
        if region.address is not None:
            message = f"region '{name}' has an address, but a guest's kernel places PCI BARs"
            yield context.find("VT346", message, ("regions", name, "address"), key=True)


@rule("VT348")
def machines_are_possible(context: Context) -> Iterator[Diagnostic]:
    """A guest has no more CPUs than its interrupt controller serves."""
    for name, board in context.topology.boards.items():
        if not isinstance(board.hypervisor, Kvm) or name not in context.facts:
            continue
        version = context.facts[name].facts.gic.version
        for domain_name, domain in context.domains_on(name):
            if domain.role is Role.GUEST and domain.cpus > QEMU_VIRT_MOST_CPUS[version]:
                most = QEMU_VIRT_MOST_CPUS[version]
                message = f"domain '{domain_name}' has {domain.cpus} CPUs, a GICv{version} serves {most}"
                yield context.find("VT348", message, ("domains", domain_name, "cpus"))


@rule(
    "VT350",
    what="a guest's ramdisk would lie in a pool",
    why="QEMU counts pools as memory, and puts ramdisk and device tree at half of it, or at 128MiB when there is more.",
    example="memory: 64MiB and a pool of 128MiB",
    fix="Give the guest more memory, or smaller pools.",
)
def ramdisk_keeps_out_of_pools(context: Context) -> Iterator[Diagnostic]:
    """Where QEMU puts a guest's ramdisk and device tree is its own RAM, not a pool behind it."""
    for name, domain in context.topology.domains.items():
        if domain.memory is None or not isinstance(context.hypervisor_of(name), Kvm):
            continue
        pools = sum(region.size for _, region in context.lookup.pools_of(name))
        offset = min((domain.memory + pools) // 2, QEMU_RAMDISK_OFFSET)
        if domain.memory % MIB:
            continue  # VT403
        if pools and domain.memory < _end_of_loads(context, name, domain.memory + pools):
            message = (
                f"domain '{name}' has {format_size(domain.memory)} of RAM before {format_size(pools)} of pools; QEMU "
                f"puts its ramdisk and device tree at {format_size(offset)}, which would reach into them"
            )
            least = align_up(domain.memory, MIB)
            while least < _end_of_loads(context, name, least + pools):
                least += MIB
            hint = f"give it at least {format_size(least)}, or smaller pools"
            yield context.find("VT350", message, ("domains", name, "memory"), hints=(hint,))


def _end_of_loads(context: Context, name: str, memory_bytes: int) -> int:
    """Return how far QEMU's loads reach into a guest's memory; with room to spare where a size is not known."""
    kernel, ramdisk = context.kernel_file(name), context.ramdisk_file(name)
    if kernel is None or kernel.image_size is None or ramdisk is None or ramdisk.size_bytes is None:
        return min(memory_bytes // 2, QEMU_RAMDISK_OFFSET) + QEMU_RAMDISK_ROOM
    return qemu_tree_end(memory_bytes, qemu_kernel_end(kernel.text_offset, kernel.image_size), ramdisk.size_bytes)
