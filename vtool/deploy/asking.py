"""Asking a board what is there: the state that vtool-board tells, consoles' tails, its generations."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from vtool.base.threads import all_of
from vtool.board.protocols import Board
from vtool.board.shell import Shell, open_shell
from vtool.diagnostics import VtoolError, board_failed
from vtool.plan.types import BoardPlan

Result = TypeVar("Result")
MOST_AT_ONCE = 50
"""As many boards are worked on side by side."""
ON_BOARD = "/usr/local/sbin/vtool-board"
"""Where the board's one program is."""
NOT_THERE = 100
"""How a command ends on a board that has no such program."""
IF_THERE = f"test -x {ON_BOARD} || exit {NOT_THERE}; "
NOTHING: dict[str, Any] = {
    "deployed": None,
    "confirmed": False,
    "domains": {},
    "backends": {},
    "damaged": [],
    "lock": None,
}
"""The state of a board that vtool never deployed to."""


def board_json(stdout: str, stderr: str) -> dict[str, Any]:
    """Read what vtool-board printed; its errors become VtoolError."""
    try:
        said = json.loads(stdout)
    except ValueError:
        raise board_failed(
            "VT704", "vtool-board did not answer with JSON", detail=(stdout + stderr).splitlines()[-10:]
        ) from None
    return checked(said)


def checked(said: Any) -> dict[str, Any]:
    """Return an answer of vtool-board's as it is; one that is an error becomes VtoolError."""
    if isinstance(said, dict) and "error" in said:
        error = said["error"]
        raise board_failed(error["code"], error["message"], hints=error["hints"], detail=error["detail"])
    assert isinstance(said, dict)
    return said


def each_board(
    targets: Sequence[tuple[BoardPlan, Board]], look: Callable[[BoardPlan, Board], Result]
) -> tuple[dict[str, Result], dict[str, VtoolError]]:
    """Look at boards side by side. Returns what was seen and what failed, each by board."""

    def one(target: tuple[BoardPlan, Board]) -> Result | VtoolError:
        try:
            return look(*target)
        except VtoolError as error:
            return error

    if len(targets) == 1:
        came = [one(targets[0])]
    else:
        with ThreadPoolExecutor(max_workers=MOST_AT_ONCE) as pool:
            came = all_of([pool.submit(one, target) for target in targets])
    named = [(plan.name, result) for (plan, _), result in zip(targets, came, strict=True)]
    seen = {name: result for name, result in named if not isinstance(result, VtoolError)}
    return seen, {name: result for name, result in named if isinstance(result, VtoolError)}


def packed(data: bytes) -> str:
    """Write bytes as a word that a shell line can carry."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def ask(shell: Shell, *words: str, stdin: bytes = b"") -> dict[str, Any] | None:
    """Run a verb of vtool-board that only looks; None when vtool is not on the board."""
    reads = f"echo {packed(stdin)} | base64 -d | gzip -d | " if stdin else ""
    result = shell.run(f"{IF_THERE}{reads}{shell.as_root(ON_BOARD, *words)}")
    return None if result.code == NOT_THERE else board_json(result.stdout, result.stderr)


def board_state(shell: Shell) -> dict[str, Any]:
    """Return what vtool-board says of the board; ``deployed`` is None when nothing is."""
    return ask(shell, "state") or NOTHING


def require_deployed(topology: str, board: Board, deployed: dict[str, Any] | None) -> None:
    """Raise VT703 unless that topology is what a board's state says is deployed."""
    if deployed is None or deployed["topology"] != topology:
        raise not_deployed(board, topology, deployed)


def not_deployed(board: Board, topology: str = "", deployed: dict[str, Any] | None = None) -> VtoolError:
    """Make the error that says what is deployed instead (VT703)."""
    instead = f"'{deployed['topology']}' is deployed" if deployed else "nothing is deployed"
    wanted = f", not '{topology}'" if topology else ""
    hint = "run: vtool deploy TOPOLOGY"
    return board_failed("VT703", f"{instead} on board '{board.name}'{wanted}", hints=(hint,))


def domain_tails(plan: BoardPlan, board: Board) -> list[str]:
    """Return the last lines of every domain's console and of its backends' journals."""
    lines: list[str] = []
    with open_shell(board) as shell:
        for guest in plan.guests:
            said = shell.run(shell.as_root(ON_BOARD, "logs", "--lines", "15", "--", guest.name))
            lines += [f"tail of domain '{guest.name}':"]
            lines += [f"  | {line}" for line in said.stdout.replace("\r", "").splitlines()]
    return lines
