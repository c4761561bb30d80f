"""Boards whose own address moves to a bridge: reached anew, and told so, before anything else is asked of them.

The board gives back what moved unless it hears of a connection that was made since (``on_board/uplink.py``). Enter at
``moved``.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Sequence

from vtool.board.failures import NoAnswer, WrongHostKey
from vtool.board.protocols import Board
from vtool.deploy.asking import ON_BOARD, board_json
from vtool.deploy.job import Job
from vtool.deploy.on_board.lock import LEASE_S
from vtool.deploy.on_board.uplink import GUARD_S
from vtool.deploy.reached import reach
from vtool.diagnostics import VtoolError, board_failed

_STALLED_S = 40.0
"""How long the connection that was there may say nothing: TCP sends again after at most half of that by then."""


def moved(job: Job, verb: str, bridges: Sequence[str]) -> None:
    """Have the board move its addresses by a verb, reach it anew and confirm that; hold it still.

    ``bridges`` are those that have an uplink then. Raises VtoolError VT475 where it is not reached, or has taken all
    back by then, and what the verb says.
    """
    lost = False
    try:
        job.held_board.run(verb, timeout_s=_STALLED_S * job.board.patience)
    except NoAnswer:
        lost = True
    try:
        _confirm(job.board, bridges)
    except VtoolError:
        # Going back asks the board over what holds it, which did not outlive a network that was away.
        with contextlib.suppress(VtoolError):
            _keep_held(job, lost)
        raise
    _keep_held(job, lost)


def _confirm(board: Board, bridges: Sequence[str]) -> None:
    deadline = time.monotonic() + GUARD_S + LEASE_S
    while True:
        try:
            has = _say_so(board)
        except WrongHostKey:
            raise
        except VtoolError as error:
            if time.monotonic() > deadline:
                raise _gone(board, f"last: {error.diagnostics[0].message}") from None
            time.sleep(0.5)  # between two attempts; the loop has the deadline
        else:
            break
    if sorted(has) != sorted(bridges):
        raise _gone(board, "it has put everything back as it was by itself, and answers now")


def _say_so(board: Board) -> list[str]:
    with reach(board) as reached:
        words = shlex.join([*board.ssh().escalation, ON_BOARD, "confirm_uplinks"])
        reached.write(f"exec {words}\n".encode())
        said: list[str] = board_json(reached.line(), "")["uplinks"]
        return said


def _gone(board: Board, why: str) -> VtoolError:
    message = f"board '{board.name}' did not answer within {GUARD_S:.0f} s after its own addresses had moved: {why}"
    hint = "does its network take the bridge: port security, a DHCP server that goes by more than the MAC address?"
    return board_failed("VT475", message, hints=(hint,))


def _keep_held(job: Job, lost: bool) -> None:
    if lost or not _still_held(job):
        _hold_again(job)


def _still_held(job: Job) -> bool:
    with contextlib.suppress(NoAnswer):
        job.held_board.run("observe", stdin='{"steps": []}', timeout_s=_STALLED_S * job.board.patience)
        return True
    return False


def _hold_again(job: Job) -> None:
    """Hold the board over a new connection, as soon as the one that broke is known to it to be gone (VT605)."""
    job.let_go()
    deadline = time.monotonic() + 2 * LEASE_S
    while True:
        try:
            return job.hold()
        except VtoolError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1)  # between two attempts; the loop has the deadline
