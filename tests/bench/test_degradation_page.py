"""docs/explanation/degradation.md has the numbers of the runs beside it: VTOOL_GOLDEN=write makes it follow them."""

from __future__ import annotations

import math
import os
import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vtool.results.explanation import explain
from vtool.results.measures import TOTAL, measure, measures_of
from vtool.results.records import Better, Cell, Clock, Repetition, Side
from vtool.results.run_folder import RunRead, read_run

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "degradation.md"
DATA = ROOT / "docs" / "explanation" / "data"
RUNS = sorted(folder.name for folder in DATA.iterdir())
AGAIN = "-again"
"""Ends the name of a run that repeats another one."""
DISK = {
    "disk,pattern=randread,block_size=4KiB": "4 KiB read",
    "disk,pattern=randwrite,block_size=4KiB": "4 KiB write",
    "disk,pattern=randread,block_size=64KiB": "64 KiB read",
    "disk,pattern=randwrite,block_size=64KiB": "64 KiB write",
}
NET = {
    "net-ping,length=64B": "64 B there and back",
    "net-ping,length=4KiB": "4 KiB there and back",
    "net-stream,direction=send": "send",
    "net-stream,direction=receive": "receive",
}
BY_PAYLOAD = "-payloads"
"""Ends the name of a run of many payloads, of which there is a model."""
Value = Callable[[Repetition], float]


def metric(name: str) -> Value:
    return lambda one: next(found.value for found in one.metrics if found.name == name)


def processor_time(per: str) -> Value:
    """Thousands of instructions of guest, VMM and backend, for each ``request`` or ``MiB``: without what waits."""
    of = measure(TOTAL, "s", Better.LOWER, Side.BOARD, per)
    return lambda one: measures_of(one)[of] * 1e6


per_request, per_mib = processor_time("request"), processor_time("MiB")


def cost(side: Side, *names: str) -> Value:
    """A cost for each request, in thousands of instructions where it is a time."""

    def value(one: Repetition) -> float:
        found = [cost for cost in one.costs if cost.side is side and cost.name in names]
        if not found:
            return math.nan
        factor = 1e6 if found[0].unit == "s" else 1
        return sum(cost.value for cost in found) * factor / (one.work.requests or 1)

    return value


def at(run: RunRead, variant: str, workload: str) -> Cell | None:
    cells = (cell for cell in run.run.cells if (cell.variant, cell.workload) == (variant, workload))
    return next((cell for cell in cells if run.sound(cell.id)), None)


def middle(run: RunRead, cell: Cell, value: Value) -> float:
    return statistics.median(value(one) for one in run.sound(cell.id))


def short(variant: str) -> str:
    return variant.removeprefix("topology=")


def row(*words: str) -> str:
    return f"| {' | '.join(words)} |"


def of_workloads(run: RunRead, workloads: dict[str, str], value: Callable[[str], Value]) -> Iterator[str]:
    """Yield a table of variants by workloads: the median, and how many times its baseline's that is."""
    baselines = {cell.variant: cell.baseline.split("/")[0] for cell in run.run.cells if cell.baseline}
    several = len(set(baselines.values())) > 1
    against = ["against"] if several else []
    yield row("data path", "served by", *against, *workloads.values())
    yield row("---", "---", *("---" for _ in against), *("---:" for _ in workloads))
    for variant in run.run.variants:
        cells = {name: at(run, variant.id, name) for name in workloads}
        if not any(cells.values()):
            continue
        words = [short(baselines.get(variant.id, ""))] if several else []
        for name, cell in cells.items():
            other = at(run, baselines.get(variant.id, ""), name)
            told = middle(run, cell, value(name)) if cell else None
            times = f" ({told / middle(run, other, value(name)):.2f})" if told and other else ""
            words.append(f"{told:,.0f}{times}" if told is not None else "")
        (program,) = {cell.program for cell in cells.values() if cell}
        yield row(short(variant.id), program, *words)


def of_costs(run: RunRead) -> Iterator[str]:
    """Yield what a random read costs on each side."""
    kvm = run.run.cells[0].hypervisor == "kvm"
    of_kvm = {
        "guest and VMM": cost(Side.VMM, "cpu"),
        "backend": cost(Side.BACKEND, "cpu"),
        "exits": cost(Side.HYPERVISOR, "exits"),
    }
    of_xen = {"guest": cost(Side.FRONTEND, "cpu_of_domain"), "dom0": cost(Side.BACKEND, "cpu_of_domain")}
    sides = of_kvm if kvm else of_xen
    reads = {name: words for name, words in DISK.items() if "randread" in name}
    yield row("data path", *(f"{words}: {side}" for words in reads.values() for side in sides))
    yield row("---", *("---:" for _ in reads for _ in sides))
    for variant in run.run.variants:
        found = [(at(run, variant.id, name), side, value) for name in reads for side, value in sides.items()]
        if any(cell for cell, _, _ in found):
            told = [(middle(run, cell, value) if cell else math.nan, side) for cell, side, value in found]
            words = ["" if math.isnan(n) else f"{n:,.{1 if side == 'exits' else 0}f}" for n, side in told]
            yield row(short(variant.id), *words)


