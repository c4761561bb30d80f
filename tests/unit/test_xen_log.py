"""What guests that Xen builds say in Xen's own log, with and without its times (`console_timestamps`)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from vtool.cli.common import prepare
from vtool.deploy.on_board import domains
from vtool.deploy.proof import proofs
from vtool.plan.types import XenBootGuest

LOG = """\
(XEN) TIMEd1: STATIC BANK[0] 0x00000050000000-0x00000060000000
(XEN) TIMEDOM1: vtool: domain ready
(XEN) TIMEDOM11: another
(XEN) TIMEDOM1: (XEN) DOM2: made up
DOM1: not Xen's
"""
EXAMPLE = Path(__file__).resolve().parents[2] / "topology" / "examples" / "dom0less-static.yaml"


@pytest.fixture(params=["", "[    3.021417] ", "[2026-11-30 17:26:52.123] ", "[0000000012ab34cd] "])
def log(request: pytest.FixtureRequest) -> str:
    return LOG.replace("TIME", request.param)


def test_a_console_in_xens_log(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "run", lambda *_: SimpleNamespace(stdout=log))
    said = domains.console_text({"kind": "dom0less", "domain_id": 1})
    assert said == b"vtool: domain ready\n(XEN) DOM2: made up"
    assert domains.console_text({"kind": "dom0less", "domain_id": 2}) == b""


def test_the_memory_that_xen_gave(log: str, tmp_path: Path) -> None:
    (board,) = prepare(EXAMPLE, keep=False).plan.boards
    steps = [step for proof in proofs(board) for step in proof.steps if step["id"].startswith("static-")]
    assert steps, "of one whose memory is static"
    numbers = {guest.name: guest.domain_id for guest in board.guests if isinstance(guest, XenBootGuest)}
    number = numbers[steps[0]["id"].removeprefix("static-")]
    (tmp_path / "log").write_text(log.replace("d1:", f"d{number}:"))
    (tmp_path / "xl").write_text(f"#!/bin/sh\ncat {tmp_path}/log\n")
    (tmp_path / "xl").chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", steps[0]["command"]], env=path, capture_output=True, text=True)
    assert done.stdout == "0x00000050000000-0x00000060000000\n", done.stderr
