"""One board over ssh, interactively: Fabric with the host key pinned.

For verbs a person waits on (status, exec, logs, console). Converging is Ansible's.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vtool.board.protocols import Board, SshTarget
from vtool.diagnostics import VtoolError, board_failed

CONSOLE_TAIL_LINES = 15
_POWER_LOOK_S = 3.0
_NO_EXIT_CODE = -1
"""What paramiko makes of a channel that closed without one."""


@dataclass(frozen=True)
class CommandResult:
    """What a command on the board said."""

    code: int
    stdout: str
    stderr: str


class Shell:
    """An open connection to a board's sshd."""

    def __init__(self, connection: Any, board: Board, target: SshTarget) -> None:
        self._connection = connection
        self._board = board
        self._target = target

    def as_root(self, *words: str) -> str:
        """Return the command line that runs a program with root's rights."""
        return shlex.join([*self._target.escalation, *words])

    def run(self, command: str, *, timeout_s: float = 60.0) -> CommandResult:
        """Run a command and collect what it says.

        VtoolError VT603 when it takes too long or the connection ends before it does, VT626 without sudo.
        """
        import paramiko  # noqa: PLC0415
        from invoke.exceptions import CommandTimedOut, ThreadException  # noqa: PLC0415

        lost = f"the connection to board '{self._board.name}' ended while '{command[:60]}' ran"
        try:
            result = self._connection.run(command, hide=True, warn=True, timeout=timeout_s, in_stream=io.StringIO())
        except CommandTimedOut:
            raise board_failed("VT603", f"'{command[:60]}' did not end on the board within {timeout_s:.0f} s") from None
        except (OSError, EOFError, paramiko.SSHException, ThreadException):
            raise board_failed("VT603", lost) from None
        if result.exited == _NO_EXIT_CODE:
            raise board_failed("VT603", lost)
        if result.exited != 0 and result.stderr.startswith("sudo: "):
            raise may_not_be_root(self._board, result.stderr)
        return CommandResult(result.exited, result.stdout, result.stderr)

    def attach(self, command: str) -> int:
        """Run a command on the user's terminal until it ends; return its exit code."""
        return int(self._connection.run(command, pty=sys.stdin.isatty(), warn=True).exited)


@contextlib.contextmanager
def open_shell(board: Board, deadline_s: float = 20.0) -> Iterator[Shell]:
    """Connect to a board. VtoolError VT603 when it does not answer in time, VT604 on a wrong host key."""
    import paramiko  # noqa: PLC0415
    from fabric import Config, Connection  # noqa: PLC0415

    # What it cannot do it raises; it would print it, too, with a traceback.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    target = board.ssh()
    wait_for_sshd(board, target, deadline_s)
    identity = {"key_filename": str(target.identity_file)} if target.identity_file else {}
    config = Config(overrides={"load_ssh_configs": False}, lazy=True)
    with Connection(
        target.host,
        user=target.user,
        port=target.port,
        config=config,
        connect_timeout=int(deadline_s),
        connect_kwargs={
            **identity,
            "look_for_keys": False,
            "allow_agent": target.identity_file is None,
        },
    ) as connection:
        connection.client.load_host_keys(str(target.known_hosts_file))
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            connection.open()
        except (paramiko.BadHostKeyException, paramiko.SSHException) as error:
            raise _refused(board, error) from None
        except (OSError, EOFError) as error:
            raise no_answer(board, deadline_s, str(error) or "the connection ended") from None
        yield Shell(connection, board, target)


def may_not_be_root(board: Board, said: str) -> VtoolError:
    """Make the error for a user whom sudo refuses, or asks for a password."""
    target = board.ssh()
    return board_failed(
        "VT626",
        f"user '{target.user}' may not become root on board '{board.name}' for what vtool has to do",
        hints=("vtool never sends a password; docs/how-to/reach-boards.md has the line for sudoers",),
        detail=said.strip().splitlines()[-3:],
    )


def _refused(board: Board, error: Exception) -> VtoolError:
    import paramiko  # noqa: PLC0415

    if isinstance(error, paramiko.BadHostKeyException) or "not found in known_hosts" in str(error):
        return wrong_host_key(board)
    return board_failed("VT603", f"board '{board.name}' refuses the connection: {error}")


def wrong_host_key(board: Board) -> VtoolError:
    """Make the error for a board that shows another host key than the pinned one."""
    target = board.ssh()
    if target.pinned:
        message = f"board '{board.name}' shows a different host key from the one pinned in {target.pinned}"
        why = "another machine answers at this address, or the board was set up again"
        what = "if you know why it changed, replace the key there; nothing was sent to the board"
    else:
        message = f"board '{board.name}' shows a different host key from the one that it was made with"
        why = f"another program answers at port {target.port} of this machine; nothing was sent to it"
        what = f"`vtool board power cycle {board.words}` starts the board again, at another port"
    return board_failed("VT604", message, hints=(why, what))


def no_answer(board: Board, deadline_s: float, reason: str) -> VtoolError:
    """Make the error for a board that does not answer, with its console's tail."""
    return board_failed(
        "VT603",
        f"board '{board.name}' does not answer on ssh within {deadline_s:.0f} s ({reason})",
        hints=(f"watch it: vtool board console {board.words}",) if board.console.can_join else (),
        detail=board.console.tail(CONSOLE_TAIL_LINES),
    )


def wait_for_sshd(board: Board, target: SshTarget, deadline_s: float) -> None:
    """Wait until the board's sshd greets; VtoolError VT603 with the console's tail past the deadline."""
    deadline = time.monotonic() + deadline_s
    look = 0.0
    reason = "nothing listens"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((target.host, target.port), timeout=2.0) as probe:
                probe.settimeout(min(5.0, max(0.1, deadline - time.monotonic())))
                if probe.recv(64).startswith(b"SSH-"):
                    return
                reason = "no ssh greeting"
        except OSError as error:
            reason = str(error) or type(error).__name__
        if time.monotonic() >= look:  # a supply may be a web page: ask it now and then
            look = time.monotonic() + _POWER_LOOK_S
            if not board.power.is_on():
                raise no_answer(board, deadline_s, "it is off")
        time.sleep(0.3)  # between two looks at a port; the loop has the deadline
    raise no_answer(board, deadline_s, reason)
