"""The end of a console's log, as lines that can be shown."""

from __future__ import annotations

import os
from pathlib import Path

from vtool.files.regular import open_regular

_READ_BYTES = 512 * 1024


def tail_of(path: Path, lines: int) -> tuple[str, ...]:
    """Return the last lines of a log, control characters removed; none when it cannot be read."""
    try:
        with open_regular(path) as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - _READ_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ()
    clean = "".join(c for c in text if c == "\n" or c.isprintable())
    return tuple(line for line in clean.splitlines() if line.strip())[-lines:]
