"""The tables of the page as plain words: what each path costs, every cell, what was reached, what is missing. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vtool.base.records import record
from vtool.report.measured.cells import (
    OF_PATHS,
    MeasuredCell,
    Quantity,
    names_of,
    series_of,
    variant_names,
)
from vtool.report.measured.panels import TYPES, hypervisor_name, of_shared_rounds, workload_words
from vtool.report.measured.words import MARKS, between, said_of
from vtool.report.quantities import Scale, scale_of, size
from vtool.results.changes import Verdict
from vtool.results.fewest import FEWEST_PAIRED
from vtool.results.records import Clock, RowSeen
from vtool.results.run_folder import RunRead

FEWEST = FEWEST_PAIRED
REACH = "can reach"
"""The rows of a proof that say what a backend can reach have these words (docs/reference/bench-format.md)."""


@record
class Field:
    """A cell of a table: its words, smaller ones below, a number to sort by, and what kind of difference it is.

    ``aside`` has the words of ``Table.folded``.
    """

    text: str
    detail: str = ""
    sort: float | None = None
    kind: str = ""
    mark: str = ""
    aside: str = ""


@dataclass(frozen=True)
class Table:
    """A table that sorts. The first field of each row is its header. ``numeric`` says which columns are numbers.

    On a phone, so many columns after the first are ``folded`` into it, as its fields' ``aside``.
    """

    caption: str
    clock: Clock
    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Field, ...], ...]
    folded: int = 0

    @property
    def note(self) -> str:
        """Return what the table says of numbers that are not of a real board."""
        return MARKS[self.clock]


# -- what each path costs


def path_table(cells: Sequence[MeasuredCell], runs: Mapping[str, RunRead], several: bool) -> Table:
    """Return a row for each data path of each hypervisor and type of device: ranges over its workloads."""
    groups: dict[tuple[str, ...], list[MeasuredCell]] = {}
    for cell in cells:
        if cell.path:
            against = cell.compared_with.variant if cell.compared_with else ""
            key = (cell.run, series_of(cell), *_served(cell), cell.cell.hypervisor, cell.cell.type, against)
            groups.setdefault(key, []).append(cell)
    rows = [_path_row(mine, runs[key[0]], several) for key, mine in groups.items()]
    compared = (Quantity.THROUGHPUT, Quantity.LATENCY, Quantity.CPU)
    headings = ("Data path", *(["Run"] if several else []), "Served by", "Hypervisor", "Device",
                *(q.value for q in compared), "Against", "Exposed memory", "Backend reached", "Workloads")  # fmt: skip
    numeric = (False, *([False] if several else []), *[False] * 3, *[True] * 3, False, True, False, True)
    caption = "Each data path against its baseline: the least and the most over all workloads"
    return Table(caption, cells[0].clock, headings, numeric, tuple(rows), 4 if several else 3)


def _path_row(cells: Sequence[MeasuredCell], run: RunRead, several: bool) -> tuple[Field, ...]:
    first = cells[0]
    memory = run.variants[first.cell.variant].memory.get(first.cell.frontend)
    exposed = Field(size(memory.exposed), sort=memory.exposed) if memory else Field("not known")
    reached = Counter(row.seen.partition(":")[0] for row in _reach_rows(run, first) if row.proven)
    measured = sum(1 for cell in cells if cell.counted)
    return (
        Field(series_of(first), aside=_aside(first, TYPES.get(first.cell.type, first.cell.type), several)),
        *([Field(first.run)] if several else []),
        _program(first),
        Field(hypervisor_name(first.cell.hypervisor)),
        Field(TYPES.get(first.cell.type, first.cell.type)),
        *(_range(cells, quantity) for quantity in (Quantity.THROUGHPUT, Quantity.LATENCY, Quantity.CPU)),
        _compared_with(first, variant_names(run.run)),
        exposed,
        Field(", ".join(reached) or "not recorded"),
        Field(f"{measured} of {len(cells)}", sort=measured),
    )


def _aside(cell: MeasuredCell, what: str, several: bool) -> str:
    """Return what a row's first columns say besides its path."""
    program, transport = _served(cell)
    by = f"by {program} ({transport})" if program else ""
    run = cell.run if several else ""
    return ", ".join(filter(None, (by, run, hypervisor_name(cell.cell.hypervisor), what)))


def _served(cell: MeasuredCell) -> tuple[str, str]:
    return cell.cell.program, cell.cell.transport


def _program(cell: MeasuredCell) -> Field:
    return Field(*_served(cell))


