"""Where locks, sockets and working folders of running vtools are."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


def runtime_folder() -> Path:
    """Return a folder with a short path for sockets. Raises OSError where no folder can be written to."""
    own = os.environ.get("XDG_RUNTIME_DIR")
    if own and os.access(own, os.W_OK | os.X_OK):  # else it is of a session that is over, or of another user's
        return Path(own) / "vtool"
    return Path(tempfile.gettempdir()) / f"vtool-{os.getuid()}"


def own_runtime_folder() -> Path:
    """Return the folder, made if need be. Raises PermissionError where others may put things into it."""
    folder = runtime_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise PermissionError(f"'{folder}' is not a folder that only this user may write to")
    return folder


@contextlib.contextmanager
def working_folder(base: Path, prefix: str) -> Iterator[Path]:
    """Make a folder until the end of the block; remove before what processes left that were killed in theirs.

    A process has its folders locked while it lives, and a folder has its name once it is locked.
    """
    for other in base.glob(f"{prefix}*"):
        _remove_if_left(other)
    new = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=base))
    folder = new.with_name(new.name.removeprefix("."))
    lock = os.open(new, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_if_left(folder: Path) -> None:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # it is gone by now, or another user's
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass  # its process lives
    finally:
        os.close(lock)
