"""One process at a time works on a board, and a board is what it is, not what an inventory calls it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from vtool.board.inventory import Inventory
from vtool.board.local_lock import local_lock
from vtool.board.protocols import Board
from vtool.diagnostics import VtoolError

INVENTORY = """\
version: 1
boards:
  board0: {driver: emulated, facts: qemu-virt}
  board1: {driver: emulated, facts: qemu-virt}
  rack0: {driver: ssh, facts: rpi4, host: 192.0.2.7, host_key: KEY}
  same-as-rack0: {driver: ssh, facts: rpi4, host: 192.0.2.7, user: me, host_key: KEY}
  forwarded: {driver: ssh, facts: rpi4, host: 192.0.2.7, port: 2222, host_key: KEY}
  lab0: {driver: labgrid, facts: rpi4, place: rack1, host_key: KEY}
  same-as-lab0: {driver: labgrid, facts: rpi4, place: rack1, host_key: KEY}
  lab1: {driver: labgrid, facts: rpi4, tags: {board: rpi4, floor: '2'}, host_key: KEY}
  same-as-lab1: {driver: labgrid, facts: rpi4, tags: {floor: '2', board: rpi4}, host_key: KEY}
"""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5cWZ0GAdRbE0dS3uJfUH3Yp7rGqN3z0Z6P8x1tq9aQ"


@pytest.fixture
def boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Board]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "inventory.yaml").write_text(INVENTORY.replace("KEY", KEY))
    found: dict[str, Board] = {}
    for state in ("one", "other"):
        monkeypatch.setenv("VTOOL_STATE", str(tmp_path / state))
        inventory = Inventory(tmp_path / "inventory.yaml")
        found |= {f"{name} of {state}": inventory.board(name) for name in inventory.names()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VTOOL_STATE", "one")
    return found | {"board0 of one, by another path": Inventory(tmp_path / "inventory.yaml").board("board0")}


@pytest.mark.parametrize(
    "first, second",
    [
        ("board0 of one", "board0 of one"),
        ("board0 of one", "board0 of one, by another path"),
        ("rack0 of one", "rack0 of other"),
        ("rack0 of one", "same-as-rack0 of one"),
        ("lab0 of one", "same-as-lab0 of other"),
        ("lab1 of one", "same-as-lab1 of one"),
    ],
)
def test_one_board_is_worked_on_once(boards: dict[str, Board], first: str, second: str) -> None:
    with local_lock(boards[first]), pytest.raises(VtoolError) as caught, local_lock(boards[second]):
        pass
    (found,) = caught.value.diagnostics
    assert found.code == "VT605" and f"'{boards[second].name}' (process " in found.message
    with local_lock(boards[second]):
        pass


def test_different_boards_do_not_wait_for_each_other(boards: dict[str, Board]) -> None:
    with ExitStack() as stack:
        for name in ("board0 of one", "board0 of other", "board1 of one", "rack0 of one", "forwarded of one"):
            stack.enter_context(local_lock(boards[name]))
        for name in ("lab0 of one", "lab1 of one"):
            stack.enter_context(local_lock(boards[name]))
