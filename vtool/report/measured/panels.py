"""What plots show, before anything is drawn: cells of one kind side by side, by payload or by data path.

Enter at ``panels_of`` and ``overviews``. A panel is a workload on a device; each of its plots is one quantity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vtool.base.records import record
from vtool.report.measured.cells import MeasuredCell, Quantity, Spread, series_of
from vtool.report.measured.words import LEFT_OUT, MARKS, Said, said_of
from vtool.report.quantities import Scale, scale_of, size
from vtool.results.changes import Change, Verdict
from vtool.results.records import Clock

PLOTTED = (Quantity.THROUGHPUT, Quantity.LATENCY, Quantity.CPU)
_SMALLEST, _LARGEST = 1e-60, 1e60
_LOG_FROM = 20.0
"""From this ratio of largest to smallest on a linear axis would hide the small ones."""


@record
class Mark:
    """A mark of a plot: where it is, the ends of its bar, and everything that it says, in words."""

    x: float
    y: float
    low: float
    high: float
    words: str
    hollow: bool = False


@record
class Series:
    """Marks of one data path; ``style`` is its colour and shape, the same all over the page.

    ``line`` is what a model says, point by point; None joins the marks.
    """

    name: str
    style: int
    marks: tuple[Mark, ...]
    line: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True)
class Plot:
    """One quantity, in ``unit``; ``ticks`` are those of the x axis, or with ``across`` of the y axis, with their words.

    ``across``: values lie along x, and the marks of each row at its y. ``log`` is of the axis of values.
    ``ratios``: what is shown are ratios, and 1 is no difference. ``limits`` are payloads, each with what changes there,
    in words.
    """

    title: str
    unit: str
    clock: Clock
    series: tuple[Series, ...]
    ticks: tuple[tuple[float, str], ...]
    across: bool
    log: bool = False
    ratios: bool = False
    limits: tuple[tuple[float, str], ...] = ()

    @property
    def words(self) -> str:
        """Return what the plot shows in one sentence."""
        by = "by data path" if self.across else "by payload"
        marks = [mark for series in self.series for mark in series.marks]
        clock = f" ({MARKS[self.clock]}, without {LEFT_OUT})" if MARKS[self.clock] else ""
        limits = "".join(f"; {words}" for _, words in self.limits)
        return f"{self.title} {by}, {self.unit}{clock}; {len(marks)} marks{limits}"


@record
class Row:
    """A row of a panel's numbers: data path, program, payload, then a number with its spread for each plot."""

    series: str
    program: str
    payload: str
    numbers: tuple[str, ...]


@dataclass(frozen=True)
class Panel:
    """A workload on a device, its plots and their numbers. ``headings`` are those of the numbers."""

    heading: str
    clock: Clock
    plots: tuple[Plot, ...]
    headings: tuple[str, ...]
    rows: tuple[Row, ...]


def styles_of(cells: Iterable[MeasuredCell]) -> dict[str, int]:
    """Return a style for each series, by the order in which they come."""
    names = dict.fromkeys(series_of(cell) for cell in cells if cell.path)
    return {name: number for number, name in enumerate(names)}


def panels_of(cells: Sequence[MeasuredCell], styles: Mapping[str, int], several: bool) -> list[Panel]:
    """Return a panel for each kind of workload of data paths that was measured, in the cells' order.

    ``several``: there are cells of several runs.
    """
    kinds: dict[tuple[str, ...], list[MeasuredCell]] = {}
    for cell in cells:
        if cell.path and cell.spreads:
            kinds.setdefault(cell.kind, []).append(cell)
    return [_panel(mine, styles, several) for mine in kinds.values()]


