"""Where the time of a path goes: a small model of what a request costs, and from which payload mapping beats copying.

The model's assumptions are ``ASSUMED``. Part of ``vtool[bench]``. Enter at ``explain``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from vtool.base.records import record
from vtool.base.units import PAGE_BYTES
from vtool.data_paths import DataPath
from vtool.results.cost_model import Fitted, Line, crossing, fitted
from vtool.results.means import mean
from vtool.results.measures import TOTAL, Measure
from vtool.results.records import Cell, Clock, Side
from vtool.results.run_folder import RunRead
from vtool.results.statistics import Array

PAYLOADS: Mapping[str, str] = {"fio": "block_size", "sockperf": "length"}
"""Tools that make one request at a time, and their parameter with its bytes."""
_VARIED = ("depth", "jobs")
_KNOWN = frozenset(path.value for path in DataPath)
_COPYING_PROGRAMS = ("netback",)
"""Grants are its path, and it copies by them (Linux drivers/net/xen-netback/netback.c: GNTTABOP_copy)."""


class Way(Enum):
    """What a path does with each request's data, by which its model has its terms."""

    COPIES = "copies"
    MAPS = "maps"
    NEITHER = "neither copies nor maps"


ASSUMED: Mapping[Way, str] = {
    Way.COPIES: "a request costs the same whatever its size, and each of its bytes, which are copied",
    Way.MAPS: "a request costs the same whatever its size, and each page that is mapped for it",
    Way.NEITHER: "a request costs the same whatever its size, and each of its bytes",
}
_TERMS: Mapping[Way, tuple[str, ...]] = {
    Way.COPIES: ("request", "byte", "exit"),
    Way.MAPS: ("request", "page", "byte", "exit"),
    Way.NEITHER: ("request", "byte", "exit"),
}
"""The terms of a model: those that cannot be told apart from the ones before them are left out."""


@record
class Term:
    """What each request, byte, page or exit costs, in the measure's unit, with the ends of its 95 % interval."""

    each: str
    value: float
    low: float
    high: float


@record
class Point:
    """A cell of a fit: ``measured`` is the mean that is shown everywhere (``means.mean``), ``residual`` a share of it.

    ``exits`` is how many it had on average, ``parts`` what each term comes to, {} if failed.
    """

    cell: str
    payload_bytes: int
    exits: float | None
    repetitions: int
    measured: float
    residual: float
    parts: Mapping[str, float]


@record
class Model:
    """A path's model for one workload. One that ``failed`` (why) has no terms: it predicts nothing.

    One with no more cells than terms goes through all of them whatever they are: it cannot be ``checked``, and failed.

    ``inseparable`` are the terms whose cost is in those of others, since they vary with them in these cells.
    """

    variant: str
    data_path: str
    program: str
    way: Way
    workload: str
    device: str
    clock: Clock
    measure: Measure
    assumed: str
    terms: tuple[Term, ...]
    inseparable: tuple[str, ...]
    points: tuple[Point, ...]
    checked: bool
    failed: str


class Lower(Enum):
    """Which of two paths a request costs less by."""

    MAPPING_FROM = "mapping from this payload on"
    MAPPING = "mapping at every payload that was measured"
    COPYING = "copying at every payload that was measured"
    NOT_TOLD = "not told: between the payloads that were measured, their intervals overlap"


@record
class Crossover:
    """Copying and mapping beside each other. ``payload_bytes`` and its interval are of ``Lower.MAPPING_FROM`` alone.

    None as an end of the interval: it is outside of what was measured.
    """

    copying: str
    mapping: str
    workload: str
    measure: Measure
    clock: Clock
    lower: Lower
    payload_bytes: float | None
    low: float | None
    high: float | None


@record
class Explanation:
    """The models of a run, in the order of its cells, and what they say of mapping and copying."""

    models: tuple[Model, ...]
    crossovers: tuple[Crossover, ...]


