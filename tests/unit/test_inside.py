"""Getting into guests that are not vtool's: a real shell behind a console, behind a login, or none at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vtool.deploy.on_board import inside, talk
from vtool.deploy.on_board.base import BoardError
from vtool.deploy.on_board.inside import Inside, NotLookedAt
from vtool.deploy.on_board.program import answer
from vtool.deploy.on_board.reach import PLANT, UPROOT

GETTY = """
import getpass, os, subprocess, sys
os.setsid()
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
shell, secret = sys.argv[1:3]
while True:
    print("Debian GNU/Linux 13 guest ttyAMA0\\n", flush=True)
    user = ""
    while not user:
        sys.stdout.write("guest login: "); sys.stdout.flush()
        user = sys.stdin.readline().strip()
    if getpass.getpass("Password: ", sys.stdout) != secret or user != "root":
        print("Login incorrect\\n", flush=True)
        continue
    print("Linux guest 6.12 aarch64", flush=True)
    subprocess.run(shell.split())
"""
SECRET = "s3cr3t of a guest"
LOGIN = {"by": "login", "user": "root", "password": True, "prompt": "login: ", "password_prompt": "Password: "}


class Guest:
    """A console as QEMU gives it: a socket to which one at a time connects, and a log of everything."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.log = b""
        here, there = pty.openpty()
        self.process = subprocess.Popen(command, stdin=there, stdout=there, stderr=there, close_fds=True)
        os.close(there)
        self.path, self.here = folder / "console.sock", here
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(self.path))
        self.server.listen()
        self.peer: socket.socket | None = None
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.says, self.takes)]
        for thread in self.threads:
            thread.start()

    def says(self) -> None:
        while True:
            try:
                data = os.read(self.here, 65536)
            except OSError:
                return
            self.log += data
            if self.peer is not None:
                try:
                    self.peer.sendall(data)
                except OSError:
                    self.peer = None

    def takes(self) -> None:
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            with peer, contextlib.suppress(OSError):  # who has left
                self.peer = peer
                while data := peer.recv(65536):
                    os.write(self.here, data)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        for thread in self.threads:
            thread.join(10)
        os.close(self.here)


