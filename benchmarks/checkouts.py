"""Two checkouts of the project, this and an older one, each run by this interpreter with what is installed for it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parents[1]
"""The checkout that this benchmark is a part of."""


class Measured(NamedTuple):
    """What one process took: seconds of processor time (user and system), and the most memory it had at a time."""

    seconds: float
    peak_bytes: int
    output: bytes


def measured(arguments: Sequence[str | Path], checkout: Path = HERE) -> Measured:
    """Run this interpreter in a checkout's folder, which it imports from first. Raises as ``measured_command``."""
    return measured_command([sys.executable, *arguments], checkout)


def measured_command(words: Sequence[str | Path], folder: Path) -> Measured:
    """Run a command in a folder, with bytecode caches. Raises CalledProcessError if it fails, and prints what it said.

    Processor time, that of its own children with it, is unlike time on the wall little disturbed by what else the
    machine does.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = list(map(str, words))
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=said, env=environment) as process,
    ):
        assert process.stdout is not None
        output = process.stdout.read()
        # Of this one child, where getrusage has the largest of all children so far.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            print(said.read().decode(errors="replace"), file=sys.stderr)
            raise subprocess.CalledProcessError(process.returncode, command)
    return Measured(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, output)