def _compared_with(cell: MeasuredCell, variants: Mapping[str, str]) -> Field:
    """Return what a cell is compared with, and by which program that is served where it is another one."""
    if cell.compared_with is None:
        return Field("–")
    program = f"by {cell.compared_with.program}: another program" if cell.by_another_program else ""
    return Field(variants[cell.compared_with.variant], program)


def _range(cells: Sequence[MeasuredCell], quantity: Quantity) -> Field:
    """Return the least and the most that a quantity differs, over cells."""
    if all(cell.is_baseline for cell in cells):
        return Field("the baseline", sort=0.0, kind="baseline")
    changes = [cell.changes[quantity] for cell in cells if quantity in cell.changes]
    if any(change.verdict is Verdict.NO_TIMES for change in changes):
        return Field("not told", "times mean nothing", kind="no-times", mark="×")
    shares = sorted(change.change for change in changes if change.change is not None)
    if not shares:
        return Field("–", "not measured" if not changes else "the baseline is 0")
    least, most = shares[0], shares[-1]
    verdicts = Counter(change.verdict for change in changes)
    order = (Verdict.WORSE, Verdict.BETTER, Verdict.NONE_SHOWN, Verdict.TOO_FEW, Verdict.BELOW_RESOLUTION)
    shown = next(verdict for verdict in order if verdicts[verdict])
    said = said_of(next(change for change in changes if change.verdict is shown))
    sure = verdicts[Verdict.WORSE] + verdicts[Verdict.BETTER]
    detail = "too few repetitions" if shown is Verdict.TOO_FEW else f"shown in {sure} of {len(changes)}"
    return Field(between(least, most), detail, most, said.kind, said.mark)


# -- every cell


def cell_table(cells: Sequence[MeasuredCell], runs: Mapping[str, RunRead], several: bool) -> Table:
    """Return a row for each cell of a data path, with each quantity and how far it is from the baseline's."""
    mine = [cell for cell in cells if cell.path]
    present = [quantity for quantity in OF_PATHS if any(quantity in cell.spreads for cell in mine)]
    scales = {quantity: _scale(mine, quantity) for quantity in present}
    variants = {name: variant_names(run.run) for name, run in runs.items()}
    headings = ["Data path", *(["Run"] if several else []), "Served by", "Hypervisor", "Device", "Workload"]
    numeric = [False] * len(headings)
    for quantity in present:
        headings += [f"{quantity.value}, {scales[quantity].unit}".rstrip(", "), "against the baseline, 95 % interval"]
        numeric += [True, True]
    headings += ["Against", "Repetitions"]
    numeric += [False, True]
    rows = (tuple(_cell_fields(cell, scales, variants[cell.run], several)) for cell in mine)
    caption, folded = "Every cell that was measured", 4 if several else 3
    return Table(caption, mine[0].clock, tuple(headings), tuple(numeric), tuple(rows), folded)


def _scale(cells: Iterable[MeasuredCell], quantity: Quantity) -> Scale:
    spreads = [(cell, cell.spreads[quantity]) for cell in cells if quantity in cell.spreads]
    measure = spreads[0][1].measure
    return scale_of(measure.unit, spreads[0][0].clock, [spread.mean for _, spread in spreads], measure.per)


def _cell_fields(
    cell: MeasuredCell, scales: Mapping[Quantity, Scale], variants: Mapping[str, str], several: bool
) -> Iterator[Field]:
    yield Field(series_of(cell), aside=_aside(cell, cell.where, several))
    if several:
        yield Field(cell.run)
    yield _program(cell)
    yield Field(hypervisor_name(cell.cell.hypervisor))
    yield Field(cell.where)
    yield Field(workload_words(cell))
    for quantity, scale in scales.items():
        spread = cell.spreads.get(quantity)
        if spread is None:
            yield Field("–")
        else:
            ends = "" if spread.count == 1 else f"{scale.of(spread.least)} to {scale.of(spread.most)}"
            yield Field(scale.of(spread.mean), ends, spread.mean)
        yield _against(cell, quantity, scale)
    yield _compared_with(cell, variants)
    void = f"{sum(cell.void.values())} void" if cell.void else ""
    yield Field(f"{cell.counted} of {cell.wanted}", void, cell.counted)


def _against(cell: MeasuredCell, quantity: Quantity, scale: Scale) -> Field:
    if cell.is_baseline:
        return Field("baseline", kind="baseline", sort=0.0)
    change = cell.changes.get(quantity)
    if change is None:
        return Field("–", "" if not cell.not_compared else "not compared")
    said = said_of(change)
    detail = ", ".join(filter(None, (said.interval, said.detail, of_shared_rounds(cell, quantity, scale))))
    return Field(said.text, detail, change.change, said.kind, said.mark)


