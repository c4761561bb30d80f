"""Deployed and verified over ssh: a guest behind a getty, by a login or without one. The guest is a stand-in."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.fleet import MOUNTS, Fleet
from tests.unit.test_inside import SECRET, Guest, getty

from .machine import Machine, make_key, sshd_folder, why_not
from .racks import OWN_LOG, ROOT, OneBoard, Racks

RACK = "rack1"
SHELL = ("domain fe0", "its shell answers")


class OneGuest(OneBoard):
    """A topology whose one guest has an `access` that is to be tried."""

    access = ""

    def _topology(self) -> str:
        plain = "kernel: ./guest-kernel, access: shell"
        mine = f"kernel: ./guest-kernel, ready: 'vtool: domain ready'{self.access}"
        return super()._topology().replace(plain, mine)


@pytest.fixture
def board() -> Iterator[tuple[Racks, OneGuest, Guest]]:
    if reason := why_not():
        pytest.skip(reason)
    with sshd_folder() as (folder, stack):
        source = OneGuest(folder, 1)
        source.names = [RACK]
        source.write()
        (folder / "pw.txt").write_text(f"{SECRET}\n")
        lab = Racks(Fleet(folder, source, stack, MOUNTS + OWN_LOG))
        machine = lab.fleet.machines[RACK].folder
        words = [sys.executable, "-m", "tests.integration.guest_of_shell", "fe0", str(machine)]
        monitor = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE)
        stack.callback(monitor.wait)
        stack.callback(monitor.kill)
        assert monitor.stdout is not None
        stack.callback(monitor.stdout.close)
        assert monitor.stdout.readline() == b"ready\n"
        sockets = machine / "run" / "vtool" / "domain-fe0"
        (sockets / "console.sock").unlink()
        guest = Guest(sockets, getty("bash --norc"))
        stack.callback(guest.end)
        yield lab, source, guest


def asked(lab: Racks, verb: str, code: int = 0) -> tuple[dict[str, Any], str]:
    folder = lab.folder
    inventory = ["--inventory", str(folder / "vtool.yaml"), "--use", f"board0={RACK}", "--format", "json"]
    words = [sys.executable, "-m", "vtool.cli.main", verb, str(folder / "topology.yaml"), *inventory]
    # Ansible refuses the locale that cron and containers have.
    environment = {**lab.environment, "LC_ALL": "C"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    assert done.returncode == code and "Traceback" not in said, said
    report: dict[str, Any] = json.loads(done.stdout)[0]
    return {(row["subject"], row["what"]): row for row in report["rows"]}, said


def executed(lab: Racks, *options: str, guest: str = "fe0") -> subprocess.CompletedProcess[str]:
    """Run a command in a guest as a person does."""
    inventory = ("--inventory", str(lab.folder / "vtool.yaml"), "--board", RACK)
    words = [
        sys.executable,
        "-m",
        "vtool.cli.main",
        "exec",
        *inventory,
        *options,
        guest,
        "--",
        "echo $((6 * 7)); exit 5",
    ]
    return subprocess.run(words, env=lab.environment, capture_output=True, text=True, timeout=300)


def test_by_a_login(board: tuple[Racks, OneGuest, Guest]) -> None:
    lab, source, guest = board
    source.access = ", access: {login: {password_file: pw.txt}}, proof: {require: [unit, console]}"
    source.write()
    for verb in ("deploy", "verify"):
        rows, said = asked(lab, verb)
        assert rows[SHELL]["seen"] == "alive" and rows["domain fe0", "its console said"]["proven"]
        assert SECRET not in said
    assert guest.log.count(b"login: root") == 2 and SECRET.encode() not in guest.log
    done = executed(lab, "--topology", str(lab.folder / "topology.yaml"))
    assert (done.returncode, done.stdout) == (5, "42\n"), done.stderr
    assert guest.log.count(b"login: root") == 3 and SECRET.encode() not in guest.log
    refused = executed(lab)
    assert refused.returncode == 3 and "error[VT485]: nobody gave the password" in refused.stderr
    unknown = executed(lab, "--topology", str(lab.folder / "topology.yaml"), guest="fe9")
    assert unknown.returncode == 2 and "error[VT441]: no guest 'fe9' in the topology" in unknown.stderr
    assert guest.log.count(b"login: root") == 3
    kept = subprocess.run(["grep", "-rlF", SECRET, str(lab.folder)], capture_output=True, text=True).stdout
    assert kept.split() == [str(lab.folder / "pw.txt")], "nothing on the board or beside the topology has it"


@pytest.mark.parametrize(
    ("access", "why"), [(", access: none", "nobody gets into domain 'fe0'"), ("", "shows no prompt of root's")]
)
def test_nobody_gets_in_and_it_is_deployed(access: str, why: str, board: tuple[Racks, OneGuest, Guest]) -> None:
    lab, source, guest = board
    source.access = access
    source.write()
    rows, _ = asked(lab, "deploy")
    assert rows[SHELL]["noted"] and why in rows[SHELL]["seen"]
    assert b"login: root" not in guest.log and b"VT-" not in guest.log


def test_a_wrong_password_proves_nothing(board: tuple[Racks, OneGuest, Guest]) -> None:
    lab, source, _ = board
    source.access = ", access: {login: {password_env: GUEST_PW}}"
    source.write()
    lab.environment["GUEST_PW"] = SECRET
    asked(lab, "deploy")
    lab.environment["GUEST_PW"] = "quite another"
    rows, said = asked(lab, "verify", code=3)
    assert not (rows[SHELL]["proven"] or rows[SHELL]["noted"])
    assert "lets user 'root' in by no login" in said and "quite another" not in said


@pytest.fixture
def guest_by_ssh(board: tuple[Racks, OneGuest, Guest]) -> Iterator[Machine]:
    """Make a sshd that stands for the guest's, and a key of its user beside the topology."""
    folder = board[0].folder / "guest"
    folder.mkdir(mode=0o755)
    machine = Machine(folder)
    machine.on()
    shutil.copy(machine.identity, board[0].folder / "guest_key")
    yield machine
    machine.off()


def test_by_ssh(board: tuple[Racks, OneGuest, Guest], guest_by_ssh: Machine) -> None:
    lab, source, guest = board
    way = f"user: root, address: 127.0.0.1, port: {guest_by_ssh.port}, key_file: guest_key"
    source.access = f', access: {{ssh: {{{way}, host_key: "{guest_by_ssh.host_key}"}}}}'
    source.write()
    for verb in ("deploy", "verify"):
        rows, _ = asked(lab, verb)
        assert rows[SHELL]["seen"] == "alive"
    done = executed(lab, "--topology", str(lab.folder / "topology.yaml"))
    assert (done.returncode, done.stdout) == (5, "42\n"), done.stderr
    assert b"VT-" not in guest.log, "nobody typed at its console"
    (lab.folder / "guest_key").unlink()
    make_key(lab.folder / "guest_key")
    rows, _ = asked(lab, "verify", code=3)
    assert not (rows[SHELL]["proven"] or rows[SHELL]["noted"])
    assert "lets user 'root' in by no key" in " ".join(rows[SHELL]["detail"])
    assert not list((lab.fleet.machines[RACK].folder / "run").glob("vtool-ssh-*")), "no key is left on the board"
