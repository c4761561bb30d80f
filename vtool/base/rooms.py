"""Where the rooms that are not Python are: templates, topology, inventory.

In a checkout they lie beside the package, in a wheel inside it.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def room(name: str) -> Path:
    """Return the folder of a room: ``templates``, ``topology`` or ``inventory``."""
    installed = _PACKAGE / "_rooms" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
