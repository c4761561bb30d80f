"""Every cell of some runs with what is shown of it: its numbers with their spread, and how far it is from its baseline.

Enter at ``measured_cells``. What a difference is, and how sure, ``vtool/results/degradation.py`` decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TypeVar

from vtool.base.records import record
from vtool.results.changes import Change
from vtool.results.degradation import degradations, void_of
from vtool.results.means import mean
from vtool.results.measures import TOTAL, Measure, Measures
from vtool.results.records import Cell, Clock, Repetition, Run, Side, Void, WorkloadUsed
from vtool.results.run_folder import RunRead

Value = TypeVar("Value")


class Quantity(Enum):
    """What is shown of a cell, of the many numbers that it has."""

    THROUGHPUT = "Throughput"
    LATENCY = "Latency, median"
    TAIL = "Latency, 99th percentile"
    CPU = "Processor time"
    EXITS = "Exits"
    COPY = "Memory copy rate"
    READY = "Time to ready"


_NAMES: Mapping[Quantity, tuple[tuple[str, Side | None, str], ...]] = {
    Quantity.THROUGHPUT: (("throughput", None, ""),),
    Quantity.LATENCY: (("latency_p50", None, ""), ("latency_mean", None, "")),
    Quantity.TAIL: (("latency_p99", None, ""),),
    Quantity.CPU: ((TOTAL, Side.BOARD, "MiB"),),
    Quantity.EXITS: (("exits", Side.HYPERVISOR, "request"),),
    Quantity.COPY: (("copy", None, ""),),
    Quantity.READY: (("ready", None, ""),),
}
"""Of each quantity the measures that are it, by name, side and what they are per: the first one that is there."""
_SHOWN = {name for names in _NAMES.values() for name in names}
OF_PATHS = (Quantity.THROUGHPUT, Quantity.LATENCY, Quantity.TAIL, Quantity.CPU, Quantity.EXITS)
"""What is told of a device's data path; the others are of a guest or board."""
PAYLOADS = ("block_size", "length", "size")
"""The parameters of workloads that are a payload, in bytes."""
_UNTOLD = (*PAYLOADS, "seconds", "warmup_s", "runs", "rate")
"""Parameters that set no workload apart for a reader."""


@record
class Spread:
    """A number of all repetitions that count: mean, smallest and largest; in ``measure.unit``."""

    measure: Measure
    count: int
    mean: float
    least: float
    most: float


@dataclass(frozen=True)
class MeasuredCell:
    """A cell that can be, with what is known of it. ``run`` and ``variant`` are words that set it apart from others.

    ``not_compared`` says why there are no ``changes``; a baseline has neither. ``compared_with`` is its baseline, which
    may itself have one, and ``baseline`` has that one's numbers.
    """

    run: str
    variant: str
    cell: Cell
    workload: WorkloadUsed
    clock: Clock
    wanted: int
    counted: int
    void: Mapping[Void, int]
    spreads: Mapping[Quantity, Spread]
    baseline: Mapping[Quantity, Spread]
    changes: Mapping[Quantity, Change]
    is_baseline: bool
    not_compared: str
    compared_with: Cell | None = None

    @property
    def payload(self) -> int | None:
        """Return how many bytes a request has, where its workload says so."""
        found = (self.workload.parameters.get(key) for key in PAYLOADS)
        return next((size for size in found if isinstance(size, int) and size > 0), None)

    @cached_property
    def kind(self) -> tuple[str, ...]:
        """Return what cells of one plot have in common, as words."""
        told = {key: value for key, value in self.workload.parameters.items() if value and key not in _UNTOLD}
        parameters = ", ".join(
            str(value) if isinstance(value, str) else f"{key} {value}" for key, value in told.items()
        )
        words = f"{self.workload.tool} {parameters}".strip()
        return (self.run, self.clock.value, self.cell.board, self.cell.hypervisor, self.where, words)

    @property
    def where(self) -> str:
        """Return the device with its type, or the guest, that was measured."""
        return f"{self.cell.device} ({self.cell.type})" if self.cell.device else self.cell.frontend

    @property
    def by_program(self) -> str:
        """Return what follows the name of a data path: by which program it is served; nothing of a guest's cell."""
        return f" by {self.cell.program}" if self.cell.program else ""

    @property
    def by_another_program(self) -> bool:
        """Whether its baseline is served by another program, so that a difference is of both, path and program."""
        return self.compared_with is not None and self.compared_with.program != self.cell.program

    @property
    def path(self) -> str:
        """Return the data path, or nothing where none was measured."""
        return self.cell.data_path