@pytest.fixture
def a_guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make a guest with an `access` in its manifest, whose console a command serves."""
    monkeypatch.setattr(inside, "_FOLDERS", f"{tmp_path} /dev/shm")
    made: list[Guest] = []

    def make(access: dict[str, Any] | None, *command: str) -> Guest:
        guest = Guest(tmp_path, list(command))
        made.append(guest)
        domain = {"kind": "kvm", "console": str(guest.path), **({"access": access} if access else {})}
        for module in (talk, inside):
            monkeypatch.setattr(module, "deployed_domain", lambda _: domain)
        return guest

    yield make
    for guest in made:
        guest.end()


def getty(shell: str) -> list[str]:
    return [sys.executable, "-c", GETTY, shell, SECRET]


@pytest.mark.parametrize("shell", ["bash --norc", "dash", "busybox sh"])
def test_commands_run_after_a_login_and_a_logout_follows(shell: str, a_guest: Any) -> None:
    guest = a_guest(LOGIN, *getty(shell))
    with Inside({"fe0": SECRET}) as shells:
        assert shells.run("fe0", "echo $((6 * 7))", 20)["output"].strip() == "42"
        assert shells.run("fe0", "exit 3", 20)["code"] == 3
        planted = shells.run("fe0", f"{PLANT}\nsha256sum /tmp/.vtool-reach/control; {UPROOT}", 60)
    seed, digest = planted["output"].split()[:2]
    control = hashlib.sha256(f"control {seed}".encode()).digest()
    assert digest == hashlib.sha256(control * 32768).hexdigest(), "of what both sides derive"
    assert guest.log.count(b"guest login: root") == 1 and SECRET.encode() not in guest.log
    with Inside({"fe0": SECRET}) as shells:
        assert shells.run("fe0", "echo again", 20)["output"].strip() == "again"
    assert guest.log.count(b"guest login: root") == 2, "it had logged out"


def test_a_wrong_password_is_a_failure_without_the_password(a_guest: Any) -> None:
    guest = a_guest(LOGIN, *getty("dash"))
    with Inside({"fe0": "another one"}) as shells:
        for _ in range(2):
            with pytest.raises(BoardError) as caught:
                shells.run("fe0", "true", 20)
            assert caught.value.code == "VT486" and "another one" not in str(caught.value.to_json())
    assert guest.log.count(b"guest login: root") == 1, "it was tried once"


def test_without_a_password_nobody_knocks(a_guest: Any) -> None:
    guest = a_guest(LOGIN, *getty("dash"))
    with Inside() as shells, pytest.raises(NotLookedAt, match="nobody gave the password"):
        shells.run("fe0", "true", 20)
    assert b"root" not in guest.log


def test_a_shell_that_is_there_is_used_and_left_as_it_is(a_guest: Any) -> None:
    guest = a_guest({"by": "prompt"}, "env", "PS1=root@board:~# ", "bash", "--norc", "--noprofile", "-i")
    with Inside() as shells:
        assert shells.run("fe0", "echo $((6 * 7))", 20)["output"].strip() == "42"
    assert guest.process.poll() is None


@pytest.mark.parametrize(
    ("access", "why"),
    [({"by": "prompt"}, "shows no prompt of root's"), ({"by": "none"}, "nobody gets into domain 'fe0'")],
)
def test_a_guest_that_shows_no_shell_is_left_alone(
    access: dict[str, Any], why: str, a_guest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "PROMPT_S", 2.0)
    guest = a_guest(access, *getty("dash"))
    with Inside() as shells, pytest.raises(NotLookedAt, match=why):
        shells.run("fe0", "touch /never", 20)
    assert b"VT-" not in guest.log and b"touch" not in guest.log


def test_what_is_missing_is_a_reason_not_to_look(a_guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "_TOOLS", ("dd", "devmemory"))
    a_guest({"by": "prompt"}, "env", "PS1=# ", "dash", "-i")
    with Inside() as shells:
        assert shells.run("fe0", "dd --version >/dev/null && echo here", 20)["output"].strip() == "here"
        with pytest.raises(NotLookedAt, match="has no devmemory"):
            shells.run("fe0", "devmemory 0x1000", 20)


def test_what_stands_in_for_busybox(a_guest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest with coreutils and perl: no usleep, and a nc that would not end its half of a connection."""
    a_guest({"by": "prompt"}, "env", "PS1=# ", "bash", "--norc", "-i")
    with Inside() as shells:
        assert shells.run("fe0", "usleep 10000 && echo slept", 20)["output"].strip() == "slept"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        serve = f"(echo served | nc -l -p {port} >/dev/null 2>&1 &); echo ok"
        assert shells.run("fe0", serve, 20)["output"].strip() == "ok"
        with connected(port) as connection:
            assert connection.makefile().read() == "served\n", "and it ended"
        with socket.create_server(("127.0.0.1", 0)) as server:
            listener = threading.Thread(target=lambda: sends(server), daemon=True)
            listener.start()
            fetch = f"rm -f /tmp/f; mknod /tmp/f p; exec 3<>/tmp/f; nc 127.0.0.1 {server.getsockname()[1]} <&3"
            assert shells.run("fe0", f"{fetch}; rm /tmp/f", 20)["output"].strip() == "sent"


def sends(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(b"sent\n")


def connected(port: int) -> socket.socket:
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            threading.Event().wait(0.1)
    raise AssertionError("nobody listens")


def test_a_guest_of_vtools_is_asked_as_ever(a_guest: Any) -> None:
    a_guest(None, "sh", "-i")
    with Inside() as shells:
        assert shells.run("fe0", "echo alive", 20)["output"].strip() == "alive"


# -- ssh

FAKE_SSH = """#!/bin/sh
# What ssh would do, on this machine: the key is looked at, the last word is run by a shell.
for word; do
    [ "$before" = -i ] && { stat -c %a "$word"; cat "$word"; } >> $LOG
    [ "$before" = -o ] && echo "$word" >> $LOG
    case $word in UserKnownHostsFile=*) cat "${word#*=}" >> $LOG ;; esac
    before=$word
done
echo "at $*" | head -n 1 >> $LOG
[ -e "$LOG.refused" ] && { echo "root@192.0.2.2: Permission denied (publickey)." >&2; exit 255; }
[ -e "$LOG.gone" ] && { echo "ssh: connect to host: No route to host" >&2; exit 255; }
exec sh -c "$before"
"""
SSH = {"by": "ssh", "user": "root", "address": "192.0.2.2", "port": 2222, "host_key": "ssh-ed25519 AAAAkey"}


@pytest.fixture
def ssh_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "ssh").write_text(FAKE_SSH)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setattr(inside, "_MEMORY", str(tmp_path))
    monkeypatch.setattr(inside, "deployed_domain", lambda _: {"kind": "kvm", "access": SSH})
    return tmp_path / "log"


