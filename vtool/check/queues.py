"""Rules on the queues of devices: how many a backend serves, of what size, and what their number asks of a guest."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import dotted
from vtool.check.context import Context
from vtool.data_paths.facts import Transport
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.diagnostics.codes import rule
from vtool.model.combinations import combination_of
from vtool.model.devices import Device
from vtool.model.devices.queues import QueueLimits, nearest_size
from vtool.model.topology import Kvm

GICV2M_VECTORS = 64
"""QEMU hw/arm/virt.c, NUM_GICV2M_SPIS."""


def _limits(context: Context) -> Iterator[tuple[str, Device, QueueLimits]]:
    """Yield the devices of which a number or a size of queues is asked, and whose combination exists."""
    for name, device in context.sound_devices():
        hypervisor = context.hypervisor_of(device.frontend)
        row = combination_of(hypervisor.kind, device) if hypervisor else None
        if row is not None and row.service is not None and (device.queues or device.queue_size):
            yield name, device, row.service.queues


@rule(
    "VT363",
    what="a device cannot have so many queues, or queues of that size",
    why="Its backend would not start, or serve fewer than the topology says.",
    example="queues: 4 with passt, queue_size: 100",
    fix="Use what the message says; a size is a power of two (virtio 1.2 2.7).",
)
def backends_serve_the_queues(context: Context) -> Iterator[Diagnostic]:
    """Queues are as many, and as large, as what serves them takes."""
    for name, device, limits in _limits(context):
        hypervisor = context.hypervisor_of(device.frontend)
        qemu = hypervisor.qemu if hypervisor else None
        program, hints = device.program.value, (limits.instead,) if limits.instead else ()
        for key, asked in (("queues", device.queues), ("queue_size", device.queue_size)):
            known = limits.most if key == "queues" else limits.entries
            if asked is not None and not known:
                what = "number" if key == "queues" else "size"
                message = f"device '{name}': nobody can choose the {what} of its queues, by {program}"
                yield context.find("VT363", message, ("devices", name, key), hints=hints)
        if limits.most and device.queues is not None and device.queues > limits.most:
            what = "pair of queues" if device.type == "net" else "request queue"
            what += "s" if limits.most > 1 else ""
            message = f"device '{name}' has {device.queues}, and {program} serves at most {limits.most} {what}"
            yield context.find("VT363", message, ("devices", name, "queues"), hints=(f"write {limits.most}",))
        size, entries = device.queue_size, limits.entries_by(qemu, device.transport)
        if entries is not None and size is not None and not _fits(size, entries):
            least, most = entries
            served = f"{program} serves powers of two from {least} to {most}"
            if least == most:
                served = f"over {device.transport.value} QEMU{f' {dotted(qemu)}' if qemu else ''} offers {most} always"
            message = f"device '{name}' has queues of {size}, and {served}"
            hint = f"write {nearest_size(size, entries)}"
            yield context.find("VT363", message, ("devices", name, "queue_size"), hints=(hint,))


def _fits(size: int, entries: tuple[int, int]) -> bool:
    return size & (size - 1) == 0 and entries[0] <= size <= entries[1]


@rule(
    "VT364",
    what="a device has more queues than its frontend has CPUs",
    why="Linux uses as many queues as it has CPUs; the others cost memory and do nothing.",
    example="queues: 4 in a guest of 2 CPUs",
    fix="Give the guest more CPUs, or its device fewer queues.",
)
def queues_have_cpus(context: Context) -> Iterator[Diagnostic]:
    """No device has more queues than its frontend has CPUs (drivers/block/virtio_blk.c, drivers/net/virtio_net.c)."""
    for name, device, limits in _limits(context):
        cpus = context.topology.domains[device.frontend].cpus
        if device.queues is not None and cpus < device.queues <= limits.most:
            message = f"device '{name}' has {device.queues} queues, and '{device.frontend}' uses {cpus}: one a CPU"
            label = (Label(context.span("domains", device.frontend, key=True), f"'{device.frontend}' is here"),)
            path = ("devices", name, "queues")
            yield context.find("VT364", message, path, labels=label, severity=Severity.WARNING)


@rule(
    "VT365",
    what="a guest's devices have more interrupts than its interrupt controller",
    why="Linux then lets the queues of a device share one, which a measurement of several queues would not show.",
    example="queues: 16 on four PCI devices of a board with a GICv2",
    fix="Use virtio-mmio, where a device has one interrupt, or fewer queues.",
)
def queues_have_interrupts(context: Context) -> Iterator[Diagnostic]:
    """The PCI devices of a guest with a GICv2 have a vector for each of their queues."""
    for domain, settings in context.topology.domains.items():
        hypervisor = context.hypervisor_of(domain)
        board = context.board_of.get(domain)
        if board is None or not isinstance(hypervisor, Kvm) or board not in context.facts:
            continue
        if context.facts[board].facts.gic.version != 2:
            continue  # an ITS has enough
        total = 0
        for name, device in context.sound_devices(domain):
            if device.frontend != domain or device.transport is not Transport.PCI:
                continue
            total += _vectors(device, settings.cpus)
            if total > GICV2M_VECTORS and device.queues is not None:
                message = f"device '{name}' makes it {total} interrupt vectors of '{domain}', a GICv2 has "
                message += f"{GICV2M_VECTORS} for PCI"
                yield context.find("VT365", message, ("devices", name, "queues"), severity=Severity.WARNING)


def _vectors(device: Device, cpus: int) -> int:
    """Return the vectors that Linux asks for: one for changes of configuration, and one for each queue.

    A network has them for both queues of all its pairs, others for the queues that they use.
    """
    queues = device.queues or 1
    return 1 + (2 * queues if device.type == "net" else min(queues, cpus))