def measured_cells(runs: Sequence[RunRead]) -> list[MeasuredCell]:
    """Return every cell of the runs that can be, in their order."""
    names = names_of([run.run for run in runs])
    return [cell for run, name in zip(runs, names, strict=True) for cell in _of_run(run, name)]


def series_of(cell: MeasuredCell) -> str:
    """Return the name of a cell's series: the data path, with the variant where that is more than the path's name."""
    if cell.variant.startswith(cell.path):
        return cell.variant
    return f"{cell.path} ({cell.variant})" if cell.variant else cell.path


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return a name for each run that sets it apart from the others."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else f"{name} {run.id}" for name, run in zip(names, runs, strict=True)]


def variant_names(run: Run) -> dict[str, str]:
    """Return what sets each variant apart: its values of the axes that have several."""
    several = [name for name, values in run.axes.items() if len(values) > 1]
    return {one.id: ", ".join(one.axes[name] for name in several if name in one.axes) or one.id for one in run.variants}


def _of_run(run: RunRead, name: str) -> Iterable[MeasuredCell]:
    variants, workloads, void = variant_names(run.run), run.workloads, void_of(run)
    compared = degradations(run, with_interval=_is_shown)
    changes = {one.cell.id: one.changes for one in compared.cells}
    why = {one.cell: one.why for one in compared.not_compared}
    baselines = {cell.baseline for cell in run.run.cells}
    spreads = {cell.id: _spreads(run.measured(cell.id)) for cell in run.run.cells if not cell.faults}
    for cell in run.run.cells:
        if cell.faults:
            continue
        sound = run.sound(cell.id)
        yield MeasuredCell(
            run=name,
            variant=variants[cell.variant],
            cell=cell,
            workload=workloads[cell.workload],
            clock=_clock(run, sound),
            wanted=run.run.repetitions,
            counted=len(sound),
            void=void.get(cell.id, {}),
            spreads=spreads[cell.id],
            baseline=spreads.get(cell.baseline or "", {}),
            changes=_by_quantity({change.measure: change for change in changes.get(cell.id, ())}),
            is_baseline=cell.baseline is None and cell.id in baselines,
            not_compared=why.get(cell.id, ""),
            compared_with=run.cells.get(cell.baseline or ""),
        )


def _clock(run: RunRead, sound: Sequence[Repetition]) -> Clock:
    """Return what a cell's seconds are; of one that was not measured, what those of its run are."""
    return next((one.clock for one in (*sound, *run.repetitions)), Clock.REAL)


def _spreads(measured: Mapping[int, Measures]) -> dict[Quantity, Spread]:
    found: dict[Quantity, list[tuple[Measure, float]]] = {}
    for numbers in measured.values():
        shown = {measure: (measure, value) for measure, value in numbers.items() if _is_shown(measure)}
        for quantity, one in _by_quantity(shown).items():
            found.setdefault(quantity, []).append(one)
    return {quantity: _spread(values[0][0], [value for _, value in values]) for quantity, values in found.items()}


def _spread(measure: Measure, values: Sequence[float]) -> Spread:
    return Spread(measure, len(values), mean(values), min(values), max(values))


def _is_shown(measure: Measure) -> bool:
    return (measure.name, measure.side, measure.per) in _SHOWN


def _by_quantity(of: Mapping[Measure, Value]) -> dict[Quantity, Value]:
    """Return what there is of each quantity."""
    by_name = {(m.name, m.side, m.per): value for m, value in of.items() if _is_shown(m)}
    return {
        quantity: next(by_name[name] for name in names if name in by_name)
        for quantity, names in _NAMES.items()
        if any(name in by_name for name in names)
    }
