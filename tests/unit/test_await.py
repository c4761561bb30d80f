"""vtool-board await: a driver domain's unit is up when its console has said its ready text."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from vtool.deploy.on_board import base, program


@pytest.mark.parametrize(("said", "runs", "ready"), [("xl devd runs", True, True), ("Linux version", False, False)])
def test_await(said: str, runs: bool, ready: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "console.log"
    log.write_text(f"booting\n{said}\n")
    domain = {"kind": "xen", "ready": "xl devd runs", "console_log": str(log)}
    monkeypatch.setattr(program, "manifest", lambda: {"domains": {"storage": domain}})
    monkeypatch.setattr(program, "domain_runs", lambda name, domain: runs)
    arguments = argparse.Namespace(domain="storage", deadline=30.0)
    if ready:
        assert program.verb_await(arguments) == {"domain": "storage"}
    else:
        with pytest.raises(base.BoardError) as caught:
            program.verb_await(arguments)
        assert caught.value.code == "VT708"
