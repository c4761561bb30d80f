"""Power and console by commands of this machine: whatever switches the board, whatever joins its console.

Commands run without a shell, with this process's environment. What they are called with is never shown:
a supply's password may be among it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from vtool.board.console_log import tail_of
from vtool.board.inventory_file import PowerCommands
from vtool.diagnostics import VtoolError, board_failed

_DEADLINE_S = 60


class CommandPower:
    """A supply that three commands switch and ask."""

    can_switch = True

    def __init__(self, board: str, commands: PowerCommands) -> None:
        self._board = board
        self._commands = commands

    def on(self) -> None:
        """Run the command for on; VtoolError VT619."""
        self._expect("on", self._commands.on, (0,))

    def off(self) -> None:
        """Run the command for off; VtoolError VT619."""
        self._expect("off", self._commands.off, (0,))

    def is_on(self) -> bool:
        """Whether the command that asks says so: 0 is on, 1 is off, anything else VtoolError VT619."""
        return self._expect("status", self._commands.status, (0, 1)) == 0

    def _expect(self, what: str, words: tuple[str, ...], codes: tuple[int, ...]) -> int:
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_DEADLINE_S
            )
        except OSError as error:
            raise self._failure(what, words[0], f"cannot be run: {(error.strerror or str(error)).lower()}") from None
        except subprocess.TimeoutExpired:
            raise self._failure(what, words[0], f"did not end within {_DEADLINE_S} s") from None
        if done.returncode not in codes:
            raise self._failure(what, words[0], f"ended with {done.returncode}", done.stderr)
        return done.returncode

    def _failure(self, what: str, program: str, how: str, said: str = "") -> VtoolError:
        message = f"the command for power {what} of board '{self._board}' ('{Path(program).name}') {how}"
        return board_failed("VT619", message, detail=said.strip().splitlines()[-5:])


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
