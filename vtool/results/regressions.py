"""What changed from one run to another: the cells that both have, and in what they may be compared.

Each cell is compared as a whole or not at all: with another kernel, or another board, never with both at once. Part of
``vtool[bench]``. Enter at ``regressions``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from vtool.base.records import record
from vtool.results.changes import Change, Samples, Steps, judge, samples
from vtool.results.degradation import NotCompared
from vtool.results.fingerprint import difference, facts_of
from vtool.results.measures import Measure, Measures, steps_of
from vtool.results.records import Cell, Clock
from vtool.results.run_folder import RunRead
from vtool.results.statistics import unpaired

Of = TypeVar("Of")


@record
class CellRegression:
    """A cell of a run against the same one of a reference, and in which axes they differ.

    ``relative``: what is compared is what it comes to as a share of its own baseline in the same round, for values of
    two boards are no two of the same.
    """

    reference: Cell
    cell: Cell
    clock: Clock
    axes: tuple[str, ...]
    facts: Mapping[str, tuple[str, str]]
    relative: bool
    repetitions: tuple[int, int]
    changes: tuple[Change, ...]


@record
class RunRegression:
    """The cells of a run against those of a reference, in the reference's order."""

    cells: tuple[CellRegression, ...]
    not_compared: tuple[NotCompared, ...]


def regressions(
    reference: RunRead, run: RunRead, across: Collection[str] = (), *, relative: bool = False
) -> RunRegression:
    """Compare the cells that two runs have in common.

    ``across`` are the axes in which they may differ (``fingerprint.AXES``); none: in a single one, whichever it is.
    """
    found: list[tuple[CellRegression, Samples]] = []
    not_compared: list[NotCompared] = []
    for was, now in _matched(reference, run):
        if isinstance(now, str):
            not_compared.append(NotCompared(was.id, now))
            continue
        pair = _Pair((reference, run), (was, now), relative)
        if why := next(pair.obstacles(across), ""):
            not_compared.append(NotCompared(was.id, why))
        else:
            found.append(pair.side_by_side(max(reference.run.repetitions, run.run.repetitions)))
    changes = judge([one for _, one in found], unpaired)
    cells = (replace(cell, changes=mine) for (cell, _), mine in zip(found, changes, strict=True))
    return RunRegression(tuple(cells), tuple(not_compared))


# -- which cells are the same


def _matched(reference: RunRead, run: RunRead) -> Iterator[tuple[Cell, Cell | str]]:
    """Yield each cell that can be with the one that it is in the other run, or with why there is none."""
    axes = [
        name
        for name, values in reference.run.axes.items()
        if name in run.run.axes and (len(values) > 1 or len(run.run.axes[name]) > 1)
    ]
    others = _by_key(run, axes)
    for key, mine in _by_key(reference, axes).items():
        theirs = others.get(key, [])
        for cell in mine:
            if not theirs:
                yield cell, f"'{run.folder}' has no such cell"
            elif len(mine) > 1 or len(theirs) > 1:
                several = theirs if len(theirs) > 1 else mine
                which = run if len(theirs) > 1 else reference
                yield cell, f"{len(several)} cells of '{which.folder}' are the same by the axes of both runs"
            else:
                yield cell, theirs[0]


def _by_key(run: RunRead, axes: list[str]) -> dict[tuple[object, ...], list[Cell]]:
    found: dict[tuple[object, ...], list[Cell]] = {}
    variants = run.variants
    for cell in run.run.cells:
        if not cell.faults:
            values = (variants[cell.variant].axes.get(name) for name in axes)
            found.setdefault((*values, cell.workload, cell.device), []).append(cell)
    return found


# -- whether they may be compared


