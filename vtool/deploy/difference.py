"""The difference between what is requested and what a board runs, before anything is changed.

It can be saved and applied later, as long as both the request and the board are still what they were.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vtool.board.installation import Installation
from vtool.board.own_system import OwnSystem, own_system
from vtool.board.protocols import Board
from vtool.board.shell import open_shell
from vtool.deploy.asking import ask, each_board
from vtool.deploy.for_installation import asks, for_installation, look
from vtool.deploy.stage import Staged, stage_folder, stage_on
from vtool.diagnostics import Diagnostic, VtoolError, board_failed
from vtool.files.json_text import from_json
from vtool.files.regular import read_text, reason_of
from vtool.plan.types import BoardPlan

FORMAT = 1
Target = tuple[BoardPlan, Board]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Change:
    """One file that would be added, changed or removed; ``asked_by`` is the part of the topology behind it."""

    change: str
    place: str
    name: str
    asked_by: tuple[str, ...]
    image: str = ""


@dataclass(frozen=True)
class Difference:
    """What deploying would do to one board. ``running`` is the generation it runs now, empty for none.

    ``damaged`` are files that were changed by hand, ``reboot`` and ``restart`` what making it run takes.
    """

    board: str
    running: str
    generation: str
    changes: tuple[Change, ...]
    damaged: tuple[str, ...]
    reboot: bool
    restart: tuple[str, ...]
    send_bytes: int
    confirmed: bool

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.changes or self.damaged or self.reboot) and self.confirmed


def differences(
    topology: str,
    targets: Sequence[Target],
    image_path: Callable[[str], Path],
) -> list[Difference]:
    """Compare every board with what is requested of it; a board that is off or not made has nothing of it.

    Changes nothing. Raises VtoolError of staging, and VT6xx, VT705, VT706, VT716 of the board.
    """
    found = _each_staged(topology, targets, image_path, lambda staged, _, board: _difference(staged, board))
    return list(found.values())


@dataclass(frozen=True)
class Wanted:
    """What a board would be given: the generation, and the SHA-256 of the device tree that it was merged into."""

    firmware: str
    generation: dict[str, Any]


def wanted_of(topology: str, targets: Sequence[Target], image_path: Callable[[str], Path]) -> dict[str, Wanted]:
    """Return what each board would be given, by its name. Raises VtoolError of staging and of asking for its tree."""

    def look(staged: Staged, base_tree: bytes, _: Board) -> Wanted:
        return Wanted(hashlib.sha256(base_tree).hexdigest(), staged.generation)

    return _each_staged(topology, targets, image_path, look)


def _each_staged(
    topology: str,
    targets: Sequence[Target],
    image_path: Callable[[str], Path],
    look: Callable[[Staged, bytes, Board], Result],
) -> dict[str, Result]:
    """Stage for every board while it is held, and look at what that came to."""
    with stage_folder(len(targets)) as folder:

        def one(plan: BoardPlan, board: Board) -> Result:
            work = folder / plan.name
            work.mkdir()
            with board.hold():
                base_tree = board.base_device_tree()
                if asks(plan.facts.boot):
                    plan = for_installation(plan, _installation(board))
                own = _own_system(board) if plan.control.takes_the_boards_own else None
                return look(stage_on(topology, plan, base_tree, image_path, work, own=own), base_tree, board)

        found, failed = each_board(targets, one)
    if failed:
        errors = tuple(failed.values())
        raise VtoolError((diagnostic for error in errors for diagnostic in error.diagnostics), errors[0].exit_code)
    return found


def _installation(board: Board) -> Installation:
    if not (board.exists() and board.power.is_on()):
        raise board_failed("VT722", f"board '{board.name}' is off, so that nobody can tell how it is installed")
    with open_shell(board) as shell:
        return look(shell)


def _own_system(board: Board) -> OwnSystem:
    if not (board.exists() and board.power.is_on()):
        raise board_failed("VT455", f"board '{board.name}' is off, so that nobody can tell what it runs")
    with open_shell(board) as shell:
        return own_system(board.name, shell)


def _difference(staged: Staged, board: Board) -> Difference:
    generation = staged.generation
    said = _compared(generation, board) if board.exists() and board.power.is_on() else None
    if said is None:
        files = [{"change": "added", "place": f.place.value, "name": f.name} for f in staged.files]
        size = sum(path.stat().st_size for path in staged.objects.values())
        said = {"running": "", "changes": files, "damaged": [], "reboot": True, "restart": [], "missing_bytes": size}
    asked = {(f.place.value, f.name): f for f in staged.files}
    changes = []
    for change in said["changes"]:
        file = asked.get((change["place"], change["name"]))
        origin = (file.asked_by, file.image) if file else ((), "")
        changes.append(Change(change["change"], change["place"], change["name"], *origin))
    return Difference(
        board=board.name,
        running=said["running"],
        generation=generation["generation"],
        changes=tuple(changes),
        damaged=tuple(said["damaged"]),
        reboot=said["reboot"],
        restart=tuple(said["restart"]),
        send_bytes=said["missing_bytes"],
        confirmed=said.get("confirmed", False),
    )


def _compared(generation: dict[str, Any], board: Board) -> dict[str, Any] | None:
    with open_shell(board) as shell:
        return ask(shell, "compare", "--look-only", stdin=json.dumps(generation, sort_keys=True).encode())


def format_saved(topology: str, found: Sequence[Difference]) -> str:
    """Write a plan to be applied later: for each board the generation it must run and the one it is to run."""
    boards = {item.board: {"running": item.running, "generation": item.generation} for item in found}
    return json.dumps({"format": FORMAT, "topology": topology, "boards": boards}, indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True)
class SavedPlan:
    """What ``vtool plan --save`` wrote: what each board ran, and the generation that it was to get."""

    path: Path
    topology: str
    boards: dict[str, tuple[str, str]]


def saved_plan(path: Path) -> SavedPlan:
    """Read a saved plan. Raises VT100 or VT719 when it cannot be read."""
    try:
        saved = from_json(read_text(path))
        boards = {str(name): (str(b["running"]), str(b["generation"])) for name, b in saved["boards"].items()}
        known = saved["format"] == FORMAT
        topology = str(saved["topology"])
    except OSError as error:
        message = f"'{path}' cannot be read: {reason_of(error)}"
        raise VtoolError(Diagnostic("VT100", message)) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    if not known:
        message = f"'{path}' is not a plan that `vtool plan --save` wrote"
        raise VtoolError(Diagnostic("VT719", message, hints=("write it again: vtool plan TOPOLOGY --save FILE",)))
    return SavedPlan(path, topology, boards)


def require_as_saved(saved: SavedPlan, topology: str, found: Sequence[Difference]) -> None:
    """Raise VT718 unless request and boards are still what the saved plan says."""
    hint = "look at the difference again: vtool plan TOPOLOGY --against-board --save FILE"
    path, boards = saved.path, saved.boards
    if saved.topology != topology or set(boards) != {item.board for item in found}:
        raise board_failed("VT718", f"'{path}' is a plan for other boards or another topology", hints=(hint,))
    for item in found:
        running, generation = boards[item.board]
        if item.running != running:
            now, then = item.running or "nothing", running or "nothing"
            message = f"board '{item.board}' has changed: it ran {then} when '{path}' was written, now {now}"
            raise board_failed("VT718", message, hints=(hint,))
        if item.generation != generation:
            message = f"the topology changed: '{path}' is for generation {generation}, it makes {item.generation} now"
            raise board_failed("VT718", message, hints=(hint,))
