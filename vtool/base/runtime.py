"""Where locks and sockets of running vtools are."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path


def runtime_folder() -> Path:
    """Return a folder with a short path for sockets."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    owner = "" if os.environ.get("XDG_RUNTIME_DIR") else f"-{os.getuid()}"
    return Path(base) / f"vtool{owner}"


def own_runtime_folder() -> Path:
    """Return the folder, made if need be. Raises PermissionError where others may put things into it."""
    folder = runtime_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise PermissionError(f"'{folder}' is not a folder that only this user may write to")
    return folder
