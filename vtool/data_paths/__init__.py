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


def _having(part: str) -> dict[str, str]:
    """Return the packages that have a part, by the path's word, in order."""
    names = ((package.ROWS[0].data_path, package.__name__) for package in _PACKAGES)
    return {word: name for word, name in names if (name.rpartition(".")[2], part) in _FILES}


_WITH_PROOF = frozenset(_having("proof"))
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
    return {word: import_module(f"{package}.{part}") for word, package in _having(part).items()}


def rows() -> tuple[Row, ...]:
    """Return what is known of every path, by its number; also of those that a topology has no word for."""
    found: list[Row] = [row for package in _PACKAGES for row in package.ROWS]
    return tuple(sorted(found, key=lambda row: row.number))
