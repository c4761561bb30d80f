"""`vtool verify` of several boards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vtool.cli import main, verify_verb
from vtool.deploy.job import Report
from vtool.diagnostics import board_failed

BOARDS = """
version: 1
name: two
boards: {b0: {facts: qemu-virt, hypervisor: {kind: kvm}}, b1: {facts: qemu-virt, hypervisor: {kind: kvm}}}
domains: {h0: {board: b0, role: control}, h1: {board: b1, role: control}}
"""


def test_a_board_that_ansible_never_came_to_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Play:
        def on(self, _: str, targets: Any) -> list[Report]:
            (plan, _board) = targets[1]
            return [Report(plan, failure=board_failed("VT712", "playbook 'verify' ended with status -9"))]

    @contextlib.contextmanager
    def playing(*_: object) -> Iterator[Play]:
        yield Play()

    monkeypatch.setattr(verify_verb, "playing", playing)
    (tmp_path / "t.yaml").write_text(BOARDS)
    assert main.main(["verify", str(tmp_path / "t.yaml")]) == 3
    assert "error[VT712]: playbook 'verify' ended with status -9" in capsys.readouterr().err
