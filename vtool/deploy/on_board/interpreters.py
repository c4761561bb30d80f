"""Interpreters that vtool brought: one that another took the place of is removed once a generation is confirmed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .base import FOLDER

HOME = FOLDER / "python"


def collect(home: Path = HOME) -> None:
    """Remove what the link to the one that is used does not lead to."""
    link = home / "python3"
    if not link.is_symlink():
        return
    used = os.readlink(link).split("/")[0]
    for item in home.iterdir():
        if item.name in (link.name, used):
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item, ignore_errors=True)
        else:
            item.unlink()
