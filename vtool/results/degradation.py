"""What each cell of a run loses against its baseline, by metric and cost, and whether that may be chance.

A cell and its baseline take turns (A B A B), so that what drifts drifts for both: they are compared round by round.
Part of ``vtool[bench]``. Enter at ``degradations``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from vtool.base.records import record
from vtool.results.changes import Change, Samples, judge, samples
from vtool.results.fingerprint import changed, facts_of
from vtool.results.measures import Measure, Measures, steps_of
from vtool.results.records import Cell, Clock, Repetition, Void
from vtool.results.run_folder import RunRead
from vtool.results.statistics import Array, Chosen, Estimates, paired


@record
class CellDegradation:
    """A cell against its baseline: ``rounds`` is how many repetitions both have, ``void`` what does not count of it."""

    cell: Cell
    baseline: Cell
    clock: Clock
    rounds: int
    void: Mapping[Void, int]
    baseline_void: Mapping[Void, int]
    changes: tuple[Change, ...]


@record
class NotCompared:
    """A cell that is compared with nothing, and why."""

    cell: str
    why: str


@record
class RunDegradation:
    """A run's cells against their baselines, in the run's order, and those that cannot be compared."""

    cells: tuple[CellDegradation, ...]
    not_compared: tuple[NotCompared, ...]


def degradations(run: RunRead, with_interval: Callable[[Measure], bool] = lambda _: True) -> RunDegradation:
    """Compare each cell of a run with its baseline; the baselines themselves are in neither list.

    All measures are judged together, and those that ``with_interval`` names get their intervals.
    """
    cells = run.cells
    pairs: list[tuple[Cell, Cell]] = []
    not_compared: list[NotCompared] = []
    for cell in run.run.cells:
        baseline = cells.get(cell.baseline or "")
        if cell.baseline is None and not cell.faults:
            continue
        why = next(_obstacles(run, cell, baseline), None)
        if why is not None or baseline is None:
            not_compared.append(NotCompared(cell.id, why or ""))
        else:
            pairs.append((cell, baseline))
    side_by_side = [_rounds(run, cell, baseline) for cell, baseline in pairs]
    changes = judge(side_by_side, _round_by_round, with_interval)
    void = void_of(run)
    found = (
        CellDegradation(cell, baseline, of.clock, len(_shared(run, cell, baseline)), void.get(cell.id, {}),
                        void.get(baseline.id, {}), mine)
        for (cell, baseline), of, mine in zip(pairs, side_by_side, changes, strict=True)
    )  # fmt: skip
    return RunDegradation(tuple(found), tuple(not_compared))


def void_of(run: RunRead) -> dict[str, Counter[Void]]:
    """Return how many repetitions of each cell do not count, by why."""
    found: dict[str, Counter[Void]] = {}
    for one in run.repetitions:
        if one.void is not None:
            found.setdefault(one.cell, Counter())[one.void] += 1
    return found


def _round_by_round(reference: Array, value: Array, with_interval: Chosen) -> Estimates:
    return paired(value - reference, with_interval)


def _rounds(run: RunRead, cell: Cell, baseline: Cell) -> Samples:
    shared = _shared(run, cell, baseline)
    mine, other = ([one for one in run.sound(of.id) if one.number in shared] for of in (cell, baseline))
    now, was = (_of_rounds(run, of, shared) for of in (cell, baseline))
    return samples(mine[0].clock, was, now, run.run.repetitions, (steps_of(other), steps_of(mine))).in_both()


def _of_rounds(run: RunRead, cell: Cell, rounds: set[int]) -> dict[int, Measures]:
    return {number: found for number, found in run.measured(cell.id).items() if number in rounds}


def _shared(run: RunRead, cell: Cell, baseline: Cell) -> set[int]:
    return {one.number for one in run.sound(cell.id)} & {one.number for one in run.sound(baseline.id)}


def _obstacles(run: RunRead, cell: Cell, baseline: Cell | None) -> Iterator[str]:
    """Yield why a cell is not compared with its baseline; what follows the first presumes that there was none."""
    if cell.faults:
        yield f"it cannot be: {cell.faults[0].message}"
    if baseline is None:
        yield f"the run has no cell '{cell.baseline}', its baseline"
        return
    mine, other = run.sound(cell.id), run.sound(baseline.id)
    if not mine or not other:
        which = f"its baseline '{baseline.id}'" if mine else "it"
        yield f"{which} has no repetition that counts"
    if not _shared(run, cell, baseline):
        yield f"no round has both it and its baseline '{baseline.id}'"
    for what, seen in (
        ("by several clocks", {one.clock.value for one in (*mine, *other)}),
        ("on several boards", boards_of(run, (*mine, *other))),
    ):
        if len(seen) > 1:
            yield f"it and its baseline were measured {what}: {', '.join(sorted(seen))}"
    for of in (cell, baseline):
        if axes := changed(facts_of(run, of.id, run.sound(of.id))):
            yield f"what '{of.id}' was measured on changed between its repetitions: {', '.join(axes)}"


def boards_of(run: RunRead, repetitions: Sequence[Repetition]) -> set[str]:
    """Return the boards that repetitions were measured on."""
    return {run.environments[one.environment].board for one in repetitions if one.environment is not None}
