"""The verbs of vtool-board: that all are there; those that units call, and for how long."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

import pytest

from vtool.cli.common import prepare
from vtool.deploy.on_board import base, domains, program, talk
from vtool.render import render

EXAMPLE = Path(__file__).parents[2] / "topology/examples/xen-driver-domain.yaml"


@pytest.mark.parametrize(
    ("said", "runs", "failure"),
    [
        ("xl devd runs", True, None),
        ("Linux version", False, "does not run"),
        ("Linux version", True, "is not ready within 1 s"),
    ],
)
def test_await(said: str, runs: bool, failure: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "console.log"
    log.write_text(f"booting\n{said}\n")
    domain = {"kind": "xen", "ready": "xl devd runs", "ready_timeout_s": 1, "console_log": str(log)}
    monkeypatch.setattr(domains, "manifest", lambda: {"domains": {"storage": domain}})
    monkeypatch.setattr(domains, "domain_runs", lambda name, domain: runs)
    arguments = argparse.Namespace(domain="storage")
    if failure is None:
        assert domains.verb_await(arguments) == {"domain": "storage"}
    else:
        with pytest.raises(base.BoardError) as caught:
            domains.verb_await(arguments)
        assert caught.value.code == "VT708" and failure in caught.value.message


def test_a_guest_that_is_slow_is_given_its_time(tmp_path: Path) -> None:
    """By who waits for it, by systemd, and by the trial: its frontend starts when it is ready."""
    topology = tmp_path / "t.yaml"
    topology.write_text(EXAMPLE.read_text().replace("  storage:\n", "  storage:\n    ready_timeout_s: 700\n"))
    files = {item.name: item.content for item in render(prepare(topology).plan.boards[0]).artifacts}
    domains = json.loads(files["manifest.json"])["domains"]
    assert {name: domain["ready_timeout_s"] for name, domain in domains.items()} == {"storage": 700, "fe0": 120}
    assert "TimeoutStartSec=760\n" in files["units/vtool-domain-storage.service"]
    assert "TimeoutStartSec=60\n" in files["units/vtool-domain-fe0.service"]
    assert "OnActiveSec=1300\n" in files["units/vtool-revert.timer"]


@pytest.mark.parametrize(
    ("shutdown", "destroyed"),
    [("ends", False), ("is refused", True), ("takes too long", True), ("is not cleaned up after", True)],
)
def test_powerdown(shutdown: str, destroyed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(*argv: str, check: bool = True, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        ran.append(argv[1])
        fails = argv[1] == "shutdown" and shutdown in ("is refused", "takes too long")
        if fails and (check or shutdown == "takes too long"):
            raise base.BoardError("VT704", f"{shutdown}, {timeout} s")
        return subprocess.CompletedProcess(argv, int(fails), "", "")

    def programs_in(unit: Path) -> set[str]:
        ran.append("look")
        looks = ran.count("look")
        return {"python3", *(["xl"] if looks < 3 or shutdown == "is not cleaned up after" else [])}

    monkeypatch.setattr(talk, "manifest", lambda: {"domains": {"fe0": {"kind": "xen"}}})
    monkeypatch.setattr(talk, "run", run)
    monkeypatch.setattr(talk, "programs_in", programs_in)
    monkeypatch.setattr(talk, "_LOOK_S", 0.001)
    talk.verb_powerdown(argparse.Namespace(domain="fe0", deadline=0.05 if "clean" in shutdown else 10.0))
    assert [word for word in ran if word != "look"] == ["shutdown", *(["destroy"] if destroyed else [])]
    if shutdown == "ends":
        assert ran == ["shutdown", "look", "look", "look"], "systemd kills what of the unit still runs after this"


def test_what_runs_in_a_unit(tmp_path: Path) -> None:
    with subprocess.Popen(["sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # or its name might still be Python's
        (tmp_path / "cgroup.procs").write_text(f"{child.pid}\n{2**30}\n")
        try:
            assert talk.programs_in(tmp_path) in ({"sh"}, {"sleep"})
        finally:
            child.kill()
    assert talk.programs_in(tmp_path / "none") == set()
    assert talk.own_control_group().is_relative_to(talk.CONTROL_GROUPS)


@pytest.mark.parametrize("name", program.VERBS)
def test_every_verb_is_where_the_table_says(name: str) -> None:
    assert program.verb(name).__doc__
    with pytest.raises(SystemExit) as ended:
        program.parse_arguments([name, "--help"])
    assert ended.value.code == 0


def test_a_verb_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.parse_arguments(["reboot-now"])
    assert "invalid choice: 'reboot-now' (choose from " in capsys.readouterr().err
