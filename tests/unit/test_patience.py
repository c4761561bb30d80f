"""Deadlines of an emulated board follow what its start took and what the machine has to do; hardware keeps its own."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vtool.base.progress import Silent
from vtool.board import emulated
from vtool.board.emulated import EmulatedBoard
from vtool.board.patience import MOST, USUAL_BOOT_S, patience
from vtool.board.ssh_only import SshOnlyBoard
from vtool.deploy import booting
from vtool.deploy.on_board import base, domains, observe
from vtool.model.validate import load_facts


@pytest.mark.parametrize(
    ("boot_s", "load", "times"),
    [
        (None, 0.2, 1.0),
        (USUAL_BOOT_S / 2, 0.2, 1.0),
        (3 * USUAL_BOOT_S, 0.2, 3.0),
        (3 * USUAL_BOOT_S, 5.0, 5.0),
        (None, 5.0, 5.0),
        (100 * USUAL_BOOT_S, 0.0, MOST),
        (None, 100.0, MOST),
    ],
)
def test_patience_has_bounds(boot_s: float | None, load: float, times: float) -> None:
    assert patience(boot_s, load) == times


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmulatedBoard:
    monkeypatch.setenv("VTOOL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(emulated, "load_of_machine", lambda: 0.5)
    board = EmulatedBoard("slow0", load_facts("qemu-virt").facts)
    board.folder.mkdir(parents=True)
    (board.folder / "board.json").write_text(json.dumps({"format": 1, "facts": "qemu-virt"}))
    return board


def test_a_board_that_started_slowly_is_given_time_from_then_on(
    board: EmulatedBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that only the waits move: the start takes 90 s, which what comes later is measured by."""
    now, waited = [0.0], []

    def sshd(board: Any, target: Any, deadline_s: float, progress: Any = None) -> None:
        waited.append(deadline_s)
        now[0] += 90.0

    monkeypatch.setattr(booting.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(booting, "wait_for_sshd", sshd)
    monkeypatch.setattr(EmulatedBoard, "is_on", lambda _: bool(waited))
    monkeypatch.setattr(EmulatedBoard, "on", lambda _: None)
    monkeypatch.setattr(EmulatedBoard, "ssh", lambda _: None)
    usual_s = board.facts.boot_timeout_s
    assert booting.bring_up(board, Silent()) is True
    assert waited == [usual_s] and board.patience == 90.0 / USUAL_BOOT_S
    assert EmulatedBoard("slow0", board.facts).patience == 3.0, "the next vtool knows it as well"
    assert booting.bring_up(board, Silent()) is False
    assert waited == [usual_s, 3 * usual_s] and board.patience == 3.0, "it was on: that was no start"


def test_what_is_written_of_a_start_may_be_damaged(board: EmulatedBoard) -> None:
    (board.folder / "boot_s").write_text("half a numb")
    assert board.patience == 1.0


def test_a_busy_machine_is_seen_before_anything_was_measured(
    board: EmulatedBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulated, "load_of_machine", lambda: 5.0)
    assert board.patience == 5.0


def test_hardware_keeps_the_numbers_of_its_inventory() -> None:
    none: Any = None
    board = SshOnlyBoard("rack1", load_facts("rpi4").facts, ("h", 22, "root"), none, none, none, None)
    board.booted_in(1000.0)
    assert board.patience == 1.0


# -- on the board


@pytest.mark.parametrize(("times", "ready"), [(1.0, False), (3.0, True)])
def test_a_guest_on_a_slow_board_is_waited_for_longer(
    times: float, ready: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it is ready after 20 s, where 10 s were meant to be enough."""
    log, now = tmp_path / "console.log", [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] >= 20.0:
            log.write_text("vtool: domain ready\n")

    domain = {"kind": "kvm", "unit": "u", "ready": "domain ready", "ready_timeout_s": 10, "console_log": str(log)}
    monkeypatch.setattr(domains, "manifest", lambda: {"domains": {"fe0": domain}, "backends": {}})
    monkeypatch.setattr(domains, "unit_state", lambda _: "active")
    monkeypatch.setattr(domains, "run", lambda *argv, **_: subprocess.CompletedProcess(argv, 0, "active\n", ""))
    monkeypatch.setattr(domains, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    arguments = argparse.Namespace(patience=times)
    if ready:
        assert domains.verb_converge(arguments)["ready_after_s"]["fe0"] == pytest.approx(20.0, abs=0.3)
    else:
        with pytest.raises(base.BoardError, match="not ready within 10 s"):
            domains.verb_converge(arguments)


@pytest.mark.parametrize(("request_", "allowed"), [({}, 5.0), ({"patience": 4.0}, 20.0)])
def test_a_step_on_a_slow_board_has_longer(
    request_: dict[str, Any], allowed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    done = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(observe, "run", lambda *_, timeout, **__: given.append(timeout) or done)
    step = {"id": "a", "op": "run", "command": "true", "timeout_s": 5}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps({"steps": [step], **request_})))
    assert observe.verb_observe(argparse.Namespace())["results"]["a"]["code"] == 0
    assert given == [allowed]
