"""What is wrong with the arguments of `vtool deploy` is said before anything is read, started or built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vtool.cli import deploy_verb, main
from vtool.deploy.difference import FORMAT


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object) -> None:
        raise AssertionError("Ansible would have been started")

    monkeypatch.setattr(deploy_verb, "playing", started)


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "²"])
def test_no_number_of_boards(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["deploy", "t.yaml", f"--rolling={number}"])
    assert ended.value.code == 2
    assert f"argument --rolling: '{number}' is no number of boards" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "VT100"),
        ("boards: {}", "VT719"),
        ("[]", "VT719"),
        ("[" * 100_000, "VT719"),
        (json.dumps({"format": FORMAT, "topology": "t"}), "VT719"),
        (json.dumps({"format": FORMAT, "boards": {}}), "VT719"),
        (json.dumps({"format": FORMAT + 1, "topology": "t", "boards": {}}), "VT719"),
    ],
)
def test_no_saved_plan(text: str | None, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.json"
    if text is not None:
        plan.write_text(text)
    assert main.main(["deploy", "t.yaml", "--plan", str(plan)]) == 1
    assert f"error[{code}]: '{plan}'" in capsys.readouterr().err
