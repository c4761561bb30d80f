"""Boards that start: switched on, after a reboot, and back to the last good generation when one does not.

Every wait has a deadline, and its failure carries the console's tail.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from vtool.base.progress import Progress
from vtool.board.emulated import EmulatedBoard, EmulatedImages
from vtool.board.failures import NoAnswer, WrongHostKey
from vtool.board.protocols import Board, Console
from vtool.board.reaching import CONSOLE_TAIL_LINES, no_answer, wait_for_sshd
from vtool.deploy.job import Job
from vtool.diagnostics import VtoolError, board_failed
from vtool.images import PREFIX, ROOT_DISKS, board_images
from vtool.images.build import ensure
from vtool.model.combinations import Suite

_LINES_OF_TWO_BOOTS = 3000
_LOOK_S = 20.0
"""How long one look at a board that boots may take."""
_LOADER = re.compile(r"U-Boot (SPL |TPL )?[0-9]{4}\.|UEFI firmware ")


def bring_up_and_hold(job: Job, progress: Progress) -> None:
    """Make the board if need be, switch it on, wait for ssh, hold it. One that answers costs one connection."""
    if job.board.exists() and job.board.power.is_on():
        try:
            job.hold()
        except NoAnswer:
            pass  # it hangs, or boots: below it gets the time for that
        else:
            return
    bring_up(job.board, progress, job.report.board.suite)
    job.hold()


def require_suite(board: Board, suite: Suite | None) -> None:
    """Raise VT720, VT721 unless an emulated board has, or can be made with, that Debian; None is any."""
    if suite is None or not isinstance(board, EmulatedBoard) or board.disk is not None:
        return
    if suite not in ROOT_DISKS:
        known = ", ".join(each.value for each in ROOT_DISKS)
        message = f"board '{board.name}' is emulated, and vtool has no root disk of Debian {suite.value} for it"
        raise board_failed("VT721", message, hints=(f"`suite` of its hypervisor can be: {known}",))
    made = board.made_suite()
    if made not in (None, suite.value):
        message = f"board '{board.name}' was made with Debian {made}, the topology says {suite.value}"
        hint = f"vtool board destroy {board.name}, or give the board another name in the topology"
        raise board_failed("VT720", message, hints=(hint,))


def bring_up(board: Board, progress: Progress, suite: Suite | None = None) -> bool:
    """Make the board if necessary, switch it on, wait for ssh; return whether it was off.

    ``suite`` is the Debian of a board that has to be made, None the usual one.
    """
    if isinstance(board, EmulatedBoard) and not board.exists():
        suite = suite or Suite.TRIXIE
        images = _images_of(board, suite, progress)
        begin = time.monotonic()
        progress.start(f"make board {board.name}")
        board.create(images, suite.value)
        progress.finish(f"make board {board.name}", "made", time.monotonic() - begin)
    was_off = not board.power.is_on()
    begin = time.monotonic()
    if was_off:
        progress.start(f"switch {board.name} on")
        board.power.on()
    wait_for_sshd(board, board.ssh(), _boot_deadline_s(board), None if was_off else progress)
    if was_off:
        board.booted_in(time.monotonic() - begin)
        progress.finish(f"switch {board.name} on", "answers", time.monotonic() - begin)
    return was_off


def _boot_deadline_s(board: Board) -> float:
    """Return how long a board may take from power or a reboot until its sshd answers."""
    return board.facts.boot_timeout_s * board.patience


def _images_of(board: EmulatedBoard, suite: Suite, progress: Progress) -> EmulatedImages:
    """Build what a new board is made of."""
    assert board.facts.boot is not None, "deploy refuses what cannot boot (VT409)"
    model, loader = board.machine.model, board.facts.boot.loader
    if board.disk is not None:
        firmware, own = model.firmware[loader][0], board.disk.image
        names = (firmware, *([own.removeprefix(PREFIX)] if own.startswith(PREFIX) else []))
        built = {name: image.path for name, image in ensure(names, progress).items()}
        return EmulatedImages(built[firmware], disk=built.get(own.removeprefix(PREFIX), Path(own)))
    kernel, root, firmware, *of_loader = names = board_images(model, loader, suite)
    built = {name: image.path for name, image in ensure(names, progress).items()}
    return EmulatedImages(built[firmware], built[kernel], built[root], built[of_loader[0]] if of_loader else None)


def wait_for_boot(job: Job, before: str, progress: Progress) -> None:
    """Wait until another boot than ``before`` is reached; VT715 when that is not the generation wanted.

    A board that does not answer in time is given its watchdog's time, then its power is cut and given again:
    it starts its last good generation then. VT603 when it still says nothing.
    """
    task, begin = f"boot {job.board.name}", time.monotonic()
    progress.start(task)
    watchdog = job.report.board.watchdog
    watchdog_s = watchdog.timeout_s if watchdog else 0
    timeout_s = _boot_deadline_s(job.board)
    booted, why = _another_boot(job, before, timeout_s)
    if booted is None and watchdog_s:
        booted, why = _another_boot(job, before, watchdog_s + timeout_s)
    if booted is None and job.board.power.can_switch:
        progress.update(task, "cut the power and give it again")
        job.board.power.off()
        job.board.power.on()
        booted, why = _another_boot(job, before, timeout_s)
    if booted is None:
        progress.finish(task, "failed", time.monotonic() - begin)
        raise no_answer(job.board, time.monotonic() - begin, why)
    wanted = job.report.generation
    if booted != wanted and job.applied:
        progress.finish(task, "failed", time.monotonic() - begin)
        job.report.went_back_to = booted
        message = f"generation {wanted} does not come up on board '{job.board.name}'"
        log = job.board.console.log_path()
        hints = (f"all it said: {log}",) if log else ()
        raise board_failed("VT715", message, hints=hints, detail=_failed_boot(job.board.console))
    progress.finish(task, "answers", time.monotonic() - begin)


def _failed_boot(console: Console) -> tuple[str, ...]:
    """Return the last lines of the boot before the one that runs: those before the loader's last greeting."""
    lines = console.tail(_LINES_OF_TWO_BOOTS)
    greetings = [number for number, line in enumerate(lines) if _LOADER.match(line)]
    return lines[: greetings[-1] if greetings else None][-CONSOLE_TAIL_LINES:]