def other_table(cells: Sequence[MeasuredCell], several: bool) -> Table | None:
    """Return a row for each cell that is of no data path: how fast memory is copied, how fast a domain starts."""
    mine = [cell for cell in cells if not cell.path and cell.spreads]
    if not mine:
        return None
    rows = []
    for cell in mine:
        for quantity, spread in cell.spreads.items():
            scale = _scale([cell], quantity)
            rows.append((
                Field(cell.variant), *([Field(cell.run)] if several else []), Field(cell.cell.frontend),
                Field(workload_words(cell)), Field(quantity.value),
                Field(f"{scale.of(spread.mean)} {scale.unit}", f"{scale.of(spread.least)} to {scale.of(spread.most)}",
                      spread.mean),
                Field(f"{cell.counted} of {cell.wanted}", sort=cell.counted),
            ))  # fmt: skip
    headings = ("Variant", *(["Run"] if several else []), "Domain", "Workload", "What", "Value", "Repetitions")
    numeric = (*([False] * (len(headings) - 2)), True, True)
    return Table("What is of no data path: memory and starts", mine[0].clock, headings, numeric, tuple(rows))


# -- what was reached


@record
class Reached:
    """What a backend was seen to reach of a domain: in how many of the deployments of a variant."""

    run: str
    variant: str
    subject: str
    what: str
    reached: str
    seen: str
    expected: str
    proven: bool
    times: int


def reached(runs: Sequence[RunRead]) -> list[Reached]:
    """Return every row of what backends could reach, each different one once."""
    found: Counter[tuple[str, str, RowSeen]] = Counter()
    names = names_of([run.run for run in runs])
    for run, name in zip(runs, names, strict=True):
        variants = variant_names(run.run)
        for deployment in run.deployments:
            for row in deployment.rows:
                if REACH in row.what:
                    found[name, variants[deployment.variant], row] += 1
    return [
        Reached(run, variant, row.subject, row.what, row.seen.partition(":")[0], row.seen.partition(": ")[2],
                row.expected, row.proven, times)
        for (run, variant, row), times in found.items()
    ]  # fmt: skip


def _reach_rows(run: RunRead, cell: MeasuredCell) -> Iterator[RowSeen]:
    for deployment in run.deployments:
        if deployment.variant == cell.cell.variant:
            yield from (row for row in deployment.rows
                        if REACH in row.what and row.subject.removeprefix("device ") == cell.cell.device)  # fmt: skip


@record
class Memory:
    """What a domain's memory comes to by a variant's plan, in words."""

    run: str
    variant: str
    domain: str
    owns: Field
    borrows: Field
    exposed: Field


def memory(runs: Sequence[RunRead]) -> list[Memory]:
    """Return what each domain of each variant owns, borrows and exposes."""
    found = []
    for run, name in zip(runs, names_of([run.run for run in runs]), strict=True):
        variants = variant_names(run.run)
        for variant in run.run.variants:
            for domain, of in variant.memory.items():
                fields = (Field(size(value), sort=value) for value in (of.owns, of.borrows, of.exposed))
                found.append(Memory(name, variants[variant.id], domain, *fields))
    return found


# -- what is missing


@record
class Missing:
    """Why some cells or repetitions are not there: in words, how many, and which."""

    why: str
    count: int
    which: tuple[str, ...]


def missing(runs: Sequence[RunRead], cells: Sequence[MeasuredCell]) -> list[Missing]:
    """Return what cannot be, what was not measured, what does not count, and what is compared with nothing."""
    why: dict[str, list[str]] = {}
    for run in runs:
        for cell in run.run.cells:
            for fault in cell.faults[:1]:
                why.setdefault(f"cannot be: {fault.message} ({fault.code})", []).append(cell.id)
        for one in run.repetitions:
            if one.void is not None:
                words = f"does not count, {one.void.value}: {one.why}"
                why.setdefault(words, []).append(f"{one.cell} #{one.number}.{one.attempt}")
        for deployment in run.deployments:
            for fault in deployment.failure[:1]:
                words = f"not deployed: {fault.message} ({fault.code})"
                why.setdefault(words, []).append(deployment.variant)
    for measured in cells:
        if measured.counted < measured.wanted:
            lacks = measured.wanted - measured.counted
            why.setdefault(f"not measured yet: {lacks} of {measured.wanted} repetitions", []).append(measured.cell.id)
        if measured.not_compared:
            why.setdefault(f"compared with nothing: {measured.not_compared}", []).append(measured.cell.id)
    return [Missing(words, len(which), tuple(which)) for words, which in why.items()]
