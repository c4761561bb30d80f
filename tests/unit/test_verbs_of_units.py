"""The verbs of vtool-board that units call: await a domain's ready text, and make it end."""

from __future__ import annotations

import argparse
import subprocess
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


@pytest.mark.parametrize(("shutdown", "destroyed"), [("ends", False), ("is refused", True), ("takes too long", True)])
def test_powerdown(shutdown: str, destroyed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(*argv: str, check: bool = True, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        ran.append(argv[1])
        fails = argv[1] == "shutdown" and shutdown != "ends"
        if fails and (check or shutdown == "takes too long"):
            raise base.BoardError("VT704", f"{shutdown}, {timeout} s")
        return subprocess.CompletedProcess(argv, int(fails), "", "")

    monkeypatch.setattr(program, "manifest", lambda: {"domains": {"fe0": {"kind": "xen"}}})
    monkeypatch.setattr(program, "run", run)
    program.verb_powerdown(argparse.Namespace(domain="fe0", deadline=10.0))
    assert ran == ["shutdown", *(["destroy"] if destroyed else [])]
