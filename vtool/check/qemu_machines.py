"""Rules on releases of QEMU and their machines: which there were, and which of them each still has."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import dotted
from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Severity
from vtool.diagnostics.codes import rule
from vtool.model.topology import Kvm
from vtool.platform.qemu_releases import Machine, Version, last_minor, machines_of, was_released


@rule(
    "VT348",
    what="a machine that QEMU or the GIC does not allow",
    why="A GICv2 serves 8 CPUs, under Xen as in QEMU, and a QEMU knows machines up to its own version.",
    example="machine: virt-10.0 with qemu_version: 7.2",
    fix="Follow the message.",
)
def releases_exist(context: Context) -> Iterator[Diagnostic]:
    """A version of QEMU that is named was released."""
    for name, board in context.topology.boards.items():
        said, version = board.hypervisor.qemu_version, board.hypervisor.qemu
        if said is not None and version is not None and not was_released(version):
            message = f"there is no QEMU {said}: the last of its major release is {version[0]}.{last_minor(version[0])}"
            yield context.find("VT348", message, ("boards", name, "hypervisor", "qemu_version"))


@rule("VT348")
@rule(
    "VT427",
    what="a machine of QEMU's is deprecated (warning)",
    why="QEMU drops a machine of a version six major releases after it, and says so from the third on.",
    example="machine: virt-7.0 with QEMU 10.0",
    fix="Pin a newer machine.",
)
def machines_are_there(context: Context) -> Iterator[Diagnostic]:
    """The board's QEMU has the machine, and is not about to drop it."""
    for name, board in context.topology.boards.items():
        hypervisor = board.hypervisor
        if not isinstance(hypervisor, Kvm) or not was_released(hypervisor.qemu) or "-" not in hypervisor.machine:
            continue
        name_of_it, qemu = hypervisor.machine, hypervisor.qemu
        path = ("boards", name, "hypervisor", "machine")
        machine, why = Machine(_version(name_of_it)), None
        if not machine.existed:
            why = f"QEMU never had a machine '{name_of_it}'"
        elif machine.version > qemu:
            why = f"machine '{name_of_it}' is newer than board '{name}''s QEMU {dotted(qemu)}"
        elif qemu >= machine.removed:
            why = f"machine '{name_of_it}' is not in board '{name}''s QEMU {dotted(qemu)} any more"
        elif qemu >= machine.deprecated:
            gone = dotted(machine.removed)
            message = f"machine '{name_of_it}' is deprecated in QEMU {dotted(qemu)}, and gone with {gone}"
            yield context.find("VT427", message, path, severity=Severity.WARNING)
        if why is not None:
            hint = f"did you mean 'virt-{dotted(_closest(machine.version, qemu))}'?"
            yield context.find("VT348", why, path, hints=(hint,))


def _closest(wanted: Version, qemu: Version) -> Version:
    """Return the version nearest below one, or else above it, of the machines that a QEMU has."""
    has = machines_of(qemu)
    return next((each for each in reversed(has) if each <= wanted), has[0])


def _version(machine: str) -> Version:
    major, minor = machine.partition("-")[2].split(".")
    return int(major), int(minor)
