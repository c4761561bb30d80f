"""Runs compared, as one value and as JSON of a documented schema. Part of ``vtool[bench]``. Enter at ``compare``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from vtool.base.records import record
from vtool.diagnostics import Diagnostic, VtoolError
from vtool.results.degradation import CellDegradation, RunDegradation, degradations
from vtool.results.explanation import Explanation, explain
from vtool.results.fewest import FEWEST_PAIRED, FEWEST_UNPAIRED, cannot_decide
from vtool.results.records import Clock
from vtool.results.regressions import CellRegression, RunRegression, regressions
from vtool.results.run_folder import RunRead
from vtool.results.statistics import LEVEL

FORMAT: Literal["vtool-comparison"] = "vtool-comparison"
VERSION: Literal[1] = 1
"""One more with every change that is not an addition."""


@record
class ComparedRun:
    """A run, with its cells against their baselines. ``clocks`` and ``boards`` are those of what counts.

    ``void`` repetitions do not; ``superseded`` ones were of a board that was lost, and were measured anew on another.
    ``done`` of ``planned`` repetitions of cells that can be are there: a run is finished when these are the same.
    """

    folder: str
    id: str
    name: str
    created: str
    vtool: str
    repetitions: int
    clocks: tuple[str, ...]
    boards: tuple[str, ...]
    void: int
    superseded: int
    done: int
    planned: int
    degradation: RunDegradation


@record
class Against:
    """The run of index ``run`` against the first one."""

    run: int
    regression: RunRegression


@record
class Undecided:
    """So many cells of the run with that index have too few repetitions for any difference to be told from chance.

    ``against`` is the index of the run that they are compared with, None: their own baselines. ``repetitions`` is how
    many the best of them has.
    """

    run: int
    against: int | None
    cells: int
    repetitions: int
    needed: int
    why: str


@record
class Regressed:
    """A regression beyond the threshold, of the run with that index."""

    run: int
    cell: str
    clock: Clock
    measure: str
    change: float | None


@record
class Comparison:
    """What ``vtool compare`` found out.

    ``threshold`` is a share (0.05 is 5 %), None where nothing is judged by one. ``regressed`` names what is beyond it,
    and significantly so: of a single run its cells against their baselines, else runs against the first. ``fewest``
    is how many repetitions significance takes: rounds within a run, and repetitions of each of two runs.
    ``undecided`` says where nothing can be found, however large it is. ``explained`` are the models of each run, where
    they were asked for.
    """

    runs: tuple[ComparedRun, ...]
    against: tuple[Against, ...]
    threshold: float | None
    regressed: tuple[Regressed, ...]
    undecided: tuple[Undecided, ...] = ()
    explained: tuple[Explanation, ...] = ()
    level: float = LEVEL
    fewest: tuple[int, int] = (FEWEST_PAIRED, FEWEST_UNPAIRED)
    format: Literal["vtool-comparison"] = FORMAT
    version: Literal[1] = VERSION


def compare(
    runs: Sequence[RunRead], threshold: float | None = None, across: Collection[str] = (), *, relative: bool = False,
    explained: bool = False,
) -> Comparison:  # fmt: skip
    """Compare each run's cells with their baselines, and each later run with the first; ``explained``: model them.

    VtoolError VT937 where nothing at all can be compared, with every reason once.
    """
    _require_different([run.folder for run in runs])
    compared = tuple(map(_compared, runs))
    against = tuple(
        Against(index, regressions(runs[0], run, across, relative=relative)) for index, run in enumerate(runs[1:], 1)
    )
    for one in against:
        _require_some(
            one.regression, f"no cell of '{runs[one.run].folder}' can be compared with one of '{runs[0].folder}'"
        )
    if len(runs) == 1:
        _require_some(compared[0].degradation, f"no cell of '{runs[0].folder}' can be compared with a baseline")
    regressed = () if threshold is None else tuple(_beyond(compared, against, threshold))
    models = tuple(map(explain, runs)) if explained else ()
    return Comparison(compared, against, threshold, regressed, tuple(_undecided(compared, against)), models)


def _compared(run: RunRead) -> ComparedRun:
    counting = [one for one in run.repetitions if one.void is None]
    return ComparedRun(
        folder=str(run.folder),
        id=run.run.id,
        name=run.run.name,
        created=run.run.created,
        vtool=run.run.vtool,
        repetitions=run.run.repetitions,
        clocks=tuple(sorted({one.clock.value for one in counting})),
        boards=run.boards,
        void=len(run.repetitions) - len(counting),
        superseded=len(run.superseded),
        done=run.planned - len(run.missing()),
        planned=run.planned,
        degradation=degradations(run),
    )


def _undecided(compared: Sequence[ComparedRun], against: Sequence[Against]) -> Iterator[Undecided]:
    for index, run in enumerate(compared):
        counts = [cell.rounds for cell in run.degradation.cells if cell.rounds < FEWEST_PAIRED]
        if counts:
            yield Undecided(index, None, len(counts), max(counts), FEWEST_PAIRED,
                            cannot_decide(max(counts), FEWEST_PAIRED))  # fmt: skip
    for one in against:
        least = [min(cell.repetitions) for cell in one.regression.cells]
        counts = [count for count in least if count < FEWEST_UNPAIRED]
        if counts:
            yield Undecided(one.run, 0, len(counts), max(counts), FEWEST_UNPAIRED,
                            cannot_decide(max(counts), FEWEST_UNPAIRED, " in each run"))  # fmt: skip


def _beyond(compared: Sequence[ComparedRun], against: Sequence[Against], threshold: float) -> list[Regressed]:
    judged: list[tuple[int, CellRegression | CellDegradation]]
    if against:
        judged = [(one.run, cell) for one in against for cell in one.regression.cells]
    else:
        judged = [(0, cell) for cell in compared[0].degradation.cells]
    return [
        Regressed(run, cell.cell.id, cell.clock, change.measure.label, change.change)
        for run, cell in judged
        for change in cell.changes
        if change.regressed(threshold)
    ]


def _require_different(folders: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise VtoolError(Diagnostic("VT937", f"'{folder}' is named twice", hints=("name another run",)))
        seen.add(folder.resolve())


def _require_some(found: RunDegradation | RunRegression, message: str) -> None:
    if found.cells:
        return
    reasons = Counter(one.why for one in found.not_compared)
    hints = ("--across AXIS,AXIS names in what the runs may differ",) if any(
        why.startswith("it differs in") for why in reasons
    ) else ()  # fmt: skip
    if not reasons and isinstance(found, RunDegradation):
        message += ": none has one, since its matrix has no `baseline`, or measured nothing beside it"
        hints = ("two runs are compared without baselines: vtool compare RUN RUN",)
    elif not reasons:
        message += ": the first run has none that can be"
    detail = tuple(f"{count} {'cell' if count == 1 else 'cells'}: {why}" for why, count in reasons.items())
    raise VtoolError(Diagnostic("VT937", message, hints=hints, detail=detail))


COMPARISON: TypeAdapter[Comparison] = TypeAdapter(Comparison)


def comparison_json(comparison: Comparison) -> str:
    """Return a comparison as JSON."""
    return COMPARISON.dump_json(comparison, indent=2).decode()


def comparison_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a comparison."""
    schema = COMPARISON.json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
