"""A run folder as it is read: ``run.jsonl`` and what it says. Enter at ``read_run``.

Reading never changes a folder, and one that is being written may be read.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from vtool.diagnostics import Diagnostic, Severity, Span, VtoolError
from vtool.files.json_text import from_json, place_of
from vtool.files.regular import open_regular, reason_of
from vtool.results.measures import Measures, measured
from vtool.results.records import (
    FORMAT,
    RECORD,
    VERSION,
    Cell,
    Deployment,
    Ended,
    Environment,
    Moved,
    Record,
    Repetition,
    Run,
    Session,
    Variant,
    WorkloadUsed,
)

RECORDS = "run.jsonl"
_KIND = re.compile(rb'^\{\s*"record"\s*:\s*"([a-z]+)"')
_ID = re.compile(rb'"id"\s*:\s*"([0-9a-f]{64})"')
_REMOVE = "restore the file from a copy, or remove the line"
_ADVICE = {
    "session": f"{_REMOVE}: it only says when vtool bench was started",
    "deployment": f"{_REMOVE}: what that deployment's proof saw is lost, and nothing that was measured",
    "repetition": f"{_REMOVE}: vtool bench measures that repetition again",
    "ended": f"{_REMOVE}: that session then looks as if it was cut off",
    "moved": "restore the file from a copy; without this line, what was measured on a lost board would count",
}
"""What may be done about a line that cannot be read, by what it is; of others ``_advice`` has the words."""


@dataclass(frozen=True)
class RunRead:
    """A run with everything that was measured so far, in the order in which it was written.

    ``superseded`` are repetitions of cells that went on with another board: they do not count. ``whole_bytes`` is where
    the last whole line ends, ``torn`` what stands after it: a line that was not finished.
    """

    folder: Path
    run: Run
    sessions: tuple[Session, ...] = ()
    environments: Mapping[str, Environment] = field(default_factory=dict)
    deployments: tuple[Deployment, ...] = ()
    repetitions: tuple[Repetition, ...] = ()
    ended: tuple[Ended, ...] = ()
    moved: tuple[Moved, ...] = ()
    superseded: tuple[Repetition, ...] = ()
    whole_bytes: int = 0
    torn: bytes = b""

    @cached_property
    def cells(self) -> Mapping[str, Cell]:
        """Return the cells by their ids."""
        return {cell.id: cell for cell in self.run.cells}

    @cached_property
    def variants(self) -> Mapping[str, Variant]:
        """Return the variants by their ids."""
        return {variant.id: variant for variant in self.run.variants}

    @cached_property
    def workloads(self) -> Mapping[str, WorkloadUsed]:
        """Return the workloads by their ids."""
        return {workload.id: workload for workload in self.run.workloads}

    @cached_property
    def boards(self) -> tuple[str, ...]:
        """Return the boards that what counts was measured on, as an inventory names them, sorted."""
        named = {one.environment for one in self.repetitions if one.void is None and one.environment is not None}
        return tuple(sorted({self.environments[one].board for one in named}))

    def file(self, name: str) -> Path:
        """Return where a file lies that the run names: as seen from where it was measured, else from here."""
        here = Path(name)
        if not self.run.called_from:
            return here
        there = Path(os.path.normpath(self.folder.resolve() / self.run.called_from / name))
        return there if there.exists() or not here.exists() else here

    def sound(self, cell: str) -> tuple[Repetition, ...]:
        """Return the repetitions of a cell that count, by their numbers."""
        return self._sound.get(cell, ())

    def measured(self, cell: str) -> Mapping[int, Measures]:
        """Return the numbers of a cell's repetitions that count, by the repetition's number: worked out once."""
        found = self._measured.get(cell)
        return found if found is not None else self._measured.setdefault(cell, measured(self.sound(cell)))

    @cached_property
    def _measured(self) -> dict[str, Mapping[int, Measures]]:
        return {}

    @cached_property
    def _sound(self) -> Mapping[str, tuple[Repetition, ...]]:
        found: dict[str, list[Repetition]] = {}
        for one in self.repetitions:
            if one.void is None:
                found.setdefault(one.cell, []).append(one)
        return {cell: tuple(sorted(mine, key=lambda one: one.number)) for cell, mine in found.items()}

    def missing(self) -> list[tuple[str, int]]:
        """Return what is not measured yet, as cell and number; cells that cannot be are not missing."""
        done = {(one.cell, one.number) for one in self.repetitions if one.void is None}
        numbers = range(1, self.run.repetitions + 1)
        wanted = ((cell.id, number) for number in numbers for cell in self.run.cells if not cell.faults)
        return [one for one in wanted if one not in done]

    @property
    def planned(self) -> int:
        """Return how many repetitions the run is to have, of the cells that can be."""
        return self.run.repetitions * sum(1 for cell in self.run.cells if not cell.faults)

    def attempts(self) -> Mapping[tuple[str, int], int]:
        """Return how often each repetition, as cell and number, was measured, in vain or not."""
        return Counter((one.cell, one.number) for one in (*self.superseded, *self.repetitions))

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """Return what is to be told of the folder (VT935)."""
        if not self.torn:
            return ()
        message = f"the last {len(self.torn)} bytes are a line that was not finished; it is left out"
        repetitions = (*self.superseded, *self.repetitions)
        read = (self.sessions, self.environments, self.deployments, repetitions, self.moved, self.ended)
        lines = 1 + sum(map(len, read))
        span = _line_span(self.folder / RECORDS, lines + 1, self.torn.decode("utf-8", "replace"))
        return (Diagnostic("VT935", message, span, severity=Severity.WARNING),)


def read_run(folder: Path) -> RunRead:
    """Read a run folder. VtoolError VT930 for what is none of this version, VT932 with each line that is damaged."""
    path = folder / RECORDS
    try:
        with open_regular(path) as file:
            data = file.read()
    except OSError as error:
        hint = f"a run folder has a file {RECORDS}; vtool bench -o DIR makes one"
        why = f"'{path}' cannot be read: {reason_of(error)}"
        if isinstance(error, FileNotFoundError):
            why = f"there is no '{path}'" if folder.exists() else "it is not there"
        if isinstance(error, NotADirectoryError):
            why = "it is a file"
            hint += "; results in a bundle are read after `tar -xf`, from its folder results"
        message = f"'{folder}' is no run folder: {why}"
        raise VtoolError(Diagnostic("VT930", message, hints=(hint,))) from None
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].split(b"\n")[:-1]
    if not lines:
        raise VtoolError(Diagnostic("VT930", f"'{path}' has no whole line: nothing was measured into it"))
    return _gathered(folder, _header(path, lines[0]), lines, whole, data[whole:])


def _header(path: Path, line: bytes) -> Run:
    """Read the first line. VtoolError VT930 for another format or version."""
    text = line.decode("utf-8", "replace")
    span = _line_span(path, 1, text)
    try:
        said = from_json(line)
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise VtoolError(Diagnostic("VT930", f"'{path}' is not of format {FORMAT}", span))
    if said.get("version") != VERSION:
        message = f"this run is of version {said.get('version')!r}, this vtool reads {VERSION}"
        hints = (f"vtool {said['vtool']} wrote it",) if isinstance(said.get("vtool"), str) else ()
        span = _line_span(path, 1, text, place_of(text, ("version",)))
        raise VtoolError(Diagnostic("VT930", message, span, hints=hints))
    hints = ("restore the file from a copy: nothing that was measured can be read without this line",)
    try:
        record = RECORD.validate_json(line)
    except ValidationError as error:
        span = _line_span(path, 1, text, _place_in(text, error))
        message = f"the first line cannot be read: {_told(error)}"
        raise VtoolError(Diagnostic("VT932", message, span, hints=hints)) from None
    if not isinstance(record, Run):
        raise VtoolError(Diagnostic("VT932", "the first line is not the run's", span, hints=hints))
    return record


def _gathered(folder: Path, run: Run, lines: Sequence[bytes], whole: int, torn: bytes) -> RunRead:
    sessions: list[Session] = []
    environments: dict[str, Environment] = {}
    deployments: list[Deployment] = []
    repetitions: list[Repetition] = []
    ended: list[Ended] = []
    moved: list[Moved] = []
    superseded: list[Repetition] = []
    cells, variants = {cell.id for cell in run.cells}, {variant.id for variant in run.variants}
    found: list[Diagnostic] = []
    lost: set[str] = set()
    for number, line in enumerate(lines[1:], 2):
        try:
            record: Record = RECORD.validate_json(line)
        except ValidationError as error:
            found.append(_damaged(folder, number, line, _told(error), error))
            lost |= _environment_in(line)
            continue
        if fault := next(_unknown(record, run, cells, variants, environments, lost), None):
            found.append(_damaged(folder, number, line, *fault))
        match record:
            case Session():
                sessions.append(record)
            case Environment():
                environments[record.id] = record
            case Deployment():
                deployments.append(record)
            case Repetition():
                repetitions.append(record)
            case Moved():
                moved.append(record)
                superseded += [one for one in repetitions if one.cell in record.cells]
                repetitions = [one for one in repetitions if one.cell not in record.cells]
            case Ended():
                ended.append(record)
    if found:
        raise VtoolError(found)
    return RunRead(
        folder,
        run,
        tuple(sessions),
        environments,
        tuple(deployments),
        tuple(repetitions),
        tuple(ended),
        tuple(moved),
        tuple(superseded),
        whole_bytes=whole,
        torn=torn,
    )


def _unknown(
    record: Record,
    run: Run,
    cells: set[str],
    variants: set[str],
    environments: Collection[str],
    lost: Collection[str],
) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Yield what a record names that no line before it has, and by which key; nothing of ``lost`` environments."""
    match record:
        case Deployment() if record.variant not in variants:
            yield f"the run has no variant '{record.variant}'", ("variant",)
        case Repetition():
            if record.cell not in cells:
                yield f"the run has no cell '{record.cell}'", ("cell",)
            if record.number > run.repetitions:
                yield f"it is repetition {record.number} of {run.repetitions}", ("number",)
            known = record.environment is None or record.environment in environments
            if not known and not {record.environment, ""} & set(lost):  # one fault is one error
                yield "no line before it has its environment", ("environment",)
        case Moved() if not cells.issuperset(record.cells):
            unknown = next(cell for cell in record.cells if cell not in cells)
            yield f"the run has no cell '{unknown}'", ("cells", record.cells.index(unknown))
        case Run():
            yield "a second run begins here", ("record",)


