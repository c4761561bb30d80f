"""Files that are on the disk: those that take another's place when they are whole, and not at all otherwise."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Give a path to write to; what is written there takes the file's place at once, when it is whole and on the disk.

    A full disk or Ctrl-C leaves what was there. A pipe or a device is written to itself. ``mode``, less the umask, is
    that of a new file. Raises OSError.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    whole = path.resolve()
    new = whole.with_name(f".{whole.name}.{secrets.token_hex(4)}")
    try:
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
        yield new
        if whole.exists():
            new.chmod(whole.stat().st_mode & 0o777)
        synced(new)
        new.replace(whole)
    finally:
        new.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file by ``replacing``, with the folders to it, for its owner alone; not where it says that already.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    with replacing(path, 0o600) as new:
        new.write_bytes(data)


def synced(path: Path) -> None:
    """Write a file or a folder through to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
