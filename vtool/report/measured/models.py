"""What a request costs by each path's model, beside what was measured: two tables, and a plot for each workload. Pure.

The models, and what may be believed of them, are of ``vtool/results/explanation.py``. Enter at ``models_of``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vtool.report.measured.cells import names_of, variant_names
from vtool.report.measured.panels import Mark, Plot, Series, hypervisor_name, is_drawable
from vtool.report.measured.tables import Field, Table
from vtool.report.quantities import Scale, number, percent, quantity, scale_of, size
from vtool.results.explanation import Crossover, Explanation, Lower, Model, Point, explain
from vtool.results.measures import TOTAL
from vtool.results.records import Clock
from vtool.results.run_folder import RunRead

_WORDS = {"latency_mean": "Mean latency", TOTAL: "Processor time"}


@dataclass(frozen=True)
class ModelPlot:
    """A workload on a device, its paths' models beside what was measured."""

    heading: str
    plot: Plot


@dataclass(frozen=True)
class Models:
    """The models of all runs by one clock. ``terms`` and ``crossovers`` are None where there are none."""

    clock: Clock
    terms: Table | None
    crossovers: Table | None
    plots: tuple[ModelPlot, ...]


def models_of(runs: Sequence[RunRead], styles: Mapping[str, int], several: bool) -> list[Models]:
    """Return the models of each clock. ``styles`` are of data paths; ``several``: rows say which run is theirs."""
    names = names_of([run.run for run in runs])
    with np.errstate(over="ignore", invalid="ignore"):  # a run folder may hold any number
        found = [(name, run, explain(run)) for run, name in zip(runs, names, strict=True)]
    clocks = dict.fromkeys(model.clock for _, _, explained in found for model in explained.models)
    return [_of_clock(clock, found, styles, several) for clock in clocks if clock is not Clock.EMULATED]


def _of_clock(
    clock: Clock, found: Sequence[tuple[str, RunRead, Explanation]], styles: Mapping[str, int], several: bool
) -> Models:
    told = [
        (f"{name}: " if several else "", _names(run), [m for m in explained.models if m.clock is clock],
         [one for one in explained.crossovers if one.clock is clock])
        for name, run, explained in found
    ]  # fmt: skip
    rows = [_row(prefix, names, model) for prefix, names, models, _ in told for model in models if model.checked]
    crossings = [_crossing(prefix, names, one) for prefix, names, _, crossovers in told for one in crossovers]
    plots = tuple(
        plot for prefix, names, models, crossovers in told for plot in _plots(prefix, names, models, crossovers, styles)
    )
    headings = (
        "Data path",
        "Workload",
        "Of",
        "Each request",
        "Each byte",
        "Each page",
        "Each exit",
        "Off by at most",
        "Outcome",
    )
    numeric = (False, False, False, True, True, True, True, True, False)
    terms = Table("What each path's model makes of it", clock, headings, numeric, tuple(rows)) if rows else None
    columns = ("Copying", "Mapping", "Workload", "Of", "Which costs less")
    of = (
        Table("Copying and mapping, by the models", clock, columns, (False,) * 5, tuple(crossings))
        if crossings
        else None
    )
    return Models(clock, terms, of, plots)


def _names(run: RunRead) -> dict[str, str]:
    """Return each variant's name, after that of the hypervisor that it was measured on."""
    kinds = {cell.variant: hypervisor_name(cell.hypervisor) for cell in run.run.cells if cell.hypervisor}
    return {variant: f"{kinds.get(variant, '')} {name}".strip() for variant, name in variant_names(run.run).items()}


def _of(model: Model | Crossover) -> str:
    return _WORDS.get(model.measure.name, model.measure.label)


def _row(prefix: str, names: Mapping[str, str], model: Model) -> tuple[Field, ...]:
    by_term = {term.each: term for term in model.terms}
    worst = max((abs(point.residual) for point in model.points), default=0.0)

    def field(each: str) -> Field:
        if (term := by_term.get(each)) is None:
            return Field("–", "in the others" if each in model.inseparable and not model.failed else "")
        ends = [quantity(end, model.measure.unit, model.clock) for end in (term.low, term.high)]
        return Field(quantity(term.value, model.measure.unit, model.clock), " to ".join(ends), term.value)

    said = f"fails, and predicts nothing: {model.failed}" if model.failed else "holds"
    return (
        Field(f"{prefix}{names[model.variant]}", model.way.value),
        Field(f"{model.workload} on {model.device}"),
        Field(_of(model)),
        *(field(each) for each in ("request", "byte", "page", "exit")),
        Field(percent(worst), sort=worst),
        Field(said),
    )


