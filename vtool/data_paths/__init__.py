"""The data paths: how a backend can reach a frontend's buffers. One package a path, found by being here.

    __init__.py   its traits (``TRAITS``, where a topology has a word for it) and facts (``ROWS``)
    rules.py      rules on what it alone has, which ``vtool.check`` runs
    planning.py   what it alone has decided, which ``vtool.plan`` asks for
    proof.py      what has to be shown of it on a board, which ``vtool.deploy.proof`` asks for; without it no device
                  by this path is deployed

No rule, no planner and no proof outside of a package asks which path it has: what differs between paths is asked of
``DataPath.traits``. (What a plan holds of a ring is a record that renderers know, as of a disk or a tap:
``vtool.plan.types.rings``.) The traits are below everything; each part is as high as the room that asks for it, imports
from there, and is imported by ``modules`` alone. Enter at ``DataPath``, ``rows`` and ``modules``.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from vtool.data_paths.facts import Row, Traits

HYPERVISORS = ("kvm", "xen")
_FILES = {(file.parent.name, file.stem) for file in Path(__file__).parent.glob("*/*.py")}
_PACKAGES = [import_module(f"{__name__}.{folder}") for folder, file in sorted(_FILES) if file == "__init__"]
_PACKAGES.sort(key=lambda package: int(package.ROWS[0].number))
_WITH_PROOF = frozenset(p.ROWS[0].data_path for p in _PACKAGES if (p.__name__.rpartition(".")[2], "proof") in _FILES)
_TRAITS: dict[str, Traits] = {
    package.TRAITS.word: package.TRAITS for package in _PACKAGES if hasattr(package, "TRAITS")
}


class _Word(Enum):
    @property
    def traits(self) -> Traits:
        """Return what sets this path apart."""
        return _TRAITS[self.value]

    @property
    def has_proof(self) -> bool:
        """Whether its package says what has to be shown of it on a board, so that it can be deployed."""
        return self.value in _WITH_PROOF


if TYPE_CHECKING:

    class DataPath(_Word):
        """How the backend reaches the frontend's buffers (a choice apart from the transport)."""
else:
    DataPath = _Word("DataPath", {word.upper().replace("-", "_"): word for word in _TRAITS}, module=__name__)
    DataPath.__doc__ = "How the backend reaches the frontend's buffers (a choice apart from the transport)."


@cache
def modules(part: str) -> dict[str, ModuleType]:
    """Import a part of each package that has it (``rules``, ``planning``, ``proof``): by the path's word, in order."""
    having = [p for p in _PACKAGES if (p.__name__.rpartition(".")[2], part) in _FILES]
    return {package.ROWS[0].data_path: import_module(f"{package.__name__}.{part}") for package in having}


def rows() -> tuple[Row, ...]:
    """Return what is known of every path, by its number; also of those that a topology has no word for."""
    found: list[Row] = [row for package in _PACKAGES for row in package.ROWS]
    return tuple(sorted(found, key=lambda row: row.number))
