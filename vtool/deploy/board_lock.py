"""One vtool at a board at a time: a lock on the board itself, kept by a connection that stays open.

The connection is also the one that Ansible's tasks go through, so holding the board costs no handshake.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import gzip
import json
import secrets
import shlex
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vtool.board.protocols import Board, SshTarget
from vtool.board.shell import may_not_be_root, no_answer, wrong_host_key
from vtool.deploy.asking import ON_BOARD, board_json
from vtool.deploy.connection import ssh_command
from vtool.deploy.stage import board_program
from vtool.diagnostics import VtoolError

_HEARTBEAT_S = 5.0
_CONNECT_S = 20.0
_OWNED = ("apply", "confirm", "revert", "rollback", "keep", "reboot", "clean")


@dataclass(frozen=True)
class Held:
    """A board that is ours: the token its program asks for, who and when, and ssh's control socket."""

    board: Board
    token: str
    who: str
    since: str
    control_path: Path

    @property
    def owner(self) -> str:
        """Return the options of vtool-board's changing verbs."""
        return shlex.join(["--lock", self.token, "--by", self.who, "--at", self.since])

    def run(self, verb: str, *words: str, stdin: str = "", timeout_s: float = 180.0) -> dict[str, Any]:
        """Run a verb of vtool-board over the open connection. Raises VtoolError of what it says, VT603."""
        target = self.board.ssh()
        line = shlex.join([*target.escalation, ON_BOARD, verb, *words]) + (f" {self.owner}" if verb in _OWNED else "")
        command = [*ssh_command(target, "-o", f"ControlPath={self.control_path}"), line]
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            raise no_answer(self.board, timeout_s, f"'vtool-board {verb}' did not end") from None
        if done.returncode == 255:
            raise no_answer(self.board, timeout_s, (done.stderr.strip().splitlines() or ["ssh ended"])[-1])
        if done.returncode != 0 and done.stderr.startswith("sudo: "):
            raise may_not_be_root(self.board, done.stderr)
        return board_json(done.stdout, done.stderr)


def packed(data: bytes) -> str:
    """Write bytes as a word that a shell line can carry."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def _install(program: bytes, target: SshTarget) -> str:
    """Return the command line that puts the program there; sudo permits one name beside it, root needs none."""
    root, new = "".join(f"{word} " for word in target.escalation), "$P.new" if target.escalation else "$P.$$"
    return (
        f"P={ON_BOARD}; printf %s {packed(program)} | base64 -d | gzip -d "
        f"| {root}install -m 0755 /dev/stdin {new} && {root}mv {new} $P"
    )


@contextlib.contextmanager
def hold(board: Board) -> Iterator[Held]:
    """Put the board's program there and hold the board; VtoolError VT605 says who has it and since when.

    The lock ends with this block, with this process, or a lease after the connection went silent.
    """
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    with tempfile.TemporaryDirectory(prefix="vtool-ssh-") as folder:
        held = Held(board, secrets.token_hex(8), who, since, Path(folder) / "control")
        holder = json.dumps({"token": held.token, "who": who, "since": since})
        target = board.ssh()
        hold_it = shlex.join([*target.escalation, ON_BOARD, "hold", holder])
        command = f"{_install(board_program(), target)} && exec {hold_it}"
        master = ("-o", "ControlMaster=yes", "-o", f"ControlPath={held.control_path}")
        process = subprocess.Popen(
            [*ssh_command(target, *master), command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for vtool, which lets go when it has cleaned up
        )
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        stop = threading.Event()
        beat = threading.Thread(target=_beat, args=(process, stop), daemon=True)
        try:
            said = process.stdout.readline()
            if not said:
                raise _refused(board, process.stderr.read().strip())
            board_json(said, "")
            beat.start()
            yield held
        finally:
            stop.set()
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()


def _beat(process: subprocess.Popen[str], stop: threading.Event) -> None:
    """Say now and then that this vtool lives."""
    assert process.stdin is not None
    while not stop.wait(_HEARTBEAT_S):
        try:
            process.stdin.write("\n")
            process.stdin.flush()
        except (OSError, ValueError):
            return


def _refused(board: Board, words: str) -> VtoolError:
    if "host key" in words.lower():
        return wrong_host_key(board)
    if "sudo: " in words:
        return may_not_be_root(board, words)
    return no_answer(board, _CONNECT_S, words.splitlines()[-1] if words else "ssh ended")