def _panel(cells: Sequence[MeasuredCell], styles: Mapping[str, int], several: bool) -> Panel:
    first = cells[0]
    payloads = sorted({cell.payload or 0 for cell in cells})
    scales = {
        quantity: scale_of(spreads[0].measure.unit, first.clock, [one.mean for one in spreads], spreads[0].measure.per)
        for quantity in PLOTTED
        if (spreads := [cell.spreads[quantity] for cell in cells if quantity in cell.spreads])
    }
    plots = tuple(
        plot for quantity, scale in scales.items() if (plot := _plot(cells, quantity, scale, styles, payloads)).series
    )
    rows = tuple(
        Row(
            series_of(cell),
            cell.cell.program,
            size(cell.payload) if cell.payload else "",
            tuple(spread_words(cell.spreads.get(quantity), scale) for quantity, scale in scales.items()),
        )
        for cell in cells
    )
    run = f"{first.run}: " if several else ""
    heading = f"{run}{hypervisor_name(first.cell.hypervisor)}, {first.where}: {first.kind[-1]}"
    headings = tuple(f"{quantity.value}, {scale.unit}" for quantity, scale in scales.items())
    return Panel(heading, first.clock, plots, headings, rows)


def hypervisor_name(name: str) -> str:
    """Return a hypervisor's name as it is written."""
    return {"kvm": "KVM", "xen": "Xen"}.get(name, name)


def spread_words(spread: Spread | None, scale: Scale) -> str:
    """Return a mean with its least and most, or a dash."""
    if spread is None:
        return "–"
    if spread.count == 1:
        return f"{scale.of(spread.mean)} (one repetition)"
    return f"{scale.of(spread.mean)} ({scale.of(spread.least)} to {scale.of(spread.most)})"


def _plot(
    cells: Sequence[MeasuredCell],
    quantity: Quantity,
    scale: Scale,
    styles: Mapping[str, int],
    payloads: Sequence[int],
) -> Plot:
    across = len(payloads) < 2
    mine = [(cell, cell.spreads[quantity]) for cell in cells if quantity in cell.spreads]
    mine = [(cell, spread) for cell, spread in mine if is_drawable(spread.mean, spread.least, spread.most)]
    names = list(dict.fromkeys(series_of(cell) for cell, _ in mine))
    series = []
    for row, name in enumerate(names):
        marks = []
        for cell, spread in mine:
            if series_of(cell) != name:
                continue
            mean, low, high = (value / scale.factor for value in (spread.mean, spread.least, spread.most))
            said = f"{name}{cell.by_program}{f', {size(cell.payload)}' if cell.payload else ''}: "
            words = f"{said}{spread_words(spread, scale)} {scale.unit}{_compared(cell, quantity, scale)}"
            where = float(len(names) - row) if across else float(cell.payload or 0)
            marks.append(Mark(mean, where, low, high, words) if across else Mark(where, mean, low, high, words))
        series.append(Series(name, styles[name], tuple(sorted(marks, key=lambda mark: mark.x))))
    values = [end for _, spread in mine for end in (spread.least, spread.most)]
    is_log = bool(values) and min(values) > 0 and max(values) / min(values) >= _LOG_FROM
    ticks = [(float(len(names) - row), name) for row, name in enumerate(names)]
    sizes = [(float(payload), size(payload)) for payload in payloads]
    return Plot(
        quantity.value, scale.unit, cells[0].clock, tuple(series), tuple(ticks if across else sizes), across, is_log
    )


def is_drawable(*values: float) -> bool:
    """Whether an axis can have these values: a run folder may hold any number."""
    return all(value == 0 or _SMALLEST < abs(value) < _LARGEST for value in values)


def _compared(cell: MeasuredCell, quantity: Quantity, scale: Scale) -> str:
    if cell.is_baseline:
        return ", the baseline"
    change = cell.changes.get(quantity)
    if change is None:
        return ""
    than = f"than by {cell.compared_with.program}" if cell.compared_with and cell.by_another_program else ""
    words = (said_of(change).whole, than, of_shared_rounds(cell, quantity, scale))
    return f"; {', '.join(filter(None, words))}"


