"""What of a plan depends on what its board runs, where that becomes its control domain. Enter at ``for_own_system``."""

from __future__ import annotations

from dataclasses import replace

from vtool.board.own_system import OwnSystem
from vtool.check.kernels import of_control_domain
from vtool.diagnostics import Diagnostic, VtoolError, board_failed
from vtool.model.topology import OF_THE_BOARD
from vtool.plan.types import BoardPlan


def for_own_system(board: BoardPlan, own: OwnSystem) -> BoardPlan:
    """Return the plan for a board that runs this: without a ramdisk where it has none.

    Raises VtoolError VT455 where the user asks for one by name, VT510 for a kernel that lacks what it needs.
    """
    _require_options(board, own)
    return _with_or_without_ramdisk(board, own)


def _require_options(board: BoardPlan, own: OwnSystem) -> None:
    """Refuse a board's own kernel that cannot be its control domain (VtoolError VT510), as far as its options tell."""
    if board.control.kernel_image != OF_THE_BOARD or own.options is None:
        return
    driver = board.watchdog.kernel_option if board.watchdog else None
    needed = of_control_domain(board.hypervisor, driver, gives_pci=any(guest.pci for guest in board.kvm_guests))
    found = []
    for option, why in needed.items():
        if own.options.get(option) not in ("y", "m"):
            what = f"the kernel that board '{board.name}' runs, {own.release}, is built without CONFIG_{option}"
            hint = "`watchdog: false` of the board leaves it alone" if "watchdog" in why else "name another kernel"
            found.append(Diagnostic("VT510", f"{what}, needed {why}", hints=(hint,)))
    if found:
        raise VtoolError(found)


def _with_or_without_ramdisk(board: BoardPlan, own: OwnSystem) -> BoardPlan:
    control = board.control
    if control.ramdisk_image != OF_THE_BOARD or own.ramdisk is not None:
        return board
    if control.ramdisk_required:
        message = f"board '{board.name}' has no ramdisk of the kernel that it runs in /boot"
        raise board_failed("VT455", message, hints=("leave out `ramdisk: board`, or name a file",))
    return replace(board, control=replace(control, ramdisk_image=None, ramdisk_window=None))
