"""What can be rendered but not be deployed yet: asked by the verbs that touch a board, and by nobody else."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, in_order
from vtool.diagnostics.codes import declare
from vtool.model.combinations import combination_of
from vtool.model.topology import DRIVER_DOMAIN_RAMDISK, Firmware, Kvm, Topology, Vmm
from vtool.reading.source import Document, KeyPath

declare(
    "VT714",
    what="a part of the topology is rendered but cannot be deployed yet",
    why="vtool deploys only what it also proves on the board.",
    example="a board with vmm: libvirt",
    fix="Use vtool render, or leave the part out.",
)


def not_deployable(document: Document, topology: Topology) -> list[Diagnostic]:
    """Return a finding (VT714) for every part that vtool does not prove on a board yet."""
    context = Context(document, topology, {}, {}, {}, {})
    hint = "`vtool render` writes its files; leave it out to deploy the rest"
    return in_order(
        context.find("VT714", f"{what} cannot be deployed yet", path, key=True, hints=(hint,))
        for what, path in _parts(context)
    )


def _domains(context: Context) -> Iterator[tuple[str, KeyPath]]:
    for name, domain in context.topology.domains.items():
        if domain.firmware is Firmware.U_BOOT:
            yield f"domain '{name}', which U-Boot boots,", ("domains", name)


def _parts(context: Context) -> Iterator[tuple[str, KeyPath]]:
    yield from _domains(context)
    for name, board in context.topology.boards.items():
        if isinstance(board.hypervisor, Kvm) and board.hypervisor.vmm is Vmm.LIBVIRT:
            yield f"board '{name}', whose domains libvirt runs,", ("boards", name)
    for name, device in context.sound_devices():
        if not device.data_path.traits.at_both_ends and context.by_a_guest(device):
            if context.topology.domains[device.backend].ramdisk != DRIVER_DOMAIN_RAMDISK:
                why = f"which the guest '{device.backend}' serves without the ramdisk {DRIVER_DOMAIN_RAMDISK},"
                yield f"device '{name}', {why}", ("devices", name)
                continue
            if device.type == "net" and (device.network.has_no_fixed_address or not device.network.backend_address):
                words = "fixed addresses" if device.network.has_no_fixed_address else "a `backend_address`"
                yield f"device '{name}' without {words}, through which it is proven,", ("devices", name)
                continue
        hypervisor = context.hypervisor_of(device.frontend)
        row = combination_of(hypervisor.kind, device) if hypervisor else None
        if row is not None and not row.deployed:
            yield f"device '{name}' ({device.type} with {row})", ("devices", name)
        elif device.type == "net" and not device.network.frontend_address:
            yield f"device '{name}' without a `frontend_address`, through which it is proven,", ("devices", name)
