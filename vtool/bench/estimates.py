"""How long a run will take: by stated estimates, and, once there are any, by what was measured.

Enter at ``estimate``.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable

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


def estimate(planned: Planned, was: RunRead | None = None) -> Estimate:
    """Return how long a run takes that has not begun, or what is left of one."""
    count = planned.loaded.matrix.repetitions
    missing = was.missing() if was else [(cell.id, n) for n in range(1, count + 1) for cell in planned.possible]
    cells = {cell.id: cell for cell in planned.cells}
    seconds, measured = 0.0, 0
    for name, _ in missing:
        told = _seconds_of(was, cells[name])
        point = planned.workloads[cells[name].workload]
        measured += told is not None
        seconds += told if told is not None else point.workload.estimated_s() + AROUND_S
    variants = {cells[name].variant for name, _ in missing}
    # One that is alone is deployed once.
    rounds = sorted({(number if len(variants) > 1 else 1, cells[name].variant) for name, number in missing})
    for _, variant in rounds:
        told = _median(one.seconds for one in was.deployments if one.variant == variant) if was else None
        measured += told is not None
        seconds += told if told is not None else DEPLOYMENT_S
    return Estimate(seconds, len(missing), len(rounds), len(missing) + len(rounds), measured)


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
