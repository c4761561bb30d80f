"""Rules on devices: which combinations exist, which region they go through, how many a machine has room for."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.data_paths.facts import Shares, Transport
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.combinations import Combination, combination_of, combination_requested, combinations, is_daemon
from vtool.model.devices import Program
from vtool.model.places import kvm_mmio, kvm_pci, xen_mmio, xl_disks
from vtool.model.topology import RegionUse
from vtool.platform.layouts import QEMU_VIRT_MMIO, QEMU_VIRT_PCI_COUNT, XEN_VIRTIO_MMIO, XENPVH_MMIO_COUNT
from vtool.platform.xen_disks import XVD_NAMES

_NEEDS_ACCESS_PLATFORM = "behind PCI, QEMU asks the daemon for VIRTIO_F_ACCESS_PLATFORM, which it does not offer"


def why_not(asked: Combination) -> str:  # noqa: PLR0911 - a return a reason reads best
    """Return the reason why a combination does not exist, or nothing where there is none to tell."""
    path, program = asked.data_path.traits, asked.program
    if path.carries_data != (program is Program.VTOOL_RING) or asked.transport is Transport.SHARED_MEMORY:
        return "a ring, vtool-ring and the transport shared-memory belong together, for disks and networks"
    if asked.hypervisor == "xen":
        pool = "of Xen's backends, only QEMU's xenpvh can serve through a region of its own"
        return pool if path.pooled else ""
    if path.grants or asked.transport is Transport.XENBUS:
        return "that needs Xen's grants"
    if path.shares is Shares.POOL and program is Program.QEMU:
        return "a backend inside QEMU reaches all of the guest, so a pool of its own would promise too much"
    daemon = is_daemon(program)
    if daemon and (path.translated or (path.pooled and asked.transport is Transport.PCI)):
        return _NEEDS_ACCESS_PLATFORM
    if daemon and path.pooled:
        return "nobody has seen this daemon work through a pool"
    return ""


@rule(
    "VT310",
    what="hypervisor, type, data path, transport and program do not go together",
    why="A guest would boot and its device would not work, or be less protected than the data path says.",
    example="data_path: pv under kvm",
    fix="Use one of the combinations in the hint.",
)
def combination_exists(context: Context) -> Iterator[Diagnostic]:
    """Hypervisor, device type, data path, transport and program go together."""
    for name, device in context.sound_devices():
        hypervisor = context.hypervisor_of(device.frontend)
        assert hypervisor is not None
        kind = hypervisor.kind
        if combination_of(kind, device) is not None:
            continue
        asked = combination_requested(kind, device)
        possible = [str(c) for c in combinations() if (c.hypervisor, c.type) == (kind, device.type)]
        reason = why_not(asked)
        yield context.find(
            "VT310",
            f"device '{name}': a {device.type} device under {kind} cannot go {asked}"
            + (f" ({reason})" if reason else ""),
            ("devices", name, "data_path"),
            hints=(f"possible here: {'; '.join(possible) or 'nothing yet'}",),
            blames=[("devices", name, key) for key in ("data_path", "transport", "program")],
        )


@rule(
    "VT311",
    what="a device and its region do not fit",
    why="A pool belongs to the frontend, is lent to the backend, and has `use: restricted-dma-pool`.",
    example="a pool that the backend does not borrow",
    fix="Correct owner, borrowers or use of the region.",
)
def pool_region_fits(context: Context) -> Iterator[Diagnostic]:
    """A pool device names a region of its frontend, lent to its backend, made for that use."""
    said: dict[tuple[str, str], str] = {}
    for name, device in context.sound_devices():
        path = ("devices", name, "region")
        hypervisor = context.hypervisor_of(device.frontend)
        if hypervisor is None or device.data_path.traits.at_both_ends:
            continue  # VT346 is on regions between guests, VT351 on those of rings
        if combination_of(hypervisor.kind, device) is None and why_not(combination_requested(hypervisor.kind, device)):
            continue  # VT310 says that no region would help
        if not device.data_path.traits.pooled:
            if device.region is not None:
                message = f"device '{name}' names a region, but its data path '{device.data_path.value}' uses none"
                yield context.find("VT311", message, path)
            continue
        if device.region is None:
            message = f"device '{name}' has the data path '{device.data_path.value}' and needs a `region`"
            yield context.find("VT311", message, ("devices", name, "data_path"))
            continue
        region = context.topology.regions.get(device.region)
        if region is None:
            continue
        label = (Label(context.span("regions", device.region, key=True), f"'{device.region}' is here"),)
        first = said.setdefault((device.region, device.backend), name)
        if region.use is not RegionUse.RESTRICTED_DMA_POOL:
            message = f"region '{device.region}' is for {region.use.value}, a pool is restricted-dma-pool"
            yield context.find("VT311", message, path, labels=label)
        elif region.owner != device.frontend:
            message = (
                f"region '{device.region}' is owned by '{region.owner}', "
                f"not by the frontend '{device.frontend}' of device '{name}'"
            )
            hint = "the frontend's domain owns and pays for its pool"
            yield context.find("VT311", message, path, labels=label, hints=(hint,))
        elif first == name and device.backend not in region.borrowers:
            message = f"region '{device.region}' is not lent to '{device.backend}', the backend of '{name}'"
            hint = f"add `borrowers: [{', '.join((*region.borrowers, device.backend))}]` to the region"
            yield context.find("VT311", message, path, labels=label, hints=(hint,))


_FIRST_INTERFACE = "since vtool's own guest sets up the first interface alone"
NBD_DEVICES = 16
"""Linux drivers/block/nbd.c, nbds_max."""


@rule(
    "VT312",
    what="more devices than the machine has slots for",
    why=(
        "QEMU's virt machine has 32 virtio-mmio slots and 30 PCI devices; a Xen guest 26 disks, and vtool's own guest "
        "under Xen sets up one network interface."
    ),
    example="33 disks on one KVM guest",
    fix="Use fewer devices, or another domain.",
)
def devices_have_places(context: Context) -> Iterator[Diagnostic]:
    """No more devices than the machine has slots, drives or interfaces for."""
    for name in context.topology.domains:
        hypervisor = context.hypervisor_of(name)
        if hypervisor is None:
            continue
        every = context.lookup.devices_of[name]
        mine = {n: d for n, d in every.items() if d.frontend == name}
        mmio, pci, virtio = list(kvm_mmio(name, every)), list(kvm_pci(name, every)), xen_mmio(name, every)
        interfaces = [n for n, d in mine.items() if d.type == "net" and not d.data_path.traits.carries_data]
        attached = [n for n, d in mine.items() if d.type == "blk" and d.data_path.traits.carries_data]
        limits = (
            [
                (mmio, QEMU_VIRT_MMIO.count, "one a virtio-mmio slot of QEMU's virt machine"),
                (pci, QEMU_VIRT_PCI_COUNT, "one a device number on the root bus of QEMU's virt machine"),
            ]
            if hypervisor.kind == "kvm"
            else [
                (xl_disks(name, every), len(XVD_NAMES), "xvda to xvdz"),
                (virtio, XEN_VIRTIO_MMIO.count, "one a virtio-mmio interrupt of Xen's guests"),
                (
                    [n for n in virtio if mine[n].program is Program.QEMU_XENPVH],
                    XENPVH_MMIO_COUNT,
                    "one a virtio-mmio bus of QEMU's xenpvh machine",
                ),
                *([(interfaces, 1, _FIRST_INTERFACE)] if context.topology.domains[name].is_ours else ()),
            ]
        )
        for devices, limit, why in (*limits, (attached, NBD_DEVICES, "nbd0 to nbd15 of its kernel")):
            for extra in devices[limit:]:
                kind = context.topology.devices[extra].type
                what = f"{limit} {kind} device{'s' if limit > 1 else ''}"
                message = f"device '{extra}' is too many: domain '{name}' can have {what}, {why}"
                yield context.find("VT312", message, ("devices", extra), key=True)


COMBINATIONS_EXIST = (combination_exists,)
