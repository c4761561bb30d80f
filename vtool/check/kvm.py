"""Rules on KVM domains: what devices of one domain do to each other, and what its machine has room for."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import MIB, align_up, format_size
from vtool.check.context import Context
from vtool.data_paths.facts import Shares, Transport
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.combinations import combination_of, is_daemon
from vtool.model.devices import Device, is_ring
from vtool.model.topology import Kvm, RegionUse, Role
from vtool.platform.layouts import (
    QEMU_RAMDISK_OFFSET,
    QEMU_RAMDISK_ROOM,
    QEMU_VIRT_MOST_CPUS,
    qemu_kernel_end,
    qemu_tree_end,
)


def kvm_devices(context: Context, domain: str | None = None) -> Iterator[tuple[str, Device, Kvm]]:
    """Yield the devices under KVM whose combination exists; those of one domain if it is given."""
    for name, device in context.sound_devices(domain):
        hypervisor = context.hypervisor_of(device.frontend)
        if isinstance(hypervisor, Kvm) and combination_of("kvm", device) is not None:
            yield name, device, hypervisor


def _who_has(device: Device) -> tuple[str, ...]:
    """Return the domains whose VMM has the device: both ends of a region between them, else the frontend."""
    both = device.data_path.traits.at_both_ends
    return (device.frontend, device.backend) if both else (device.frontend,)


@rule(
    "VT341",
    what="data paths of one domain do not go together",
    why="QEMU hands all shared memory of a guest to each of its daemons, so one that needs all undoes another's pool.",
    example="data_path: shared-ram for a folder beside data_path: pool for a disk",
    fix="Use the pool for both, or give one of them to another domain.",
)
def data_paths_go_together(context: Context) -> Iterator[Diagnostic]:
    """Beside a daemon behind a pool, nothing shares more of the domain's memory."""
    for domain in context.topology.domains:
        mine = {n: d for n, d, _ in kvm_devices(context, domain) if domain in _who_has(d)}
        behind = next((n for n, d in mine.items() if d.data_path.traits.shares is Shares.POOL), None)
        if behind is None:
            continue
        for name, device in mine.items():
            shares = device.data_path.traits.shares
            if (shares is Shares.RAM and is_daemon(device.program)) or shares in (Shares.RAM_WITH_POOL, Shares.REGION):
                message = (
                    f"device '{name}' of '{domain}' shares other memory of it ({device.data_path.value}), "
                    f"device '{behind}' has a pool that alone is shared"
                )
                label = Label(context.span("devices", behind, "data_path"), "the pool's device is here")
                hint = "QEMU hands all shared memory of a guest to every daemon: use pools for all, or two domains"
                yield context.find("VT341", message, ("devices", name, "data_path"), labels=(label,), hints=(hint,))


@rule(
    "VT342",
    what="a domain has no IOMMU, or two",
    why="What goes through an IOMMU needs one; a guest's PCI bus has one.",
    example="data_path: viommu without a device of type iommu",
    fix="Add a device with type: iommu, or remove the second.",
)
@rule(
    "VT343",
    what="a pool behind an IOMMU",
    why="Linux looks for a pool only when a device has no IOMMU, so the pool would silently stay unused.",
    example="transport: pci and data_path: pool-in-ram in a domain with an IOMMU",
    fix="Use virtio-mmio, which no IOMMU stands before, or data_path: viommu.",
)
def iommus_fit(context: Context) -> Iterator[Diagnostic]:
    """A domain has one IOMMU, which whoever goes through it needs, and no pool behind it."""
    for domain in context.topology.domains:
        mine = {n: d for n, d, _ in kvm_devices(context, domain) if d.frontend == domain}
        iommus = [n for n, d in mine.items() if d.type == "iommu"]
        for extra in iommus[1:]:
            message = f"domain '{domain}' has a second IOMMU '{extra}', beside '{iommus[0]}'"
            label = Label(context.span("devices", iommus[0], key=True), "the first is here")
            yield context.find("VT342", message, ("devices", extra), key=True, labels=(label,))
        for name, device in mine.items():
            path = ("devices", name, "data_path")
            if device.data_path.traits.translated and not iommus:
                message = f"device '{name}' goes through an IOMMU, but domain '{domain}' has none"
                hint = f"add a device with `type: iommu` and `frontend: {domain}`"
                yield context.find("VT342", message, path, hints=(hint,))
            if device.data_path.traits.pooled and device.transport is Transport.PCI and iommus:
                message = f"device '{name}' has a pool and stands behind the IOMMU '{iommus[0]}'"
                label = Label(context.span("devices", iommus[0], key=True), "the IOMMU is here")
                hint = "Linux never uses a pool for a device behind an IOMMU: use virtio-mmio, or the data path viommu"
                yield context.find("VT343", message, path, labels=(label,), hints=(hint,))


@rule(
    "VT346",
    what="a region between two guests cannot be shared like this",
    why="It is the BAR of a PCI device in both: a power of two of bytes, owned by one, lent to the other.",
    example="size: 3MiB for an ivshmem device",
    fix="Make it shared-memory of one end, lent to the other, 1MiB times a power of two, without an address.",
)
def regions_between_guests_fit(context: Context) -> Iterator[Diagnostic]:
    """A region behind BARs is a power of two, one guest's own and lent to the other, and theirs alone."""
    users: dict[str, str] = {}
    for name, device, _ in kvm_devices(context):
        if device.type != "ivshmem":
            yield from _size_of_a_bar(context, device.region) if is_ring(device) else ()
            continue
        for end in ("frontend", "backend"):
            if context.topology.domains[getattr(device, end)].role is not Role.GUEST:
                message = f"the {end} of '{name}' is not a guest: an ivshmem region is between two guests"
                yield context.find("VT346", message, ("devices", name, end))
        if device.region is None:
            yield context.find("VT346", f"device '{name}' needs a `region`", ("devices", name), key=True)
            continue
        region = context.topology.regions.get(device.region)
        if region is None:
            continue  # VT301
        path = ("devices", name, "region")
        label = (Label(context.span("regions", device.region, key=True), f"'{device.region}' is here"),)
        ends = {device.frontend, device.backend}
        if region.use is not RegionUse.SHARED_MEMORY or {region.owner, *region.borrowers} != ends:
            message = (
                f"region '{device.region}' is not shared-memory that '{device.frontend}' or '{device.backend}' "
                "owns and the other borrows"
            )
            yield context.find("VT346", message, path, labels=label)
        yield from _size_of_a_bar(context, device.region)
        if users.setdefault(device.region, name) != name:
            message = f"region '{device.region}' is already behind device '{users[device.region]}'"
            yield context.find("VT346", message, path)


def _size_of_a_bar(context: Context, name: str | None) -> Iterator[Diagnostic]:
    region = context.topology.regions.get(name or "")
    if name is None or region is None:
        return  # VT301, VT346, VT351
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
