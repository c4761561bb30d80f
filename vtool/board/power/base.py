"""What every power driver is made of: what an inventory says of a supply, and running a command that switches it.

A driver is a file beside this one, named like the word of the inventory that chooses it, with a ``Settings``.
"""

from __future__ import annotations

import subprocess
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from vtool.board.protocols import Power
from vtool.diagnostics import VtoolError, board_failed
from vtool.model.types import Model

_DEADLINE_S = 60


class PowerSettings(Model):
    """What an inventory says of a supply: ``driver``, a word of the driver's own, and what that needs.

    The first line of the docstring, the keys with their descriptions and ``example`` are shown in the documentation.
    """

    example: ClassVar[str]

    @abstractmethod
    def supply(self, board: str) -> Power:
        """Return the supply of a board; nothing is asked of it yet."""


def run_command(
    board: str, what: str, words: Sequence[str], codes: Sequence[int] = (0,)
) -> subprocess.CompletedProcess[str]:
    """Run a command for power ``what`` (on, off, status) without a shell, with this process's environment.

    VtoolError VT619 when it cannot be run, takes a minute, or ends with another code. What it is called with is never
    shown: a supply's password may be among it.
    """

    def failure(how: str, said: str = "") -> VtoolError:
        message = f"the command for power {what} of board '{board}' ('{Path(words[0]).name}') {how}"
        return board_failed("VT619", message, detail=said.strip().splitlines()[-5:])

    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_DEADLINE_S
        )
    except OSError as error:
        raise failure(f"cannot be run: {(error.strerror or str(error)).lower()}") from None
    except subprocess.TimeoutExpired:
        raise failure(f"did not end within {_DEADLINE_S} s") from None
    if done.returncode not in codes:
        raise failure(f"ended with {done.returncode}", done.stderr)
    return done
