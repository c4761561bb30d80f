"""Files that users name: read only when they are regular files, so that no verb waits for one or reads without end.

A pipe, socket or device is refused as what it is, as OSError, whose ``strerror`` says so in words. Enter at
``read_regular``.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 64 << 20
"""What is read whole (a topology, a device tree, a hypervisor) is never so large."""
_OTHERS = (
    (stat.S_ISDIR, errno.EISDIR, "it is a directory"),
    (stat.S_ISFIFO, errno.EINVAL, "it is a named pipe (FIFO)"),
    (stat.S_ISCHR, errno.EINVAL, "it is a character device"),
    (stat.S_ISBLK, errno.EINVAL, "it is a block device"),
    (stat.S_ISSOCK, errno.EINVAL, "it is a socket"),
)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading. OSError for one that is missing or no regular file; never waits."""
    _refuse_others(path, path.stat().st_mode)
    # Should it be exchanged just now, O_NONBLOCK: opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _refuse_others(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return the content of a regular file. OSError as ``open_regular``, and for more than ``most`` bytes."""
    with open_regular(path) as file:
        data = file.read(most + 1) or b""  # nothing yet, of a file of the kernel's
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most >> 20} MiB", str(path))
    return data


def read_text(path: Path) -> str:
    """Return the text of a regular file in UTF-8. OSError as ``read_regular``, UnicodeDecodeError for what is none."""
    return read_regular(path).decode("utf-8")


def fault_of(path: Path) -> str | None:
    """Return why a file cannot be opened, in words; None for a regular file that can."""
    try:
        open_regular(path).close()
    except OSError as error:
        return reason_of(error)
    return None


def reason_of(error: OSError) -> str:
    """Return an error's reason in words; of the system's the first letter becomes a small one."""
    words = error.strerror or str(error)
    return words[:1].lower() + words[1:]


def _refuse_others(path: Path, mode: int) -> None:
    for is_one, number, words in _OTHERS:
        if is_one(mode):
            raise OSError(number, f"{words}, not a file", str(path))
