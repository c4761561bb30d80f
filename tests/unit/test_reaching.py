"""Why a board cannot be reached, or not as root, in the words of OpenSSH, paramiko and sudo: one failure for each."""

from __future__ import annotations

import base64
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from vtool.base.progress import Silent
from vtool.board.inventory import Inventory
from vtool.board.protocols import Board
from vtool.board.qemu_process import free_port
from vtool.board.reaching import refusal, root_refused, wait_for_sshd
from vtool.diagnostics import VtoolError

CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
Host key for [127.0.0.1]:22 has changed and you have requested strict checking.\r
Host key verification failed.\r
"""
UNKNOWN = """No ED25519 host key is known for [127.0.0.1]:22 and you have requested strict checking.\r
Host key verification failed.\r
"""
TAKES_NONE = "board 'rack1' refuses the connection: it lets user 'vtool' in with no key that was shown"
SILENT = "board 'rack1' does not answer on ssh within 20 s (%s)"


@pytest.fixture
def board(tmp_path: Path) -> Board:
    blob = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()
    (tmp_path / "known").write_text(f"board.example ssh-ed25519 {blob}\n")
    path = tmp_path / "inventory.yaml"
    entry = "{driver: ssh, facts: rpi4, host: board.example, user: vtool, known_hosts_file: known}"
    path.write_text(f"version: 1\nboards:\n  rack1: {entry}\n")
    return Inventory(path).board("rack1")


@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        (CHANGED, "VT604", ""),
        (UNKNOWN, "VT604", ""),
        ("Host key for server '[127.0.0.1]:22' does not match: got 'AAAA', expected 'BBBB'", "VT604", ""),
        ("Server '[127.0.0.1]:22' not found in known_hosts", "VT604", ""),
        ("vtool@board.example: Permission denied (publickey).\r\n", "VT603", TAKES_NONE),
        ("Authentication failed.", "VT603", TAKES_NONE),
        ("No authentication methods available", "VT603", TAKES_NONE),
        ("ssh: connect to host ::1 port 22: Connection refused\r\n", "VT603", SILENT % "Connection refused"),
        ("Connection refused", "VT603", SILENT % "Connection refused"),
        ("ssh: Could not resolve hostname b: Name or service not known", "VT603", SILENT % "Name or service not known"),
        ("Unable to negotiate: no matching host key type found.", "VT603", SILENT % "Unable to negotiate: no matching "
         "host key type found."),
        ("", "VT603", SILENT % "the connection ended"),
        ("sudo: a password is required\n", "VT626", ""),
        ("vtool is not in the sudoers file.  This incident will be reported.\n", "VT626", ""),
        ("Sorry, user vtool is not allowed to execute '/usr/bin/id' as root on b.\n", "VT626", ""),
        ("Sorry, user vtool may not run sudo on b.\n", "VT626", ""),
        ("sh: 1: sudo: not found\n", "VT626", ""),
        ("bash: line 1: sudo: command not found\n", "VT626", ""),
    ],
)  # fmt: skip
def test_what_was_said_is_one_failure(said: str, code: str, message: str, board: Board) -> None:
    found = refusal(board, said, 20.0).diagnostics[0]
    assert found.code == code and found.message == (message or found.message)
    assert root_refused(said) == (code == "VT626")


@pytest.mark.parametrize("said", ["", "pseudo: no such device\n", "tar: /etc/sudoers: Cannot open\n", "no host key\n"])
def test_what_only_looks_alike_is_none(said: str, board: Board) -> None:
    assert not root_refused(said)
    assert refusal(board, said, 20.0).diagnostics[0].code == "VT603"


class Told(Silent):
    def __init__(self) -> None:
        self.waits_for: list[str] = []

    def waits(self, what: str) -> None:
        self.waits_for.append(what)


def test_a_wait_is_told_once_when_it_begins(board: Board) -> None:
    told, port = Told(), free_port()
    target = replace(board.ssh(), host="127.0.0.1", port=port)
    with pytest.raises(VtoolError, match="does not answer on ssh within 1 s"):
        wait_for_sshd(board, target, 1.0, told)
    where = f"127.0.0.1 port {port}"
    assert told.waits_for == [f"board 'rack1' to answer at {where}, 1 s at most (Connection refused)"]


def test_who_answers_is_not_waited_for(board: Board) -> None:
    told = Told()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        target = replace(board.ssh(), host="127.0.0.1", port=listening.getsockname()[1])

        def greet() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"SSH-2.0-test\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        wait_for_sshd(board, target, 10.0, told)
        thread.join()
    assert told.waits_for == []
