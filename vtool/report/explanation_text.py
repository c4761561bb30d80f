"""Models of what requests cost, beside what was measured, as text and Markdown. Pure.

Enter at ``explanation_lines``.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.report.quantities import CLOCK_WORDS, percent, quantity, size
from vtool.report.styled import Style, heading, note, styled_table
from vtool.results.explanation import Crossover, Explanation, Lower, Model, Point
from vtool.results.records import Clock

LEFT_OUT = "caches, TLBs, IOMMUs, the bandwidth of memory, DMA"
"""What an emulated board has not, and so no model of it."""


def explanation_lines(folder: str, explained: Explanation, style: Style) -> Iterator[str]:
    """Yield each model with its points, then at which payload mapping beats copying."""
    yield ""
    yield heading(f"{folder}: what a request costs, by a model (the numbers above are what was measured)", style)
    if not explained.models:
        yield note("no cells to fit one to: fio and sockperf make requests of a size, in at least three of them", style)
    if any(model.clock is Clock.INSTRUCTIONS for model in explained.models):
        yield note(f"emulated: instructions. Not in it: {LEFT_OUT}", style)
    for model in explained.models:
        if model.checked:
            yield from _model_lines(model, style)
    if unchecked := [model for model in explained.models if not model.checked]:
        yield ""
        yield note("too few payloads to check a model by, so that none is told (one more than its terms):", style)
        rows = [
            (model.variant, f"{model.workload} on {model.device}", model.measure.label, CLOCK_WORDS[model.clock])
            for model in unchecked
        ]
        yield from styled_table([("variant", "of", "measure", "measured in"), *rows], style)
    if explained.crossovers:
        yield from _crossover_lines(explained.crossovers, style)


def _model_lines(model: Model, style: Style) -> Iterator[str]:
    yield ""
    way = f"{model.data_path} by {model.program}" if model.program else model.data_path
    words = f"{model.variant} ({way}: {model.way.value}), {model.workload} on {model.device}, {model.measure.label}"
    words = f"{words} ({CLOCK_WORDS[model.clock]})"
    yield words if style is Style.TEXT else f"**{words}**"
    if model.failed:
        yield note(f"  the model fails, and predicts nothing: {model.failed}", style)
    else:
        yield note(f"  assumed: {model.assumed}", style)
        yield from styled_table([("each", "costs", "95 % interval"), *_term_rows(model)], style)
        if model.inseparable:
            yield note(f"  not told apart from these: the cost of each {', '.join(model.inseparable)}", style)
    heads = ("payload", "measured", "model is off by", *(f"of it by {term.each}" for term in model.terms))
    yield from styled_table([heads, *(_point_row(model, point) for point in model.points)], style)


def _term_rows(model: Model) -> Iterator[tuple[str, str, str]]:
    unit, clock = model.measure.unit, model.clock
    for term in model.terms:
        ends = " to ".join(quantity(end, unit, clock) for end in (term.low, term.high))
        yield term.each, quantity(term.value, unit, clock), ends


def _point_row(model: Model, point: Point) -> tuple[str, ...]:
    total = sum(point.parts.values())
    shares = (percent(point.parts[term.each] / total) for term in model.terms)
    measured = quantity(point.measured, model.measure.unit, model.clock)
    return size(point.payload_bytes), measured, percent(point.residual, signed=True), *shares


def _crossover_lines(found: tuple[Crossover, ...], style: Style) -> Iterator[str]:
    yield ""
    yield note("which costs a request less, copying or mapping, by the models:", style)
    rows = [
        (one.copying, one.mapping, f"{one.workload}, {one.measure.label}", _lower(one), CLOCK_WORDS[one.clock])
        for one in found
    ]
    yield from styled_table([("copying", "mapping", "of", "less by", "measured in"), *rows], style)


def _lower(one: Crossover) -> str:
    if one.lower is not Lower.MAPPING_FROM or one.payload_bytes is None:
        return one.lower.value
    low = "less than was measured" if one.low is None else _size(one.low)
    high = "more than was measured" if one.high is None else _size(one.high)
    return f"mapping from {_size(one.payload_bytes)} on (95 % interval: {low} to {high})"


def _size(payload: float) -> str:
    return quantity(payload, "B", Clock.REAL)