class _Pair:
    """A cell of both runs, the reference's first."""

    def __init__(self, runs: tuple[RunRead, RunRead], cells: tuple[Cell, Cell], relative: bool) -> None:
        self._runs, self._cells = runs, cells
        self._sound = _both(lambda of, cell: of.sound(cell.id), runs, cells)
        self._numbers = _both(lambda of, cell: of.measured(cell.id), runs, cells)
        facts = [facts_of(of, cell.id, mine) for of, cell, mine in zip(runs, cells, self._sound, strict=True)]
        self._differ = difference(facts[0], facts[1])
        self._relative = relative or "board" in self._differ.axes

    def obstacles(self, across: Collection[str]) -> Iterator[str]:
        """Yield why the cells are not compared; what follows the first presumes that there was none."""
        for of, mine in zip(self._runs, self._sound, strict=True):
            if not mine:
                yield f"it has no repetition that counts in '{of.folder}'"
        was, now = _both(_parameters, self._runs, self._cells)
        # An older vtool has fewer parameters; 0 is how a newer one leaves out what that did not have.
        other = [name for name in sorted({*was, *now}) if (was.get(name) or 0) != (now.get(name) or 0)]
        if other:
            yield f"it is another workload: {', '.join(f'{name} {was.get(name)}, {now.get(name)}' for name in other)}"
        clocks = sorted({one.clock.value for mine in self._sound for one in mine})
        if len(clocks) > 1:
            yield f"the clocks differ: {', '.join(clocks)}"
        axes = self._differ.axes
        if others := [axis for axis in axes if axis not in across] if across else axes[1:] and axes:
            than = f"other things than {', '.join(across)}" if across else "several things"
            yield f"it differs in {than}: {', '.join(others)}"
        if self._relative and not all(self._shares):
            yield "it can only be compared by its baseline, which it has not in both runs"

    def side_by_side(self, rows: int) -> tuple[CellRegression, Samples]:
        """Return the cells without their changes, and what those are made of."""
        was, now = self._shares if self._relative else self._numbers
        of = samples(self._sound[0][0].clock, was, now, rows, self._steps())
        told = CellRegression(
            *self._cells, of.clock, self._differ.axes, self._differ.facts, self._relative, (len(was), len(now)), ()
        )
        return told, of

    def _steps(self) -> tuple[Steps, Steps]:
        if not self._relative:
            return steps_of(self._sound[0]), steps_of(self._sound[1])
        return _both(_steps_of_shares, self._runs, self._cells)

    @cached_property
    def _shares(self) -> tuple[Mapping[int, Measures], Mapping[int, Measures]]:
        return _both(_shares_of, self._runs, self._cells)


def _both(of: Callable[[RunRead, Cell], Of], runs: tuple[RunRead, RunRead], cells: tuple[Cell, Cell]) -> tuple[Of, Of]:
    return of(runs[0], cells[0]), of(runs[1], cells[1])


def _parameters(run: RunRead, cell: Cell) -> dict[str, object]:
    workload = run.workloads[cell.workload]
    return {"tool": workload.tool, **workload.parameters}


def _steps_of_shares(run: RunRead, cell: Cell) -> Steps:
    """Return what a step of either counter comes to as a share of the baseline, where that is the smallest."""
    of_both = (cell.id, cell.baseline or "")
    mine, other = (steps_of(run.sound(one)) for one in of_both)
    values, least = ([*run.measured(one).values()] for one in of_both)

    def step(of: Measure) -> float:
        if not of.is_in_ticks:
            return 0.0
        of_one = min((value for one in least if (value := one.get(of, 0.0)) > 0), default=math.inf)
        share = max((one.get(of, 0.0) for one in values), default=0.0) / of_one
        return (mine(of) + share * other(of)) / of_one

    return step


def _shares_of(run: RunRead, cell: Cell) -> Mapping[int, Measures]:
    """Return what each round comes to as a share of the baseline's, where that is not 0."""
    others = run.measured(cell.baseline or "")
    return {
        number: {measure: value / others[number][measure] for measure, value in mine.items()
                 if others[number].get(measure, 0.0) > 0}
        for number, mine in run.measured(cell.id).items() if number in others
    }  # fmt: skip
