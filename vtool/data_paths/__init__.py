"""The data paths: how a backend can reach a frontend's buffers. One package a path, found by being here.

    __init__.py   its traits (``TRAITS``, where a topology has a word for it) and facts (``ROWS``)

Nothing outside of a package names its path: what differs between paths is asked of ``DataPath.traits``. Enter at
``DataPath`` and ``rows``.
"""

from __future__ import annotations

from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from vtool.data_paths.facts import Row, Traits

HYPERVISORS = ("kvm", "xen")
_PACKAGES = [
    import_module(f"{__name__}.{init.parent.name}") for init in sorted(Path(__file__).parent.glob("*/__init__.py"))
]
_PACKAGES.sort(key=lambda package: int(package.ROWS[0].number))
_TRAITS: dict[str, Traits] = {
    package.TRAITS.word: package.TRAITS for package in _PACKAGES if hasattr(package, "TRAITS")
}


class _Word(Enum):
    @property
    def traits(self) -> Traits:
        """Return what sets this path apart."""
        return _TRAITS[self.value]


if TYPE_CHECKING:

    class DataPath(_Word):
        """How the backend reaches the frontend's buffers (a choice apart from the transport)."""
else:
    DataPath = _Word("DataPath", {word.upper().replace("-", "_"): word for word in _TRAITS}, module=__name__)
    DataPath.__doc__ = "How the backend reaches the frontend's buffers (a choice apart from the transport)."


def rows() -> tuple[Row, ...]:
    """Return what is known of every path, by its number; also of those that a topology has no word for."""
    found: list[Row] = [row for package in _PACKAGES for row in package.ROWS]
    return tuple(sorted(found, key=lambda row: row.number))
