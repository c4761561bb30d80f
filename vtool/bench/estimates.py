"""How long a run will take: by stated estimates, and, once there are any, by what was measured.

Enter at ``estimate``.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable

from vtool.base.records import record
from vtool.bench.cells import Planned
from vtool.results.records import Cell
from vtool.results.run_folder import RunRead

DEPLOYMENT_S = 60.0
"""One deployment with its proof, half of them with a reboot; of an emulated board on two cores."""
AROUND_S = 8.0
"""What is around one repetition: the cheap proofs before and after, counters, the tool's start."""


@record
class Estimate:
    """How long what is missing takes, in seconds; ``measured`` of its ``parts`` are medians of what was measured."""

    seconds: float
    repetitions: int
    deployments: int
    parts: int
    measured: int


class Times:
    """How long each part of what is missing takes: a repetition of a cell, a deployment of a variant."""

    def __init__(self, planned: Planned, was: RunRead | None = None) -> None:
        count = planned.loaded.matrix.repetitions
        every = [(cell.id, n) for n in range(1, count + 1) for cell in planned.possible]
        self._cells = {cell.id: cell for cell in planned.cells}
        self.missing = was.missing() if was else every
        self._rounds: dict[str, list[int]] = {}
        for name, number in self.missing:
            self._rounds.setdefault(name, []).append(number)
        workloads = {name: point.workload.estimated_s() + AROUND_S for name, point in planned.workloads.items()}
        self._told = {name: _seconds_of(was, self._cells[name]) for name in self._rounds}
        self._else = {name: workloads[self._cells[name].workload] for name in self._rounds}
        deployments = was.deployments if was else ()
        self._deployments = {
            variant.id: _median(one.seconds for one in deployments if one.variant == variant.id)
            for variant in planned.variants
        }

    def repetitions(self, cells: Iterable[str]) -> float:
        """Return how long what is missing of cells takes, without deployments."""
        return sum(len(self._rounds.get(cell, ())) * self._of_cell(cell) for cell in cells if cell in self._rounds)

    def deployments(self, cells: Iterable[str]) -> dict[tuple[int, str], float]:
        """Return how long each deployment takes, by round and variant, that what is missing of cells needs."""
        known = {(number, self._cells[cell].variant) for cell in cells for number in self._rounds.get(cell, ())}
        return {one: self._of_variant(one[1]) for one in known}

    def whole(self, of: Collection[str] | None = None) -> Estimate:
        """Return the estimate of everything on one board, or of these cells alone."""
        cells = [cell for cell in self._rounds if of is None or cell in of]
        deployments = self.deployments(cells)
        if len({variant for _, variant in deployments}) == 1:  # it is deployed once
            deployments = dict([min(deployments.items())])
        count = sum(len(self._rounds[cell]) for cell in cells)
        measured = sum(len(self._rounds[cell]) for cell in cells if self._told[cell] is not None)
        measured += sum(self._deployments[variant] is not None for _, variant in deployments)
        seconds = self.repetitions(cells) + sum(deployments.values())
        return Estimate(seconds, count, len(deployments), count + len(deployments), measured)

    def _of_cell(self, cell: str) -> float:
        told = self._told[cell]
        return told if told is not None else self._else[cell]

    def _of_variant(self, variant: str) -> float:
        told = self._deployments[variant]
        return told if told is not None else DEPLOYMENT_S


def estimate(planned: Planned, was: RunRead | None = None) -> Estimate:
    """Return how long a run takes on one board that has not begun, or what is left of one."""
    return Times(planned, was).whole()


def _seconds_of(was: RunRead | None, cell: Cell) -> float | None:
    """Return the median time of a cell's repetitions, else of those of its workload elsewhere."""
    if was is None:
        return None
    told = _median(one.seconds for one in was.repetitions if one.cell == cell.id)
    if told is not None:
        return told
    alike = {other.id for other in was.run.cells if other.workload == cell.workload}
    return _median(one.seconds for one in was.repetitions if one.cell in alike)


def _median(values: Iterable[float]) -> float | None:
    found = [*values]
    return statistics.median(found) if found else None


def in_words(seconds: float) -> str:
    """Write a duration as a person would: 45 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
