"""One board over ssh, interactively: Fabric with the host key pinned.

For verbs a person waits on (status, exec, logs, console). Converging is Ansible's.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shlex
import sys
from collections.abc import Iterator
from typing import Any

from vtool.board.protocols import Board, CommandResult, SshTarget
from vtool.board.reaching import may_not_be_root, refusal, root_refused, wait_for_sshd
from vtool.diagnostics import board_failed

_NO_EXIT_CODE = -1
"""What paramiko makes of a channel that closed without one."""


class _AtOnce(io.StringIO):
    """A text that is read as a whole: invoke asks for one character every 10 ms (Runner.handle_stdin)."""

    def read(self, _: int | None = -1, /) -> str:
        """Return all that is left."""
        return super().read()


class Shell:
    """An open connection to a board's sshd."""

    def __init__(self, connection: Any, board: Board, target: SshTarget) -> None:
        self._connection = connection
        self._board = board
        self._target = target

    def as_root(self, *words: str) -> str:
        """Return the command line that runs a program with root's rights."""
        return shlex.join([*self._target.escalation, *words])

    @property
    def patience(self) -> float:
        """By what the deadlines of this board are multiplied."""
        return self._board.patience

    def run(self, command: str, *, timeout_s: float = 60.0, stdin: str = "") -> CommandResult:
        """Run a command that reads ``stdin``, and collect what it says.

        VtoolError VT603 when it takes too long or the connection ends before it does, VT626 without sudo.
        """
        import paramiko  # noqa: PLC0415
        from invoke.exceptions import CommandTimedOut, ThreadException  # noqa: PLC0415

        lost = f"the connection to board '{self._board.name}' ended while '{command[:60]}' ran"
        try:
            result = self._connection.run(command, hide=True, warn=True, timeout=timeout_s, in_stream=_AtOnce(stdin))
        except CommandTimedOut:
            raise board_failed("VT603", f"'{command[:60]}' did not end on the board within {timeout_s:.0f} s") from None
        except (OSError, EOFError, paramiko.SSHException, ThreadException):
            raise board_failed("VT603", lost) from None
        if result.exited == _NO_EXIT_CODE:
            raise board_failed("VT603", lost)
        if result.exited != 0 and root_refused(result.stderr):
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
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise refusal(board, getattr(error, "strerror", None) or str(error), deadline_s) from None
        yield Shell(connection, board, target)