def of_shared_rounds(cell: MeasuredCell, quantity: Quantity, scale: Scale) -> str:
    """Return the two numbers that a change is of, where they are not those shown: one of both lacks some rounds."""
    change, shown = cell.changes[quantity], (cell.baseline.get(quantity), cell.spreads.get(quantity))
    judged = (change.reference, change.value)
    if all(one is not None and math.isclose(one.mean, of) for one, of in zip(shown, judged, strict=True)):
        return ""
    return f"{scale.of(change.value)} against {scale.of(change.reference)} in the {change.repetitions} rounds of both"


# -- how far every cell is from its baseline


@dataclass(frozen=True)
class Overview:
    """How far all cells of one type of device are from their baselines: a plot, a row for each data path."""

    heading: str
    plot: Plot


def overviews(cells: Sequence[MeasuredCell], styles: Mapping[str, int], several: bool) -> Iterator[Overview]:
    """Yield the overviews of each hypervisor and type of device: the baseline's throughput over that of each cell."""
    groups: dict[tuple[str, ...], list[MeasuredCell]] = {}
    for cell in cells:
        if cell.path and cell.changes:
            groups.setdefault((cell.run, cell.clock.value, cell.cell.hypervisor, cell.cell.type), []).append(cell)
    for (run, _, hypervisor, kind), mine in groups.items():
        quantity = Quantity.THROUGHPUT
        told = [
            (cell, change, ratios)
            for cell in mine
            if (change := cell.changes.get(quantity)) is not None
            and change.verdict is not Verdict.NO_TIMES
            and (ratios := _ratios(change)) is not None
        ]
        if not told:
            continue
        names = list(dict.fromkeys(series_of(cell) for cell, _, _ in told))
        series = []
        for row, name in enumerate(names):
            of_row = [one for one in told if series_of(one[0]) == name]
            step = min(0.12, 0.7 / max(1, len(of_row)))
            marks = []
            for number, (cell, change, (ratio, low, high)) in enumerate(of_row):
                y = len(names) - row + step * ((len(of_row) - 1) / 2 - number)
                sure = change.verdict in (Verdict.WORSE, Verdict.BETTER)
                said: Said = said_of(change)
                words = f"{name}{cell.by_program}, {workload_words(cell)}: {said.whole}"
                marks.append(Mark(ratio, y, low, high, words, hollow=not sure))
            series.append(Series(name, styles[name], tuple(marks)))
        ticks = tuple((float(len(names) - row), name) for row, name in enumerate(names))
        heading = f"{f'{run}: ' if several else ''}{hypervisor_name(hypervisor)}, {TYPES.get(kind, kind)}"
        plot = Plot(
            "Throughput against the baseline",
            "times less throughput",
            mine[0].clock,
            tuple(series),
            ticks,
            across=True,
            log=True,
            ratios=True,
        )
        yield Overview(heading, plot)


def _ratios(change: Change) -> tuple[float, float, float] | None:
    """Return how many times the baseline's throughput is a cell's, and the ends of that; None where no axis has it."""
    if change.change is None:
        return None
    shares = [change.change, *(end for end in (change.low, change.high) if end is not None)]
    if any(share >= 1 or not is_drawable(1 - share) for share in shares):
        return None
    ratios = [1 / (1 - share) for share in shares]
    return ratios[0], min(ratios), max(ratios)


TYPES = {"blk": "disks", "net": "networks", "fs": "shared folders"}


def workload_words(cell: MeasuredCell) -> str:
    """Return a workload's name to read: ``disk: randread, 4KiB`` for ``disk,pattern=randread,block_size=4KiB``."""
    name, *points = cell.cell.workload.split(",")
    pairs = [point.partition("=") for point in points]
    words = [f"{key} {value}" if value.isdigit() else value for key, _, value in pairs]
    return f"{name}: {', '.join(words)}" if words else name
