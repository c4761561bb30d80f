"""Which boards there are and how each is reached: ``inventory/*.yaml``.

A board that no inventory names is an emulated one of its own name: the embedded default.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from vtool.base.rooms import room
from vtool.board.command_console import CommandConsole
from vtool.board.emulated import FOREIGN_DISK, PREFIX, EmulatedBoard, OwnDisk, made_of
from vtool.board.inventory_file import EmulatedEntry, Entry, InventoryFile, LabgridEntry, SshEntry
from vtool.board.pinned_keys import key_fault
from vtool.board.protocols import Board, BoardClock, NoConsole, NoPower
from vtool.board.ssh_only import Identity, SshOnlyBoard
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError, in_order, nearest, source_line
from vtool.files.own_folders import state_folder
from vtool.files.regular import fault_of
from vtool.model.board_facts import BoardFacts
from vtool.model.partial import Unsound, known
from vtool.model.shape import shape_of
from vtool.model.validate import is_path, known_facts, load_facts, read_facts
from vtool.reading.source import read

_DEFAULT_FACTS = "qemu-virt"


def _without_values(fault: Diagnostic) -> Diagnostic:
    """Return a fault of the text, shown without the values in its line: they may be a command's, with a password."""
    line = source_line(fault.span) if fault.span else None
    return replace(fault, span=replace(fault.span, text=_VALUES.sub(" ...", line))) if fault.span and line else fault


_VALUES = re.compile(r"(?<=:)\s.*$|(?<=- ).*$")