def _environment_in(line: bytes) -> set[str]:
    """Return the id of an environment that cannot be read, empty where that cannot be told; of other lines nothing."""
    if _kind_of(line) not in ("environment", ""):
        return set()
    named = _ID.search(line)
    return {named[1].decode() if named else ""}


def _kind_of(line: bytes) -> str:
    kind = _KIND.match(line)
    return kind[1].decode() if kind else ""


def _advice(line: bytes) -> str:
    kind = _kind_of(line)
    if kind == "environment":
        named = "".join(f' ("environment":"{one}")' for one in _environment_in(line) if one)
        return f"{_REMOVE} with every repetition that names it{named}: vtool bench measures those again"
    lost = "restore the file from a copy: it cannot be told what the line was, nor which others need it"
    return _ADVICE.get(kind, lost)


def _damaged(
    folder: Path, number: int, line: bytes, why: str, where: ValidationError | Sequence[str | int]
) -> Diagnostic:
    text = line.decode("utf-8", "replace")
    place = _place_in(text, where) if isinstance(where, ValidationError) else place_of(text, where)
    span = _line_span(folder / RECORDS, number, text, place)
    return Diagnostic("VT932", f"line {number} cannot be read: {why}", span, hints=(_advice(line),))


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])


def _place_in(text: str, error: ValidationError) -> tuple[int, int] | None:
    """Return where in a line the value is that an error is of: [start, end) in characters; None where it is not."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if column := re.search(r"at line 1 column (\d+)$", str(first["msg"])):  # it is no JSON
        start = min(max(int(column[1]) - 1, 0), max(len(text) - 1, 0))
        return start, start + 1
    return place_of(text, first["loc"][1:])  # without the record's kind


def _line_span(path: Path, number: int, text: str, place: tuple[int, int] | None = None) -> Span:
    """Return the place of what is wrong in a line, which may be very long: of all of it, where that is not known."""
    start, end = place or (0, len(text))
    return Span(path, number, start + 1, number, end + 1, text)


def of_variant(cells: Iterable[Cell], variant: str) -> list[Cell]:
    """Return the cells of a variant, in their order."""
    return [cell for cell in cells if cell.variant == variant]
