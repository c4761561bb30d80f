"""Files that are on the disk: those that take another's place when they are whole, and not at all otherwise."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to; what is written there takes the file's place at once, when it is whole and on the disk.

    A full disk or Ctrl-C leaves what was there. A pipe or a device is written to itself. Raises OSError.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    whole = path.resolve()
    new = whole.with_name(f".{whole.name}.{os.getpid()}")
    try:
        new.open("xb").close()
        yield new
        if whole.exists():
            new.chmod(whole.stat().st_mode & 0o777)
        synced(new)
        new.replace(whole)
    finally:
        new.unlink(missing_ok=True)


def synced(path: Path) -> None:
    """Write a file or a folder through to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