class Inventory:
    """The boards that can be reached. Raises VtoolError VT1xx, VT2xx, VT615 to VT617 for a file that cannot be."""

    def __init__(self, path: Path | None = None, use: Iterable[str] = ()) -> None:
        try:
            self._document = read(path or room("inventory") / "default.yaml")
        except VtoolError as error:
            raise VtoolError(map(_without_values, error.diagnostics)) from None
        file, findings = shape_of(InventoryFile, self._document)
        findings += map(_without_values, self._document.faults)
        for name, entry in known(file.boards).items() if file else ():
            for look in self._looks(name, entry):
                with suppress(Unsound):
                    findings += look
        if findings or file is None:
            raise VtoolError(in_order(findings))
        self._file = file
        self._of_lab: dict[str, LabgridEntry] = {}
        """Single places of a lab, by names that vtool gives them."""
        self._use = dict(self._used(word) for word in use)
        self._option = f" --inventory {shlex.quote(str(path))}" if path else ""

    def board(self, name: str, facts: BoardFacts | None = None) -> Board:
        """Return a board, or what is used for it; ``facts`` are what the topology says of it.

        Raises VtoolError VT601 when the two disagree or no facts file is known, VT614 when only others stand for it.
        """
        if name in self._use:
            return self.stand_in(self._use[name], facts)
        others = [other for other, entry in self._file.boards.items() if entry.stands_for == name]
        if others and name not in self._file.boards:
            hint = f"say which one: --use {name}={others[0]}"
            names = ", ".join(f"'{other}'" for other in others)
            message = f"board '{name}' is not in the inventory, {names} may stand for it"
            span = self._document.span(("boards", others[0], "stands_for"))
            raise VtoolError(Diagnostic("VT614", message, span, hints=(hint,)))
        return self.stand_in(name, facts)

    def stand_in(self, name: str, facts: BoardFacts | None = None) -> Board:
        """Return a board by a name of ``standing_for``. VtoolError VT601."""
        board = self._board(name, facts)
        board.words = f"{name}{self._option}"
        return board

    def _board(self, name: str, facts: BoardFacts | None) -> Board:
        entry = self._of_lab.get(name) or self._file.boards.get(name)
        its_own = facts if entry is None and facts is not None else self._facts(name, entry)
        if facts is not None and its_own.name != facts.name:
            raise VtoolError(
                Diagnostic(
                    "VT601",
                    f"board '{name}' is a '{its_own.name}' in the inventory, the topology says '{facts.name}'",
                    self._document.span(("boards", name, "facts")),
                )
            )
        of_board = facts or its_own
        if isinstance(entry, SshEntry):
            return self._over_ssh(name, of_board, entry)
        if isinstance(entry, LabgridEntry):
            from vtool.board.labgrid_place import LabgridBoard  # noqa: PLC0415 - asyncio, for those who have a lab

            return LabgridBoard(name, of_board, entry, self._identity(name, entry), self._path(entry.device_tree))
        if not isinstance(entry, EmulatedEntry):
            return EmulatedBoard(name, of_board)
        clock = BoardClock.INSTRUCTIONS if entry.clock == "instructions" else BoardClock.EMULATED
        return EmulatedBoard(name, of_board, clock, self._disk(entry))

    def standing_for(self, name: str) -> list[str]:
        """Return what a board of a topology may be, at least one: its own entry, and those that stand for it.

        Of an entry with a lab's tags it is every place that has them and is not somebody else's, or may be waited for.
        VtoolError VT622, VT623.
        """
        if name in self._use:
            return [self._use[name]]
        known = {other: e for other, e in self._file.boards.items() if name in (other, e.stands_for)}
        found: list[str] = []
        for other, entry in known.items():
            places = self._places(other, entry) if isinstance(entry, LabgridEntry) and entry.tags else ()
            if len(places) < 2:  # whatever has the tags by then
                found.append(other)
                continue
            for place in places:
                found.append(f"{other}-{place}")
                self._is_of_lab(found[-1])
        return found or [name]

    def _places(self, name: str, entry: LabgridEntry) -> tuple[str, ...]:
        from vtool.board.labgrid_place import LabgridBoard  # noqa: PLC0415 - asyncio, for those who have a lab

        lab = LabgridBoard(name, self._facts(name, entry), entry, self._identity(name, entry), None)
        return lab.places_to_have()

    def _is_of_lab(self, name: str) -> bool:
        """Whether a name is ENTRY-PLACE, of an entry with a lab's tags; it then is a board of its own."""
        for other, entry in self._file.boards.items():
            if isinstance(entry, LabgridEntry) and entry.tags and name.startswith(f"{other}-"):
                place = name.removeprefix(f"{other}-")
                self._of_lab[name] = entry.model_copy(update={"place": place, "tags": None})
                return True
        return False

    def _used(self, word: str) -> tuple[str, str]:
        """Read BOARD=NAME. VtoolError VT614 for a name that the inventory does not have."""
        board, equals, name = word.partition("=")
        if not equals or not (name in self._file.boards or self._is_of_lab(name)):
            hints = nearest(name, self._file.boards) or (f"there are: {', '.join(self._file.boards)}",)
            message = (
                f"--use {word}: the inventory has no board '{name}'" if equals else f"--use {word} is no BOARD=NAME"
            )
            raise VtoolError(Diagnostic("VT614", message, hints=hints), ExitCode.USAGE)
        return board, name

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

    def _disk(self, entry: EmulatedEntry) -> OwnDisk | None:
        if entry.disk is None:
            return None
        own = entry.disk.startswith(PREFIX)
        return OwnDisk(entry.disk if own else str(self._path(entry.disk)), entry.user)

    def _over_ssh(self, name: str, facts: BoardFacts, entry: SshEntry) -> SshOnlyBoard:
        power = entry.power.supply(name) if entry.power else NoPower()
        console = entry.console
        listener = CommandConsole(name, self._path(console.log), console.join) if console else NoConsole()
        address = (entry.host, entry.port, entry.user)
        return SshOnlyBoard(
            name, facts, address, self._identity(name, entry), power, listener, self._path(entry.device_tree)
        )  # fmt: skip

    def _identity(self, name: str, entry: SshEntry | LabgridEntry) -> Identity:
        known_hosts = self._path(entry.known_hosts_file)
        pinned = str(known_hosts) if known_hosts else f"`host_key` of '{name}' in {self._document.path}"
        return Identity(self._path(entry.identity_file), entry.host_key, known_hosts, pinned)

    def _path(self, text: str | None) -> Path | None:
        """Return a file that an entry names, as seen from the inventory's folder."""
        return (self._document.path.parent / Path(text).expanduser()).absolute() if text else None

    def _looks(self, name: str, entry: Entry) -> Iterator[Iterator[Diagnostic]]:
        """Yield the rules for an entry, beyond its shape."""
        if isinstance(entry, EmulatedEntry):
            yield self._disk_is_there(name, entry)
            return
        yield self._one_of(name, entry, "host_key", "known_hosts_file")
        if isinstance(entry, LabgridEntry):
            yield self._one_of(name, entry, "place", "tags")
        else:
            yield self._console_can_be_had(name, entry)
        yield self._host_key_is_one(name, entry)
        for key in ("identity_file", "known_hosts_file", "device_tree"):
            yield self._file_is_there(name, entry, key)

    def _one_of(self, name: str, entry: SshEntry | LabgridEntry, first: str, second: str) -> Iterator[Diagnostic]:
        """VT615: of two keys one is there."""
        given = [key for key in (first, second) if getattr(entry, key) is not None]
        if len(given) == 1:
            return
        both = "not both" if given else "neither is there"
        path = ("boards", name, second) if given else ("boards", name)
        hints = ("vtool talks to no board whose key it does not know",) if first == "host_key" and not given else ()
        message = f"board '{name}' needs one of '{first}' and '{second}', {both}"
        yield Diagnostic("VT615", message, self._document.span(path, key=True), hints=hints)

    def _console_can_be_had(self, name: str, entry: SshEntry) -> Iterator[Diagnostic]:
        """VT615: a console is a log, a command, or both."""
        if entry.console is not None and entry.console.log is None and entry.console.join is None:
            message = "a console needs one of 'log' and 'join'"
            yield Diagnostic("VT615", message, self._document.span(("boards", name, "console"), key=True))

    def _host_key_is_one(self, name: str, entry: SshEntry | LabgridEntry) -> Iterator[Diagnostic]:
        """VT616: what is pinned is a public key."""
        if entry.host_key is not None and (fault := key_fault(entry.host_key)):
            message = f"the host key of board '{name}' is not one: {fault}"
            yield Diagnostic("VT616", message, self._document.span(("boards", name, "host_key")))

    def _disk_is_there(self, name: str, entry: EmulatedEntry) -> Iterator[Diagnostic]:
        """VT617: a disk is an image that vtool builds, or a file."""
        disk = entry.disk
        if disk is not None and disk.startswith(PREFIX):
            if disk != FOREIGN_DISK:
                message = f"'{disk}' is no disk that vtool builds"
                yield Diagnostic("VT617", message, self._document.span(("boards", name, "disk")), hints=(FOREIGN_DISK,))
        elif disk is not None and (path := self._path(disk)) and (fault := fault_of(path)):
            message = f"'{path}' cannot be used: {fault}"
            yield Diagnostic("VT617", message, self._document.span(("boards", name, "disk")))

    def _file_is_there(self, name: str, entry: SshEntry | LabgridEntry, key: str) -> Iterator[Diagnostic]:
        """VT617: a file that an entry names is one."""
        path = self._path(getattr(entry, key))
        if path is not None and (fault := fault_of(path)):
            message = f"'{path}' cannot be used: {fault}"
            yield Diagnostic("VT617", message, self._document.span(("boards", name, key)))
