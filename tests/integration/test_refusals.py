"""A board that lets nobody in, or nobody become root: every verb says the same of it, whichever way it goes there."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fleet import Source
from vtool.base.progress import Silent
from vtool.board.inventory import Inventory
from vtool.board.protocols import Board
from vtool.board.shell import open_shell
from vtool.deploy.asking import board_state
from vtool.deploy.board_lock import hold
from vtool.deploy.board_program import board_program
from vtool.deploy.booting import bring_up
from vtool.diagnostics import Diagnostic, VtoolError

from .machine import USER, Machine, make_key

Refusal = Callable[[Machine], dict[str, Any]]
"""Makes a machine refuse; returns what an inventory says otherwise then."""
NOBODY = "255.255.255.255"
"""Linux connects to no broadcast address (net/ipv4/tcp_ipv4.c tcp_v4_connect): ENETUNREACH, and nothing is sent."""


def inventory(machine: Machine, name: str = "rack1", facts: str = "qemu-virt", **changes: Any) -> Path:
    entry = {
        "driver": "ssh",
        "facts": facts,
        "host": "127.0.0.1",
        "port": machine.port,
        "user": USER,
        "host_key": machine.host_key,
        "identity_file": str(machine.identity),
    }
    path = machine.folder / "inventory.yaml"
    wanted = {key: value for key, value in (entry | changes).items() if value is not None}
    path.write_text(json.dumps({"version": 1, "boards": {name: wanted}}))
    return path


def with_program(machine: Machine) -> None:
    """Switch the machine on; vtool's program is there, so that verbs that only look ask it."""
    program = machine.folder / "sbin" / "vtool-board"
    program.write_bytes(board_program())
    program.chmod(0o755)
    machine.on()


def wrong_key(machine: Machine) -> dict[str, Any]:
    return {"host_key": make_key(machine.folder / "other")}


def key_of_another_kind(machine: Machine) -> dict[str, Any]:
    path = machine.folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-C", "", "-f", str(path)], check=True)
    return {"host_key": path.with_suffix(".pub").read_text().strip()}


def no_key_let_in(machine: Machine) -> dict[str, Any]:
    (machine.folder / "identity.pub").write_text("")
    return {}


def nobody_listens(machine: Machine) -> dict[str, Any]:
    machine.off()
    return {}


def no_route(_: Machine) -> dict[str, Any]:
    return {"host": NOBODY}


def password_asked(machine: Machine) -> dict[str, Any]:
    return sudo(machine, f"{USER} ALL=(ALL) ALL\n")


def not_in_sudoers(machine: Machine) -> dict[str, Any]:
    return sudo(machine, "Defaults !authenticate\nroot ALL=(ALL) ALL\n")


def another_command(machine: Machine) -> dict[str, Any]:
    return sudo(machine, f"Defaults !authenticate\n{USER} ALL=(root) /usr/bin/true\n")


def sudo(machine: Machine, sudoers: str) -> dict[str, Any]:
    machine.off()
    machine.allow(sudoers)
    machine.on()
    return {}


REFUSALS: list[tuple[Refusal, str, str]] = [
    (wrong_key, "VT604", "a different host key"),
    (key_of_another_kind, "VT604", "a different host key"),
    (no_key_let_in, "VT603", "with no key that was shown"),
    (nobody_listens, "VT603", "(Connection refused)"),
    (no_route, "VT603", "(Network is unreachable)"),
    (password_asked, "VT626", "may not become root"),
    (not_in_sudoers, "VT626", "may not become root"),
    (another_command, "VT626", "may not become root"),
]


def held(board: Board) -> None:
    with hold(board):
        pass


def brought_up(board: Board) -> None:
    bring_up(board, Silent())
    held(board)


def asked(board: Board) -> None:
    with open_shell(board, deadline_s=1) as shell:
        board_state(shell)


def said(act: Callable[[Board], None], board: Board) -> Diagnostic:
    with pytest.raises(VtoolError) as caught:
        act(board)
    (found,) = caught.value.diagnostics
    detail = tuple(re.sub("'.*'", "what it was asked", line) for line in found.detail)
    return dataclasses.replace(found, message=re.sub(r"within \d+ s", "in time", found.message), detail=detail)


@pytest.mark.parametrize(("refuse", "code", "words"), REFUSALS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_deploy_and_who_waits_say_the_same(
    machine: Machine,
    refuse: Refusal,
    code: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_program(machine)
    board = Inventory(inventory(machine, **refuse(machine))).board("rack1")
    monkeypatch.setattr(type(board.facts), "boot_timeout_s", 1)
    found = [said(act, board) for act in (held, brought_up, asked)]
    assert found[0].code == code and words in found[0].message
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("refuse", [wrong_key, no_key_let_in, password_asked], ids=lambda value: value.__name__)
def test_every_verb_says_it(machine: Machine, refuse: Refusal) -> None:
    source = Source(machine.folder, 1)
    source.write()
    with_program(machine)
    changes = refuse(machine)
    way = ("--inventory", inventory(machine, "b0", str(source.folder / "facts.yaml"), **changes))
    topology = source.folder / "topology.yaml"
    verbs = [
        ("deploy", topology, *way),
        ("verify", topology, *way),
        ("status", topology, *way),
        ("exec", *way, "--board", "b0", "b0-g0", "--", "true"),
    ]
    verbs += [] if refuse is password_asked else [("board", "up", "b0", *way)]  # which asks nothing of root
    shown = {words[:2]: errors_of(*words, folder=machine.folder) for words in verbs}
    first, *others = shown.values()
    assert first and all(other == first for other in others), shown


def errors_of(*words: str | Path, folder: Path) -> str:
    """Return the error that a verb ends with, as it is shown."""
    command = [sys.executable, "-m", "vtool.cli.main", *map(str, words)]
    with contextlib.suppress(OSError):
        (folder / "user").mkdir()
    environment = os.environ | {"XDG_RUNTIME_DIR": str(folder / "user"), "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)
    assert done.returncode == 3, done.stdout + done.stderr
    return done.stderr[done.stderr.index("error[") :]