def explain(run: RunRead) -> Explanation:
    """Fit a model to each path's cells of each workload: to the latency of single requests, and to processor time."""
    fits = [fit for family, cells in _families(run).items() for fit in _fits(run, family, cells)]
    crossovers = (
        _crossover(copying, mapping)
        for copying in fits
        for mapping in fits
        if copying.model.way is Way.COPIES and mapping.model.way is Way.MAPS and copying.is_beside(mapping)
    )
    return Explanation(tuple(fit.model for fit in fits), tuple(crossovers))


# -- which cells are of one model


@record
class _Family:
    """What cells of one model have in common."""

    variant: str
    device: str
    tool: str
    parameters: tuple[tuple[str, object], ...]

    @property
    def words(self) -> str:
        """Return the workload in words: the tool with what it was told, without its payload."""
        told = (f"{name}={value}" for name, value in self.parameters if name in ("pattern", "protocol"))
        return " ".join((self.tool, *told))


def _families(run: RunRead) -> dict[_Family, list[Cell]]:
    """Return the cells that differ in payload, and in how many requests are made at a time, alone."""
    found: dict[_Family, list[Cell]] = {}
    for cell in run.run.cells:
        workload = run.workloads[cell.workload]
        payload = PAYLOADS.get(workload.tool, "")
        # A newer vtool may have paths that this one does not know.
        known = cell.data_path in _KNOWN and isinstance(workload.parameters.get(payload), int)
        if not known or cell.faults or not run.sound(cell.id):
            continue
        same = tuple(sorted(
            (name, value) for name, value in workload.parameters.items() if name not in (payload, *_VARIED)
        ))  # fmt: skip
        found.setdefault(_Family(cell.variant, cell.device, workload.tool, same), []).append(cell)
    return found


# -- fitting them


@dataclass(frozen=True)
class _Fit:
    family: _Family
    model: Model
    line: Line | None

    def is_beside(self, other: _Fit) -> bool:
        """Whether both are of the same workload, measured alike."""
        mine, its = (
            (of.family.device, of.family.tool, of.family.parameters, of.model.measure, of.model.clock)
            for of in (self, other)
        )
        return mine == its and self.line is not None and other.line is not None


@dataclass(frozen=True)
class _Measured:
    """A cell with what was measured of one measure, in each repetition."""

    cell: Cell
    payload: int
    values: Array
    exits: float | None


def _fits(run: RunRead, family: _Family, cells: Sequence[Cell]) -> Iterator[_Fit]:
    for is_wanted, some in (
        (_is_latency, [cell for cell in cells if _is_one_at_a_time(run, cell)]),
        (_is_total, cells),
    ):
        of = [(cell, run.measured(cell.id)) for cell in some]
        measures = {measure for _, numbers in of for one in numbers.values() for measure in one if is_wanted(measure)}
        clocks = {one.clock for cell in some for one in run.sound(cell.id)}
        if len(measures) != 1 or len(clocks) != 1:
            continue
        (measure,), (clock,) = measures, clocks
        points = [
            _Measured(
                cell,
                int(run.workloads[cell.workload].parameters[PAYLOADS[family.tool]]),
                np.array([one[measure] for one in numbers.values() if one.get(measure, 0.0) > 0]),
                _exits([*numbers.values()]),
            )
            for cell, numbers in of
        ]
        if points := [point for point in points if len(point.values)]:
            yield _fit(family, measure, clock, points)


def _is_latency(measure: Measure) -> bool:
    return measure.name == "latency_mean"


def _is_total(measure: Measure) -> bool:
    return measure.name == TOTAL and measure.per == "request"


def _is_one_at_a_time(run: RunRead, cell: Cell) -> bool:
    """Whether no request waits for another, which would be in its latency."""
    parameters = run.workloads[cell.workload].parameters
    return all(parameters.get(name, 1) == 1 for name in _VARIED)


