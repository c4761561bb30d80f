"""A system in a folder, of which commands are asked as of a board that runs."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from vtool.board.protocols import CommandResult


class Running:
    """Its ``/sys`` and ``/proc`` are in the folder: commands name them by ``S=`` and ``P=``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def as_root(self, *words: str) -> str:
        return shlex.join(words)

    def run(self, command: str, *, timeout_s: float = 60.0) -> CommandResult:
        command = command.replace("S=/sys;", f"S={self.folder}/sys;").replace("P=/proc;", f"P={self.folder}/proc;")
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=timeout_s)
        return CommandResult(done.returncode, done.stdout, done.stderr)