def of_spread(run: RunRead, again: RunRead | None = None) -> Iterator[str]:
    """Yield how far a cell's repetitions are apart, or its medians in two runs: the most less the least, as a share."""
    yield row("workload", "cells", "throughput: median", "most", "median latency: median", "most")
    yield row("---", *["---:"] * 5)

    def values(cell: Cell, name: str) -> list[float]:
        if again is None:
            return [metric(name)(one) for one in run.sound(cell.id)]
        return [middle(one, cell, metric(name)) for one in (run, again)]

    def spread(values: list[float]) -> float:
        return (max(values) - min(values)) / statistics.median(values)

    for workload, words in (DISK | NET).items():
        of_it = [cell for cell in run.run.cells if cell.workload == workload]
        enough = [c for c in of_it if (again.sound(c.id) and run.sound(c.id) if again else len(run.sound(c.id)) > 1)]
        columns = [str(len(enough))]
        for name in ("throughput", "latency_p50"):
            told = [c for c in enough if any(found.name == name for found in run.sound(c.id)[0].metrics)]
            spreads = [spread(values(cell, name)) for cell in told]
            columns += [f"{statistics.median(spreads):.2%}", f"{max(spreads):.2%}"] if spreads else ["", ""]
        yield row(words, *columns)


def by_payload(run: RunRead, tool: str) -> dict[str, str]:
    """Return a tool's workloads that differ in their payload alone, with that."""
    mine = (one for one in run.run.workloads if one.tool == tool)
    return {one.id: re.sub(r"(\d+)", r"\1 ", one.id.rpartition("=")[2]) for one in mine}


def of_models(run: RunRead) -> Iterator[str]:
    """Yield what a request costs by each path, in thousands of instructions, and by how much the model is off."""
    yield row("data path", "of", "each request", "each exit", "each page", "each KiB", "off by at most", "")
    yield row("---", "---", *["---:"] * 5, "---")
    for model in explain(run).models:
        if model.measure.name != TOTAL:
            continue
        told = {}
        for term in model.terms:
            factor = 1e6 * (1024 if term.each == "byte" else 1)
            low, value, high = (f"{one * factor:,.2f}" for one in (term.low, term.value, term.high))
            told[term.each] = f"{value} ({low} to {high})"
        off = max(abs(point.residual) for point in model.points)
        what = "disk" if model.device.startswith("disk") else "network"
        costs = (told.get(each, "") for each in ("request", "exit", "page", "byte"))
        yield row(short(model.variant), what, *costs, f"{off:.1%}", f"fails: {model.failed}" if model.failed else "")


def tables(name: str) -> dict[str, str]:
    run = read_run(DATA / name)
    if name.endswith(AGAIN):
        found = {"spread": of_spread(read_run(DATA / name.removesuffix(AGAIN)), run)}
    elif name.endswith(BY_PAYLOAD):
        found = {
            "disk": of_workloads(run, by_payload(run, "fio"), lambda _: per_request),
            "net": of_workloads(run, by_payload(run, "sockperf"), lambda _: per_request),
            "models": of_models(run),
        }
    else:
        found = {
            "disk": of_workloads(run, DISK, lambda _: per_request),
            "net": of_workloads(run, NET, lambda of: per_request if "ping" in of else per_mib),
            "costs": of_costs(run),
        }
        if any(len(run.sound(cell.id)) > 1 for cell in run.run.cells):
            found["spread"] = of_spread(run)
    return {f"{name} {table}": "\n".join(lines) for table, lines in found.items()}


@pytest.mark.parametrize("name", RUNS)
def test_the_page_has_what_was_measured(name: str) -> None:
    text = page = PAGE.read_text()
    for mark, table in tables(name).items():
        text, count = re.subn(rf"(<!-- {mark} -->\n).*?(\n<!-- end -->)", rf"\g<1>{table}\g<2>", text, flags=re.DOTALL)
        assert count == 1, mark
    if os.environ.get("VTOOL_GOLDEN") == "write":
        PAGE.write_text(text)
    else:
        assert page == text, "VTOOL_GOLDEN=write makes the page follow the runs"


@pytest.mark.parametrize("name", RUNS)
def test_the_runs_have_every_path_and_count_instructions(name: str) -> None:
    run = read_run(DATA / name)
    measured = {cell.variant for cell in run.run.cells if run.sound(cell.id)}
    assert measured == {variant.id for variant in run.run.variants}
    assert {one.clock for one in run.repetitions} == {Clock.INSTRUCTIONS}