def test_commands_run_by_ssh_and_the_key_goes_with_the_request(ssh_log: Path) -> None:
    with Inside({"fe0": SECRET}) as shells:
        assert shells.run("fe0", "usleep 1000; echo $((6 * 7))", 20)["output"].strip() == "42"
        assert shells.run("fe0", "exit 3", 20)["code"] == 3
    log = ssh_log.read_text()
    assert log.startswith("UserKnownHostsFile=") and f"600\n{SECRET}\n" in log
    assert "[192.0.2.2]:2222 ssh-ed25519 AAAAkey" in log and "StrictHostKeyChecking=yes" in log
    assert "-p 2222 -l root -- 192.0.2.2" in log
    assert nothing_left(ssh_log)


def nothing_left(ssh_log: Path) -> bool:
    """Whether there is no folder with a key any more."""
    return not [path for path in ssh_log.parent.iterdir() if path.is_dir()]


def test_a_key_that_is_refused_is_tried_once(ssh_log: Path) -> None:
    ssh_log.with_name("log.refused").touch()
    with Inside({"fe0": SECRET}) as shells:
        for _ in range(2):
            with pytest.raises(BoardError, match="lets user 'root' in by no key") as caught:
                shells.run("fe0", "true", 20)
            assert caught.value.code == "VT486" and SECRET not in str(caught.value.to_json())
        assert nothing_left(ssh_log), "before it is left, too"
    assert ssh_log.read_text().count("at -F") == 1


def test_without_a_key_or_a_client_nobody_looks(ssh_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Inside() as shells, pytest.raises(NotLookedAt, match="nobody gave the key of 'root'"):
        shells.run("fe0", "true", 20)
    monkeypatch.setattr(inside.shutil, "which", lambda _: None)
    with Inside({"fe0": SECRET}) as shells, pytest.raises(NotLookedAt, match="the board has no ssh client"):
        shells.run("fe0", "true", 20)
    assert not ssh_log.exists()


def test_a_guest_that_ssh_does_not_reach_is_a_failure(ssh_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "TO_ENTER_S", 0.5)
    ssh_log.with_name("log.gone").touch()
    with Inside({"fe0": SECRET}) as shells, pytest.raises(BoardError, match="ssh does not reach") as caught:
        shells.run("fe0", "true", 20)
    assert caught.value.code == "VT710" and not isinstance(caught.value, NotLookedAt)
    assert nothing_left(ssh_log)


# -- one command


def asked(command: str, *, secret: str | None = None) -> dict[str, Any]:
    words = ["exec", "fe0", command, *(["--secret"] if secret is not None else [])]
    return answer({"id": "1", "words": words, "stdin": secret or ""}, io.BytesIO())["said"]  # type: ignore[arg-type]


def test_exec_logs_in_as_a_proof_does_and_runs_what_is_written(a_guest: Any, tmp_path: Path) -> None:
    guest = a_guest(LOGIN, *getty("dash"))
    kept = tmp_path / "kept"
    assert asked(f"echo /tmp/x > {kept}; nosuchtool; exit 4", secret=SECRET)["code"] == 4
    assert kept.read_text() == "/tmp/x\n", "no other folder, as a proof's commands have"
    assert guest.log.count(b"guest login: root") == 1 and SECRET.encode() not in guest.log


def test_exec_without_a_password_says_where_one_is_looked_for(a_guest: Any) -> None:
    guest = a_guest(LOGIN, *getty("dash"))
    error = asked("true")["error"]
    assert error["code"] == "VT485" and "nobody gave the password of 'root' of domain 'fe0'" in error["message"]
    assert "--topology" in error["hints"][0] and b"root" not in guest.log
    assert asked("true", secret="another one")["error"]["code"] == "VT486"


def test_exec_into_a_guest_that_nobody_gets_into(a_guest: Any) -> None:
    a_guest({"by": "none"}, *getty("dash"))
    error = asked("true")["error"]
    assert (error["code"], error["hints"]) == ("VT485", [])


def test_exec_by_ssh(ssh_log: Path) -> None:
    assert asked("echo $((6 * 7))", secret=SECRET)["output"] == "42\n"
    assert "--topology" in asked("true")["error"]["hints"][0] and nothing_left(ssh_log)
