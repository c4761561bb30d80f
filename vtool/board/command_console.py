"""A console by what this machine has of it: a log that another program keeps, a command that joins it.

The command runs without a shell, with this process's environment. What it is called with is never shown: a password may
be among it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from vtool.board.console_log import tail_of
from vtool.diagnostics import board_failed


class CommandConsole:
    """A console that another program logs, that a command joins, or both."""

    def __init__(self, board: str, log: Path | None, join: tuple[str, ...] | None) -> None:
        self._board = board
        self._log = log
        self._join = join

    @property
    def can_join(self) -> bool:
        """Whether there is a command that joins it."""
        return self._join is not None

    def log_path(self) -> Path | None:
        """Return the log, where there is one."""
        return self._log

    def tail(self, lines: int) -> tuple[str, ...]:
        """Return the last lines of the log."""
        return tail_of(self._log, lines) if self._log else ()

    def interact(self) -> int:
        """Run the command on the user's terminal; returns its exit code. VtoolError VT619 when it cannot be run."""
        assert self._join is not None
        try:
            return subprocess.run(self._join, check=False).returncode
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            program = Path(self._join[0]).name
            message = f"the command that joins the console of board '{self._board}' ('{program}') cannot be run"
            raise board_failed("VT619", f"{message}: {reason}") from None
