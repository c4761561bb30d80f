"""Which commit this vtool is: asked of git in a checkout, written down by ``hatch_build.py`` in what is built of one.

Also run by that, alone: it imports nothing of vtool. Enter at ``commit_of``.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

BUILT = "vtool/commit.txt"


def commit_of(top: Path) -> str:
    """Return the commit of what lies in a folder, with -dirty where that was changed; empty if nobody knows it."""
    built = top / BUILT
    if built.is_file():
        return built.read_text().strip()
    if not (top / ".git").exists():  # nor of a repository that merely has the folder in it
        return ""
    command = ["git", "-C", str(top), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