def _exits(numbers: Sequence[Mapping[Measure, float]]) -> float | None:
    found = [
        value for one in numbers for measure, value in one.items()
        if (measure.name, measure.side, measure.per) == ("exits", Side.HYPERVISOR, "request")
    ]  # fmt: skip
    return sum(found) / len(found) if found else None


def way_of(cell: Cell) -> Way:
    """Return what a cell's path does with data."""
    traits = DataPath(cell.data_path).traits
    if traits.pooled or traits.carries_data or cell.program in _COPYING_PROGRAMS:
        return Way.COPIES
    return Way.MAPS if traits.translated or traits.grants else Way.NEITHER


def _fit(family: _Family, measure: Measure, clock: Clock, points: Sequence[_Measured]) -> _Fit:
    first = points[0].cell
    way = way_of(first)
    counted = all(point.exits is not None for point in points)
    names = [name for name in _TERMS[way] if name != "exit" or counted]
    regressors = np.array([[_amount(name, point) for name in names] for point in points])
    with np.errstate(over="ignore", invalid="ignore"):
        found = fitted(regressors, [point.values for point in points], names)
    chosen = [names[column] for column in found.columns]
    model = Model(
        variant=family.variant,
        data_path=first.data_path,
        program=first.program,
        way=way,
        workload=family.words,
        device=family.device,
        clock=clock,
        measure=measure,
        assumed=ASSUMED[way],
        terms=() if found.failed else tuple(_terms(found, chosen)),
        inseparable=tuple(name for name in names if name not in chosen),
        points=tuple(_points(found, regressors, points, chosen)),
        checked=len(points) > len(chosen),
        failed=found.failed,
    )
    return _Fit(family, model, None if found.failed else _line(found, chosen, points))


def _amount(term: str, point: _Measured) -> float:
    """Return how many requests, bytes, pages or exits a request is."""
    amounts = {
        "request": 1.0,
        "byte": float(point.payload),
        "page": float(-(-point.payload // PAGE_BYTES)),
        "exit": point.exits or 0.0,
    }
    return amounts[term]


def _terms(found: Fitted, names: Sequence[str]) -> Iterator[Term]:
    for index, name in enumerate(names):
        yield Term(name, *found.interval(np.eye(len(names))[index]))


def _points(found: Fitted, regressors: Array, points: Sequence[_Measured], names: Sequence[str]) -> Iterator[Point]:
    for row, point in enumerate(points):
        amounts = regressors[row, list(found.columns)] * found.coefficients
        parts = {} if found.failed else dict(zip(names, map(float, amounts), strict=True))
        yield Point(
            point.cell.id, point.payload, point.exits, len(point.values), mean(point.values.tolist()),
            float(found.residuals[row]), parts,
        )  # fmt: skip


def _line(found: Fitted, names: Sequence[str], points: Sequence[_Measured]) -> Line:
    """Return the model over payloads alone: pages as bytes, exits as many as they were on average."""
    exits = mean([point.exits or 0.0 for point in points])
    of_term = {"request": (1.0, 0.0), "byte": (0.0, 1.0), "page": (0.0, 1.0 / PAGE_BYTES), "exit": (exits, 0.0)}
    turned = np.array([of_term[name] for name in names]).T
    payloads = [float(point.payload) for point in points]
    return Line(turned @ found.coefficients, turned @ found.covariance @ turned.T, found.degrees,
                min(payloads), max(payloads))  # fmt: skip


def _crossover(copying: _Fit, mapping: _Fit) -> Crossover:
    assert copying.line is not None and mapping.line is not None
    found = crossing(copying.line, mapping.line)
    if found.payload is not None:
        lower = Lower.MAPPING_FROM
    elif found.second_lower:
        lower = Lower.MAPPING
    else:
        lower = Lower.COPYING if found.first_lower else Lower.NOT_TOLD
    return Crossover(
        copying.family.variant, mapping.family.variant, copying.family.words, copying.model.measure,
        copying.model.clock, lower, found.payload, found.low, found.high,
    )  # fmt: skip
