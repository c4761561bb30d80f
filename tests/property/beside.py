"""What a topology of the tests needs beside it, for those that are tried in another folder."""

from __future__ import annotations

import shutil
from pathlib import Path


def copy_beside(topology: Path, folder: Path) -> None:
    """Copy the configurations, and folders of facts, policies and images, that stand beside a topology."""
    for file in topology.parent.glob("*.config"):
        shutil.copy(file, folder)
    for beside in topology.parent.iterdir():
        if beside.is_dir():
            shutil.copytree(beside, folder / beside.name, dirs_exist_ok=True)
