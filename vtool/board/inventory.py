"""Which boards there are and how each is reached: ``inventory/*.yaml``.

A board that no inventory names is an emulated one of its own name: the embedded default.
"""

from __future__ import annotations

from pathlib import Path

from vtool.board.commands import CommandConsole, CommandPower
from vtool.board.emulated import EmulatedBoard, made_of, state_folder
from vtool.board.inventory_file import EmulatedEntry, Entry, InventoryFile, LabgridEntry, SshEntry
from vtool.board.pinned_keys import key_fault
from vtool.board.protocols import Board, NoConsole, NoPower
from vtool.board.ssh_only import Identity, SshOnlyBoard
from vtool.diagnostics import Diagnostic, VtoolError, in_order, nearest
from vtool.files import fault_of
from vtool.model.board_facts import BoardFacts
from vtool.model.validate import is_path, known_facts, load_facts, read_facts, validate_as
from vtool.rooms import room
from vtool.source import load

_DEFAULT_FACTS = "qemu-virt"


class Inventory:
    """The boards that can be reached. Raises VtoolError VT1xx, VT2xx, VT615 to VT617 for a file that cannot be."""

    def __init__(self, path: Path | None = None) -> None:
        self._document = load(path or room("inventory") / "default.yaml")
        self._file = validate_as(InventoryFile, self._document)
        findings = [found for name, entry in self._file.boards.items() for found in self._findings(name, entry)]
        if findings:
            raise VtoolError(in_order(findings))

    def board(self, name: str, facts: BoardFacts | None = None) -> Board:
        """Return a board; ``facts`` are what the topology says of it.

        Raises VtoolError VT601 when the two disagree or no facts file is known.
        """
        entry = self._file.boards.get(name)
        known = facts if entry is None and facts is not None else self._facts(name, entry)
        if facts is not None and known.name != facts.name:
            raise VtoolError(
                Diagnostic(
                    "VT601",
                    f"board '{name}' is a '{known.name}' in the inventory, the topology says '{facts.name}'",
                    self._document.span(("boards", name, "facts")),
                )
            )
        known = facts or known
        if isinstance(entry, SshEntry):
            return self._over_ssh(name, known, entry)
        if isinstance(entry, LabgridEntry):
            from vtool.board.labgrid_place import LabgridBoard  # noqa: PLC0415 - asyncio, for those who have a lab

            return LabgridBoard(name, known, entry, self._identity(entry), self._path(entry.device_tree))
        return EmulatedBoard(name, known)

    def emulated(self, name: str) -> EmulatedBoard:
        """Return a board that can be made and destroyed. VtoolError VT614 for a real one."""
        board = self.board(name)
        if not isinstance(board, EmulatedBoard):
            raise self.cannot(name, "is not an emulated board: vtool neither makes nor destroys it")
        return board

    def cannot(self, name: str, what: str, *hints: str) -> VtoolError:
        """Make the error for something that the inventory does not give a board (VT614)."""
        return VtoolError(
            Diagnostic("VT614", f"board '{name}' {what}", self._document.span(("boards", name)), (), hints)
        )

    def names(self) -> list[str]:
        """Return the boards of the inventory and the emulated ones that exist, sorted."""
        folder = state_folder() / "boards"
        made = {path.parent.name for path in folder.glob("*/board.json")} if folder.is_dir() else set()
        return sorted(made | set(self._file.boards))

    def _facts(self, name: str, entry: Entry | None) -> BoardFacts:
        made = None if entry else made_of(name)
        wanted = entry.facts if entry else made if made in known_facts() else _DEFAULT_FACTS
        if is_path(wanted) and (path := self._document.path.parent / wanted).is_file():
            return read_facts(path).facts
        if wanted not in known_facts():
            span = self._document.span(("boards", name, "facts"))
            raise VtoolError(
                Diagnostic("VT601", f"no facts file '{wanted}'", span, hints=nearest(wanted, known_facts()))
            )
        return load_facts(wanted).facts

    def _over_ssh(self, name: str, facts: BoardFacts, entry: SshEntry) -> SshOnlyBoard:
        power = CommandPower(name, entry.power) if entry.power else NoPower()
        console = entry.console
        listener = CommandConsole(name, self._path(console.log), console.join) if console else NoConsole()
        address = (entry.host, entry.port, entry.user)
        return SshOnlyBoard(
            name, facts, address, self._identity(entry), power, listener, self._path(entry.device_tree)
        )  # fmt: skip

    def _identity(self, entry: SshEntry | LabgridEntry) -> Identity:
        return Identity(self._path(entry.identity_file), entry.host_key, self._path(entry.known_hosts_file))

    def _path(self, text: str | None) -> Path | None:
        """Return a file that an entry names, as seen from the inventory's folder."""
        return (self._document.path.parent / Path(text).expanduser()).absolute() if text else None

    def _findings(self, name: str, entry: Entry) -> list[Diagnostic]:
        """Return what is wrong with an entry beyond its shape."""
        if isinstance(entry, EmulatedEntry):
            return []
        found = [self._one_of(name, entry, "host_key", "known_hosts_file")]
        if isinstance(entry, LabgridEntry):
            found.append(self._one_of(name, entry, "place", "tags"))
        elif entry.console is not None and (entry.console.log, entry.console.join) == (None, None):
            message = "a console needs one of 'log' and 'join'"
            found.append(Diagnostic("VT615", message, self._document.span(("boards", name, "console"), key=True)))
        if entry.host_key is not None and (fault := key_fault(entry.host_key)):
            message = f"the host key of board '{name}' is none: {fault}"
            found.append(Diagnostic("VT616", message, self._document.span(("boards", name, "host_key"))))
        for key in ("identity_file", "known_hosts_file", "device_tree"):
            path = self._path(getattr(entry, key))
            if path is not None and (fault := fault_of(path)):
                message = f"'{path}' cannot be used: {fault}"
                found.append(Diagnostic("VT617", message, self._document.span(("boards", name, key))))
        return [finding for finding in found if finding is not None]

    def _one_of(self, name: str, entry: SshEntry | LabgridEntry, first: str, second: str) -> Diagnostic | None:
        given = [key for key in (first, second) if getattr(entry, key) is not None]
        if len(given) == 1:
            return None
        both = "not both" if given else "neither is there"
        path = ("boards", name, second) if given else ("boards", name)
        hints = ("vtool talks to no board whose key it does not know",) if first == "host_key" and not given else ()
        message = f"board '{name}' needs one of '{first}' and '{second}', {both}"
        return Diagnostic("VT615", message, self._document.span(path, key=True), hints=hints)
