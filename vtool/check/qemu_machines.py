"""Rules on releases of QEMU and their machines: which there were, and which of them each still has."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Severity
from vtool.diagnostics.codes import rule
from vtool.model.combinations import Version
from vtool.model.topology import Kvm

_LAST_MINOR = {2: 12, 3: 1}
"""Of a major release; from 4 on there is one a year, with the minors 0, 1 and 2 (QEMU's release schedule)."""
_FIRST: Version = (2, 6)
"""The first that arm has machines of (QEMU hw/arm/virt.c)."""
_DEPRECATED_AFTER, _REMOVED_AFTER = 3, 6
"""Major releases, or years (QEMU include/hw/boards.h MACHINE_VER_DEPRECATION_MAJOR, MACHINE_VER_DELETION_MAJOR)."""
_DEPRECATES_SINCE: Version = (9, 1)
_REMOVES_SINCE: Version = (10, 1)


def was_released(version: Version) -> bool:
    """Whether there was, or by the schedule will be, a QEMU of that version."""
    return version >= (2, 0) and version[1] <= _LAST_MINOR.get(version[0], 2)


def _removed_by(machine: Version) -> Version:
    return max((machine[0] + _REMOVED_AFTER, machine[1]), _REMOVES_SINCE)


@rule(
    "VT348",
    what="a machine that is not possible",
    why="A GICv2 serves 8 CPUs, under Xen as in QEMU, and a QEMU knows machines up to its own version.",
    example="machine: virt-10.0 with qemu_version: 7.2",
    fix="Follow the message.",
)
def releases_exist(context: Context) -> Iterator[Diagnostic]:
    """A version of QEMU that is named was released."""
    for name, board in context.topology.boards.items():
        said, version = board.hypervisor.qemu_version, board.hypervisor.qemu
        if said is not None and version is not None and not was_released(version):
            message = f"there is no QEMU {said}: the last of its major release is {version[0]}.{_last(version[0])}"
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
        machine, qemu = hypervisor.machine, hypervisor.qemu
        version, path, shown = _version(machine), ("boards", name, "hypervisor", "machine"), _shown(qemu)
        why = None
        if version < _FIRST or not was_released(version):
            why = f"QEMU never had a machine '{machine}'"
        elif version > qemu:
            why = f"machine '{machine}' is newer than board '{name}''s QEMU {shown}"
        elif qemu >= _removed_by(version):
            why = f"machine '{machine}' is not in board '{name}''s QEMU {shown} any more"
        elif qemu >= max((version[0] + _DEPRECATED_AFTER, version[1]), _DEPRECATES_SINCE):
            message = f"machine '{machine}' is deprecated in QEMU {shown}, and gone with {_shown(_removed_by(version))}"
            yield context.find("VT427", message, path, severity=Severity.WARNING)
        if why is not None:
            hint = f"did you mean 'virt-{_shown(_closest(version, qemu))}'?"
            yield context.find("VT348", why, path, hints=(hint,))


def _closest(wanted: Version, qemu: Version) -> Version:
    """Return the version nearest below one, or else above it, of the machines that a QEMU has."""
    all_of_them = [(major, minor) for major in range(2, qemu[0] + 1) for minor in range(_last(major) + 1)]
    has = [each for each in all_of_them if _FIRST <= each <= qemu < _removed_by(each)]
    return next((each for each in reversed(has) if each <= wanted), has[0])


def _last(major: int) -> int:
    return _LAST_MINOR.get(major, 2)


def _version(machine: str) -> Version:
    major, minor = machine.partition("-")[2].split(".")
    return int(major), int(minor)


def _shown(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
