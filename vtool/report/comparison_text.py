"""A comparison of runs as text and Markdown: a table for each cell, and what was not compared with why. Pure.

A regression is told once: by its row in the table of its cell. What is said at the end counts them.

Enter at ``comparison_lines``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from vtool.base.records import record
from vtool.report.explanation_text import explanation_lines
from vtool.report.quantities import CLOCK_WORDS, percent, quantity, served, with_step
from vtool.report.styled import Style, heading, note, styled_table
from vtool.results.changes import Change, Verdict
from vtool.results.comparison import Against, ComparedRun, Comparison
from vtool.results.degradation import CellDegradation, NotCompared
from vtool.results.measures import main_measures
from vtool.results.records import Better, Clock, Void
from vtool.results.regressions import CellRegression

_MOST_NAMED = 3
_LONG = 60


@record
class _Shown:
    """How tables are written, and which rows they have; ``threshold`` is that by which their rows are judged."""

    style: Style
    all_rows: bool
    threshold: float | None

    def rows_of(self, changes: Sequence[Change]) -> list[Change]:
        """Return the changes that are shown."""
        main = main_measures(change.measure for change in changes)
        return [one for one in changes if self.all_rows or one.measure in main or self.is_regression(one)]

    def is_regression(self, change: Change) -> bool:
        """Whether a change is one of ``Comparison.regressed``."""
        return self.threshold is not None and change.regressed(self.threshold)


def comparison_lines(comparison: Comparison, style: Style, *, all_rows: bool = False) -> Iterator[str]:
    """Yield the comparison: between runs where there are several, else against the baselines.

    ``all_rows``: every measure, and of several runs also what each loses against its own baselines.
    """
    shown = _Shown(style, all_rows, comparison.threshold)
    if not comparison.against or all_rows:
        # Of several runs, what each loses against its own baselines is not what is judged.
        own = replace(shown, threshold=None) if comparison.against else shown
        for run in comparison.runs:
            yield from _run_lines(comparison, run, own)
    for one in comparison.against:
        yield from _against_lines(comparison, one, shown)
    for run, explained in zip(comparison.runs, comparison.explained, strict=False):
        yield from explanation_lines(run.folder, explained, style)
    yield from _outcome_lines(comparison)


def _run_lines(comparison: Comparison, run: ComparedRun, shown: _Shown) -> Iterator[str]:
    yield heading(f"{run.folder}: {run.name}, {_told_of(run)}", shown.style)
    yield from _undecided(comparison, comparison.runs.index(run), None, shown.style)
    yield from _other_programs(run.degradation.cells, shown.style)
    for cell in run.degradation.cells:
        both = [f"{of}{f', {served(one)}' if served(one) else ''}" for of, one in
                ((cell.cell.id, cell.cell), (cell.baseline.variant, cell.baseline))]  # fmt: skip
        words = f"{both[0]}, against {both[1]} ({CLOCK_WORDS[cell.clock]}; {_rounds(cell)})"
        rows = [_row(change, cell.clock, shown) for change in shown.rows_of(cell.changes)]
        yield from _cell_lines(words, "baseline", rows, shown.style)
    yield from _not_compared(run.degradation.not_compared, shown.style)


def _against_lines(comparison: Comparison, one: Against, shown: _Shown) -> Iterator[str]:
    first, run, found = comparison.runs[0], comparison.runs[one.run], one.regression
    yield heading(f"{run.folder} ({_told_of(run)}) against {first.folder} ({_told_of(first)})", shown.style)
    yield from _differences(found.cells, shown.style)
    yield from _undecided(comparison, one.run, 0, shown.style)
    for cell in found.cells:
        how = "as a share of its baseline; " if cell.relative else ""
        counts = " and ".join(map(str, cell.repetitions))
        was, now = served(cell.reference), served(cell.cell)
        how_served = f", {now}" if now else ""
        how_served += f", before {was or 'of no path'}" if was != now else ""
        words = f"{cell.cell.id}{how_served} ({CLOCK_WORDS[cell.clock]}; {how}{counts} repetitions)"
        rows = [_row(change, cell.clock, shown, relative=cell.relative) for change in shown.rows_of(cell.changes)]
        yield from _cell_lines(words, first.folder, rows, shown.style)
    yield from _not_compared(found.not_compared, shown.style)


def _cell_lines(words: str, reference: str, rows: Sequence[Sequence[str]], style: Style) -> Iterator[str]:
    yield ""
    yield words if style is Style.TEXT else f"**{words}**"
    yield from styled_table([("measure", reference, "here", "change", "95 % interval", ""), *rows], style)


def _row(change: Change, clock: Clock, shown: _Shown, *, relative: bool = False) -> tuple[str, str, str, str, str, str]:
    unit = change.measure.unit
    was, now = (
        f"× {with_step(value, step)}" if relative else quantity(value, unit, clock, step)
        for value, step in ((change.reference, change.reference_step), (change.value, change.step))
    )
    interval = _spread(change, clock, relative)
    low, high = _signed(change.low, change), _signed(change.high, change)
    if low is not None and high is not None:
        interval = f"{percent(min(low, high), signed=True)} to {percent(max(low, high), signed=True)}"
    of = _signed(change.change, change)
    return (
        change.measure.label,
        was,
        now,
        percent(of, signed=True) if of is not None else "",
        interval,
        _verdict(change, regression=shown.is_regression(change)),
    )


def _signed(share: float | None, change: Change) -> float | None:
    """Return the share by which the number itself is more or less, whichever way is worse."""
    if share is None:
        return None
    return -share if change.measure.better is Better.HIGHER else share


def _spread(change: Change, clock: Clock, relative: bool) -> str:
    """Return what stands for an interval where repetitions are too few."""
    if change.low is not None or change.verdict is Verdict.NO_TIMES or relative:
        return ""
    if change.repetitions == 1:
        return "none; seen once"
    unit, ends = change.measure.unit, (change.least, change.most)
    least, most = (quantity(value, unit, clock, change.step, shown=False) for value in ends)
    return f"none; {least} to {most} seen"


def _verdict(change: Change, *, regression: bool) -> str:
    chance = f", p {change.p:.2g}" if change.p is not None and change.verdict in (Verdict.WORSE, Verdict.BETTER) else ""
    return f"{'regression' if regression else change.verdict.value}{chance}"


def _told_of(run: ComparedRun) -> str:
    clocks = ", ".join(CLOCK_WORDS[Clock(clock)] for clock in run.clocks)
    void = f", {run.void} void" if run.void else ""
    void += f", {run.superseded} of a board that was lost" if run.superseded else ""
    where = ", ".join(run.boards) or "no board"
    left = f"; unfinished: {run.done} of {run.planned} repetitions are there" if run.done < run.planned else ""
    return f"{where}; {clocks or 'nothing measured'}; {_count(run.repetitions, 'repetition')} of each cell{void}{left}"


def _rounds(cell: CellDegradation) -> str:
    void = [*_void_words("void", cell.void), *_void_words("void of the baseline", cell.baseline_void)]
    return ", ".join([_count(cell.rounds, "round"), *void])


def _void_words(what: str, void: Mapping[Void, int]) -> Iterator[str]:
    if void:
        yield f"{sum(void.values())} {what} ({', '.join(why.value for why in void)})"


def _undecided(comparison: Comparison, run: int, against: int | None, style: Style) -> Iterator[str]:
    for one in comparison.undecided:
        if (one.run, one.against) == (run, against):
            yield note(f"{one.why} ({_count(one.cells, 'cell')})", style)


def _other_programs(cells: Sequence[CellDegradation], style: Style) -> Iterator[str]:
    other = [cell for cell in cells if cell.cell.program != cell.baseline.program]
    if other:
        yield note(
            f"{_count(len(other), 'cell')} of another program than the baseline: what differs is of both, the data "
            "path and the program",
            style,
        )


def _differences(cells: Sequence[CellRegression], style: Style) -> Iterator[str]:
    """Say in what the runs differ, each fact once."""
    axes = dict.fromkeys(axis for cell in cells for axis in cell.axes)
    if not axes:
        yield note("nothing that is known of either differs", style)
        return
    yield note(f"they differ in: {', '.join(axes)}", style)
    facts = dict.fromkeys((name, was, now) for cell in cells for name, (was, now) in cell.facts.items())
    yield from styled_table(
        [("fact", "was", "is"), *((name, *_where_they_differ(was, now)) for name, was, now in facts)], style
    )


def _where_they_differ(was: str, now: str) -> tuple[str, str]:
    """Return two facts; of long ones (arguments, features) only the words that the other has not."""
    if max(len(was), len(now)) <= _LONG:
        return was, now
    words, others = Counter(was.split()), Counter(now.split())
    return _short(" ".join((words - others).elements())), _short(" ".join((others - words).elements()))


def _short(text: str) -> str:
    return f"... {text}" if len(text) <= _LONG else f"... {text[:_LONG]} ... ({len(text)} characters)"


def _not_compared(found: Sequence[NotCompared], style: Style) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for one in found:
        by_reason.setdefault(one.why, []).append(one.cell)
    if by_reason:
        yield ""
        yield note("not compared:", style)
    for why, cells in by_reason.items():
        more = f" and {len(cells) - _MOST_NAMED} more" if len(cells) > _MOST_NAMED else ""
        yield f"{'-' if style is Style.MARKDOWN else ' '} {', '.join(cells[:_MOST_NAMED])}{more}: {why}"


def _outcome_lines(comparison: Comparison) -> Iterator[str]:
    if comparison.threshold is None:
        return
    yield ""
    beyond = f"beyond {comparison.threshold * 100:g} %"
    if not comparison.regressed:
        yield f"no significant regression {beyond}"
        if _none_could_be(comparison):
            yield f"nothing could have been one: {comparison.undecided[-1].why}"
        return
    cells = len({(one.run, one.cell) for one in comparison.regressed})
    yield f"{_count(len(comparison.regressed), 'significant regression')} {beyond}, in {_count(cells, 'cell')}"


def _none_could_be(comparison: Comparison) -> bool:
    """Whether nothing that was judged by the threshold had repetitions enough."""
    if comparison.against:
        changes = [change for one in comparison.against for cell in one.regression.cells for change in cell.changes]
    else:
        changes = [change for cell in comparison.runs[0].degradation.cells for change in cell.changes]
    return bool(comparison.undecided) and all(change.p is None for change in changes)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
