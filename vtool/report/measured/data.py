"""The data of runs as rows, one for each metric and cost of each repetition: CSV and Parquet.

What the columns are, docs/reference/bench-format.md says; ``COLUMNS`` has their order. Enter at ``write_csv``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vtool.report.measured.words import MARKS
from vtool.report.summary import printable
from vtool.results.records import Cell, Repetition
from vtool.results.run_folder import RunRead

COLUMNS: Mapping[str, type] = {
    "run": str,
    "run_id": str,
    "cell": str,
    "baseline": str,
    "variant": str,
    "axes": str,
    "board": str,
    "hypervisor": str,
    "frontend": str,
    "device": str,
    "type": str,
    "data_path": str,
    "program": str,
    "transport": str,
    "workload": str,
    "tool": str,
    "parameters": str,
    "number": int,
    "attempt": int,
    "session": int,
    "environment": str,
    "started": str,
    "seconds": float,
    "clock": str,
    "emulated": str,
    "void": str,
    "why": str,
    "work_requests": int,
    "work_bytes": int,
    "work_seconds": float,
    "kind": str,
    "name": str,
    "side": str,
    "unit": str,
    "value": float,
    "better": str,
    "source": str,
}
"""The columns in their order, with what they hold; numbers may be missing, and text be empty."""


def rows(runs: Sequence[RunRead]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows in the order of the records; a repetition without any number has one row without a name."""
    for run in runs:
        cells, known = run.cells, {cell.id: tuple(_of_cell(run, cell)) for cell in run.run.cells}
        for one in run.repetitions:
            told = (*known[cells[one.cell].id], *_of_repetition(one))
            for metric in one.metrics:
                yield (*told, "metric", metric.name, "", metric.unit, metric.value, metric.better.value, "")
            for cost in one.costs:
                yield (*told, "cost", cost.name, cost.side.value, cost.unit, cost.value, "lower", cost.source)
            if not one.metrics and not one.costs:
                yield (*told, "", "", "", "", None, "", "")


def _of_cell(run: RunRead, cell: Cell) -> Iterator[str]:
    workload = run.workloads[cell.workload]
    yield from (run.run.name, run.run.id, cell.id, cell.baseline or "", cell.variant)
    yield json.dumps(run.variants[cell.variant].axes, sort_keys=True)
    yield from (cell.board, cell.hypervisor, cell.frontend, cell.device, cell.type, cell.data_path, cell.program)
    yield from (cell.transport, cell.workload, workload.tool, json.dumps(workload.parameters, sort_keys=True))


def _of_repetition(one: Repetition) -> Iterator[Any]:
    yield from (one.number, one.attempt, one.session, one.environment or "", one.started, one.seconds)
    yield from (one.clock.value, MARKS[one.clock], one.void.value if one.void else "", one.why)
    yield from (one.work.requests, one.work.bytes, one.work.seconds)


def write_csv(runs: Sequence[RunRead], path: Path) -> None:
    """Write RFC 4180 in UTF-8, with the columns' names first; numbers as Python writes them, to the last digit."""
    with path.open("w", encoding="utf-8", newline="") as file:
        written = csv.writer(file, lineterminator="\r\n")
        written.writerow(COLUMNS)
        written.writerows(map(_harmless, rows(runs)))


def _harmless(row: tuple[Any, ...]) -> list[Any]:
    """Return a row of which no text begins a formula where a spreadsheet opens it (OWASP: CSV injection)."""
    return [
        f"'{text}" if isinstance(value, str) and (text := printable(value))[:1] in ("=", "+", "-", "@") else value
        for value in row
    ]