def _crossing(prefix: str, names: Mapping[str, str], one: Crossover) -> tuple[Field, ...]:
    return (
        Field(f"{prefix}{names[one.copying]}"),
        Field(names[one.mapping]),
        Field(one.workload),
        Field(_of(one)),
        Field(*_lower(one)),
    )


def _lower(one: Crossover) -> tuple[str, str]:
    if one.lower is not Lower.MAPPING_FROM or one.payload_bytes is None:
        return one.lower.value, ""
    low = "less than was measured" if one.low is None else _payload(one.low)
    high = "more than was measured" if one.high is None else _payload(one.high)
    return f"mapping from {_payload(one.payload_bytes)} on", f"95 % interval {low} to {high}"


def _payload(payload: float) -> str:
    return quantity(payload, "B", Clock.REAL)


# -- plots


def _plots(
    prefix: str,
    names: Mapping[str, str],
    models: Sequence[Model],
    crossovers: Sequence[Crossover],
    styles: Mapping[str, int],
) -> list[ModelPlot]:
    groups: dict[tuple[str, str, str, str], list[Model]] = {}
    for model in models:
        if model.checked and _is_plottable(model):
            hypervisor = names[model.variant].partition(" ")[0]
            groups.setdefault((hypervisor, model.device, model.workload, model.measure.label), []).append(model)
    return [
        ModelPlot(f"{prefix}{hypervisor}, {device}: {workload}", _plot(names, mine, crossovers, styles))
        for (hypervisor, device, workload, _), mine in groups.items()
        if any(not model.failed for model in mine)
    ]


def _is_plottable(model: Model) -> bool:
    payloads = {point.payload_bytes for point in model.points}
    return len(payloads) > 1 and min(payloads) > 0 and all(is_drawable(point.measured) for point in model.points)


def _plot(
    names: Mapping[str, str], models: Sequence[Model], crossovers: Sequence[Crossover], styles: Mapping[str, int]
) -> Plot:
    first = models[0]
    values = [point.measured for model in models for point in model.points]
    scale = scale_of(first.measure.unit, first.clock, values, first.measure.per)
    payloads = sorted({point.payload_bytes for model in models for point in model.points})
    found = {model.variant for model in models}
    limits = [
        (one.payload_bytes, f"{names[one.mapping]} costs less than {names[one.copying]}: {_lower(one)[0]}")
        for one in crossovers
        if one.payload_bytes is not None
        and (one.workload, one.measure) == (first.workload, first.measure)
        and {one.copying, one.mapping} <= found
    ]
    return Plot(
        _of(first),
        scale.unit,
        first.clock,
        tuple(_series(names[model.variant].partition(" ")[2], model, scale, styles) for model in models),
        tuple((float(payload), size(payload)) for payload in payloads),
        across=False,
        log=max(values) / min(values) >= 20,
        limits=tuple(limits),
    )


def _series(name: str, model: Model, scale: Scale, styles: Mapping[str, int]) -> Series:
    style = next((styles[word] for word in (name, f"{model.data_path} ({name})") if word in styles), 0)
    points = sorted(model.points, key=lambda point: point.payload_bytes)
    marks = []
    for point in points:
        value = point.measured / scale.factor
        marks.append(Mark(float(point.payload_bytes), value, value, value, _said(name, model, point, scale)))
    line = () if model.failed else tuple(
        (float(point.payload_bytes), sum(point.parts.values()) / scale.factor) for point in points
    )  # fmt: skip
    return Series(name, style, tuple(marks), line)


def _said(name: str, model: Model, point: Point, scale: Scale) -> str:
    measured = f"{name}, {size(point.payload_bytes)}: {scale.of(point.measured)} {scale.unit} measured"
    if model.failed:
        return f"{measured}; its model fails"
    total = sum(point.parts.values())
    parts = ", ".join(f"{percent(part / total)} by {each}" for each, part in point.parts.items())
    return f"{measured}, {number(total / scale.factor)} by the model: {parts}"
