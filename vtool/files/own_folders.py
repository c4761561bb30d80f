"""Where vtool keeps what outlives it: a folder that the environment names, or one in the user's home."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from vtool.diagnostics import board_failed
from vtool.diagnostics.codes import declare

declare(
    "VT150",
    what="nobody knows where this user's home is",
    why="HOME is not set and the user has no line in /etc/passwd; what vtool keeps would lie wherever it was started.",
    example="docker run --user 1234 without -e HOME",
    fix="Set HOME, or VTOOL_STATE and VTOOL_CACHE.",
)


def own_folder(variable: str, usual: Callable[[str], str]) -> Path:
    """Return the folder that a variable names, or the ``usual`` one of the user's. Raises VtoolError VT150."""
    if configured := os.environ.get(variable):
        return Path(configured).resolve()
    try:
        folder = Path(usual("vtool"))
    except RuntimeError:  # of a newer platformdirs; an older one leaves "~" in it
        folder = Path()
    if not folder.is_absolute():
        message = f"user {os.getuid()} has no home: HOME is not set, and /etc/passwd does not know the user"
        raise board_failed("VT150", message, hints=(f"set HOME, or {variable}",))
    return folder


def state_folder() -> Path:
    """Return where boards are kept (``VTOOL_STATE`` or the user's state folder). Raises VtoolError VT150."""
    return own_folder("VTOOL_STATE", platformdirs.user_state_dir)