def _another_boot(job: Job, before: str, deadline_s: float) -> tuple[str | None, str]:
    """Reach the next boot that answers; return its generation (empty: none of vtool's).

    Past the deadline it is None, and what the last look met.
    """
    deadline, why = time.monotonic() + deadline_s, "no system boots"
    while time.monotonic() < deadline:
        try:
            wait_for_sshd(job.board, job.board.ssh(), _LOOK_S * job.board.patience)
            reached = job.reach(after=before)
            if reached is not None:
                return reached.generation, ""
            why = "it has not gone down"
        except WrongHostKey:
            raise
        except VtoolError as error:
            why = f"last: {error.diagnostics[0].message}"
        time.sleep(0.5)  # between two looks at a board that is booting; the loop has the deadline
    return None, why


def go_back(job: Job, progress: Progress) -> str:
    """Make the board run its last good generation again; return it (empty: what the board came with)."""
    if job.report.went_back_to is not None:
        return job.report.went_back_to
    if not job.is_held:
        wait_for_sshd(job.board, job.board.ssh(), _boot_deadline_s(job.board), progress)
        job.hold()
    before = job.held_board.reached.boot_id
    said = job.held_board.run("revert", "--reason", "not proven", "--reboot")
    if said["reboot"]:
        job.let_go()
        _another_boot(job, before, _boot_deadline_s(job.board))
    progress.finish(f"go back on {job.board.name}", "went back", 0.0)
    return str(said["generation"])
