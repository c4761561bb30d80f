"""What a topology of the tests needs beside it, for those that are tried in another folder."""

from __future__ import annotations

import shutil
from pathlib import Path


def copy_beside(topology: Path, folder: Path) -> None:
    """Copy the configurations, facts and policies that stand beside a topology into another folder."""
    for file in topology.parent.glob("*.config"):
        shutil.copy(file, folder)
    for name in ("facts", "policies"):
        if (beside := topology.parent / name).is_dir():
            shutil.copytree(beside, folder / name, dirs_exist_ok=True)
