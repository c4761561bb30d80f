"""What vtool does when a board's own addresses move: reaches it anew, says so, and holds it still."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from vtool.board.failures import NoAnswer
from vtool.deploy import uplinks
from vtool.diagnostics import Diagnostic, VtoolError

BOARD: Any = SimpleNamespace(name="board0", patience=1.0, ssh=lambda: SimpleNamespace(escalation=("sudo",)))


class Board:
    """A board's answers: to the verb, over new connections, and to who holds it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Any, stalls: bool = False) -> None:
        self.asked: list[str] = []
        self.answers, self.stalls, self.held = list(answers), stalls, 1
        self.now = 0.0
        self.board, self.held_board = BOARD, self
        monkeypatch.setattr(uplinks, "reach", self.reach)
        monkeypatch.setattr(uplinks.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(uplinks.time, "sleep", self.pass_time)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def run(self, verb: str, timeout_s: float, stdin: str = "") -> dict[str, Any]:
        self.asked.append(verb)
        if self.stalls:
            self.now += timeout_s
            raise NoAnswer(Diagnostic("VT603", "it stalled"))
        return {}

    @contextlib.contextmanager
    def reach(self, board: Any) -> Iterator[Board]:
        assert board is BOARD
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, VtoolError):
            self.now += 20
            raise answer
        self.answers[0] = answer
        yield self

    def write(self, line: bytes) -> None:
        assert line == b"exec sudo /usr/local/sbin/vtool-board confirm_uplinks\n"
        self.asked.append("confirm")

    def line(self) -> str:
        return json.dumps({"uplinks": self.answers[0]})

    def let_go(self) -> None:
        self.held = 0

    def hold(self) -> None:
        self.stalls = False
        self.held += 1


def moved(board: Board, *bridges: str) -> None:
    uplinks.moved(board, "start_uplinks", bridges)  # type: ignore[arg-type]


def test_a_board_that_answers_is_told_over_a_new_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, ["br0"])
    moved(board, "br0")
    assert (board.asked, board.held) == (["start_uplinks", "confirm", "observe"], 1)


def test_a_connection_that_does_not_outlive_the_move_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    away = VtoolError(Diagnostic("VT603", "no route to host"))
    board = Board(monkeypatch, away, away, ["br0"], stalls=True)
    moved(board, "br0")
    assert (board.asked, board.held) == (["start_uplinks", "confirm"], 1)


def test_a_board_that_is_not_reached_is_said_to_take_all_back(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, VtoolError(Diagnostic("VT603", "no route to host")), stalls=True)
    with pytest.raises(VtoolError) as caught:
        moved(board, "br0")
    (found,) = caught.value.diagnostics
    assert found.code == "VT475" and "last: no route to host" in found.message
    assert board.now > uplinks.GUARD_S


def test_a_board_that_has_taken_all_back_is_not_what_was_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, [])
    with pytest.raises(VtoolError) as caught:
        moved(board, "br0")
    assert caught.value.diagnostics[0].code == "VT475"
    assert "put everything back" in caught.value.diagnostics[0].message


def test_what_goes_back_has_a_connection_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(monkeypatch, VtoolError(Diagnostic("VT603", "no route to host")), [], stalls=True)
    with pytest.raises(VtoolError) as caught:
        moved(board, "br0")
    assert "put everything back" in caught.value.diagnostics[0].message
    assert (board.held, board.stalls) == (1, False)


def test_the_board_waits_as_long_as_it_is_waited_for() -> None:
    from vtool.deploy.on_board import uplink

    assert uplink.GUARD_S == uplinks.GUARD_S
