"""Which boards there are and how each is reached: ``inventory/*.yaml``.

A board that no inventory names is an emulated one of its own name: the embedded default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from vtool.board.emulated import EmulatedBoard, state_folder
from vtool.diagnostics import Diagnostic, VtoolError, nearest
from vtool.model.board_facts import BoardFacts
from vtool.model.types import Model, Name
from vtool.model.validate import known_facts, load_facts, validate_as
from vtool.rooms import room
from vtool.source import load


class EmulatedEntry(Model):
    """A board made of QEMU on this machine."""

    driver: Literal["emulated"]
    facts: Name


class InventoryFile(Model):
    """An inventory: board name to entry. Later drivers join the union of entries."""

    version: Literal[1]
    boards: Annotated[dict[Name, EmulatedEntry], Field(min_length=1)]


class Inventory:
    """The boards that can be reached."""

    def __init__(self, path: Path | None = None) -> None:
        self._document = load(path or room("inventory") / "default.yaml")
        self._file = validate_as(InventoryFile, self._document)

    def board(self, name: str, facts: BoardFacts | None = None) -> EmulatedBoard:
        """Return a board; ``facts`` are what the topology says of it.

        Raises VtoolError VT601 when the two disagree or no facts file is known.
        """
        entry = self._file.boards.get(name)
        if entry is not None and facts is not None and entry.facts != facts.name:
            raise VtoolError(
                Diagnostic(
                    "VT601",
                    f"board '{name}' is a '{entry.facts}' in the inventory, the topology says '{facts.name}'",
                    self._document.span(("boards", name, "facts")),
                )
            )
        if facts is not None:
            return EmulatedBoard(name, facts)
        wanted = entry.facts if entry else "qemu-virt"
        if wanted not in known_facts():
            raise VtoolError(Diagnostic("VT601", f"no facts file '{wanted}'", hints=nearest(wanted, known_facts())))
        return EmulatedBoard(name, load_facts(wanted).facts)

    def names(self) -> list[str]:
        """Return the boards of the inventory and the emulated ones that exist, sorted."""
        folder = state_folder() / "boards"
        made = {path.parent.name for path in folder.glob("*/board.json")} if folder.is_dir() else set()
        return sorted(made | set(self._file.boards))
