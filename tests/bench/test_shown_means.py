"""What is shown is what is judged: a change follows from the two numbers beside it, and none is below their steps."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.synthetic_runs import FACTS, constant, read, records, written
from vtool.cli.main import main
from vtool.report.measured.cells import Quantity, measured_cells
from vtool.report.measured.tables import cell_table
from vtool.report.quantities import number, quantity, with_step
from vtool.results.changes import Change, Verdict
from vtool.results.comparison import compare
from vtool.results.degradation import degradations
from vtool.results.fingerprint import AXES
from vtool.results.means import mean
from vtool.results.measures import measure, measures_of
from vtool.results.records import Better, Clock, Repetition, Side, Void

DATA = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "data"
TICK_S = 0.01
_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


def signed(change: Change) -> float | None:
    """The share by which the number itself is more."""
    if change.change is None:
        return None
    return -change.change if change.measure.better is Better.HIGHER else change.change


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.7, 50.0, 1e-6, 9e5]), min_size=12, max_size=12),
       st.sets(st.integers(0, 11), max_size=6))  # fmt: skip
def test_a_change_is_that_of_the_two_means(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], lost: set[int]
) -> None:
    """Also where some numbers are 0, and where some rounds have one of both alone."""
    left = iter(values)

    def of(random: np.random.Generator, variant: str, number: int) -> Any:
        return {"throughput": 1e8, "requests": 1e4, "lost": next(left)}, {}

    lines = records(of)
    whole = [line for line in lines if isinstance(line, Repetition)]
    kept = [one.model_copy(update={"void": Void.DISTURBED}) if index in lost else one
            for index, one in enumerate(whole)]  # fmt: skip
    run = read(tmp_path_factory.mktemp("run"), [*lines[:2], *kept])
    other = read(tmp_path_factory.mktemp("run"), records(constant({"pool": 0.7}), facts=FACTS))
    found = degradations(run).cells
    changes = [change for cell in found for change in cell.changes]
    if any(one.void is None for one in run.repetitions):
        changes += [c for one in compare([other, run], 0.05).against for x in one.regression.cells for c in x.changes]
    for change in changes:
        if (of_it := signed(change)) is not None and change.reference > 0:
            assert of_it == pytest.approx(change.value / change.reference - 1, rel=1e-9, abs=1e-9)
        if change.verdict in (Verdict.WORSE, Verdict.BETTER):
            grew = change.value > change.reference
            assert (change.verdict is Verdict.WORSE) == (grew == (change.measure.better is Better.LOWER))
        assert change.least * (1 - 1e-12) <= change.value <= change.most * (1 + 1e-12)


def test_one_function_and_columns_have_the_same_mean(tmp_path: Path) -> None:
    run = read(tmp_path, records(constant({"pool": 0.8}, noise=0.4)))
    (cell,) = degradations(run).cells
    for change in cell.changes:
        values = [measures_of(one)[change.measure] for one in run.sound(cell.cell.id)]
        assert change.value == pytest.approx(mean(values), rel=1e-12)
    assert mean([1.0, 4.0]) == pytest.approx(2.0) and mean([0.0, 4.0]) == 2.0 and mean([-1.0, 2.0]) == 0.5


# -- as it is written


def value_of(text: str) -> tuple[float, float]:
    """Return a number as it is shown, and by how much it may be off by rounding."""
    found = re.match(r"^(?:× )?([\d,.]+)(?: ± ([\d,.]+))? ?(\S*)", text)
    assert found, text
    digits = found[1].replace(",", "")
    place = 10.0 ** -len(digits.partition(".")[2])
    if found[2]:  # whole tens and hundreds are rounded, too
        place = max(place, 10.0 ** math.floor(math.log10(float(found[2].replace(",", "")) / 3.4)))
    factor = _UNITS.get(found[3].partition("/")[0], 1.0)
    return float(digits) * factor, place / 2 * factor


def rows_of(out: str) -> Iterator[tuple[str, str, str, str]]:
    for line in out.splitlines():
        fields = [field.strip() for field in line.strip("|").split("|")]
        if len(fields) == 6 and fields[3].endswith("%"):
            yield fields[0], fields[1], fields[2], fields[3]


@pytest.mark.parametrize("runs", [("kvm",), ("xen",), ("kvm-payloads",), ("kvm", "kvm-again"), ("xen", "xen-again")])
def test_what_is_written_is_what_is_judged(runs: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Sign and size of every change of the published runs, from what stands beside it."""
    words = [word if word.startswith("-") else str(DATA / word) for word in runs]
    main(["compare", *words, "--all", "--format", "markdown", "--across", ",".join(AXES)])
    rows = [*rows_of(capsys.readouterr().out)]
    assert len(rows) > 100
    for label, was, now, share in rows:
        (reference, off), (value, off_too) = value_of(was), value_of(now)
        told = float(share.removesuffix(" %").replace("−", "-").replace(",", ""))
        if reference - off <= 0:
            continue
        low, high = (value - off_too) / (reference + off) - 1, (value + off_too) / (reference - off) - 1
        rounding = 0.5 if abs(told) >= 9.5 else 0.05
        assert 100 * low - rounding <= told * (1 + 1e-9) + 1e-6 and told <= 100 * high + rounding + 1e-3 * abs(told), (
            label, was, now, share,
        )  # fmt: skip


def test_the_report_shows_the_same_means(tmp_path: Path) -> None:
    """A cell's change is of its number and its baseline's; where one lacks a round, the judged ones stand with it."""
    lines = records(constant({"pool": 0.8}, noise=0.3))
    for some, told in ((lines, False), (without_last_of_pool(lines), True)):
        run = read(tmp_path / str(told), some)
        baseline, pool = measured_cells([run])
        change = pool.changes[Quantity.THROUGHPUT]
        shown = pool.spreads[Quantity.THROUGHPUT].mean / baseline.spreads[Quantity.THROUGHPUT].mean - 1
        assert math.isclose(shown, signed(change) or 0.0, rel_tol=1e-9) is not told
        details = [
            field.detail
            for row in cell_table([baseline, pool], {"synthetic": run}, several=False).rows
            for field in row
        ]
        assert any("in the 5 rounds of both" in detail for detail in details) is told


def without_last_of_pool(lines: list[Any]) -> list[Any]:
    last = next(line for line in reversed(lines) if isinstance(line, Repetition) and "pool" in line.cell)
    return [line for line in lines if line is not last]


# -- counters that move in steps


def ticks(of_pool: int, requests: int = 1000) -> Any:
    def values(random: np.random.Generator, variant: str, number: int) -> Any:
        ticks = of_pool if variant == "pool" else 4
        return {"throughput": 4096e3, "requests": requests}, {
            "frontend cpu": ticks * TICK_S,
            "backend cpu": ticks / 1e3,
        }

    return values


@pytest.mark.parametrize(
    ("of_pool", "verdict"),
    [(4, "below resolution"), (5, "below resolution"), (6, "below resolution"), (7, "worse"), (1, "better")],
)
def test_a_difference_of_a_tick_is_no_difference(tmp_path: Path, of_pool: int, verdict: str) -> None:
    (cell,) = degradations(read(tmp_path, records(ticks(of_pool)))).cells
    by_label = {change.measure.label: change for change in cell.changes}
    frontend, backend = by_label["frontend cpu per request"], by_label["backend cpu per request"]
    assert frontend.verdict.value == verdict and frontend.regressed(0.05) is (verdict == "worse")
    assert frontend.step == frontend.reference_step == pytest.approx(TICK_S / 1000)
    assert backend.step == 0 and backend.verdict is not Verdict.BELOW_RESOLUTION
    per_mib = by_label["frontend cpu per MiB"]
    assert per_mib.step == pytest.approx(TICK_S / (4096e3 / 2**20)) and per_mib.verdict is frontend.verdict


def test_longer_repetitions_resolve_more(tmp_path: Path) -> None:
    """Of ten times the requests, the same two ticks more each are twenty."""
    (cell,) = degradations(read(tmp_path, records(ticks(60, requests=10_000)))).cells
    change = next(one for one in cell.changes if one.measure.label == "frontend cpu per request")
    assert change.verdict is Verdict.WORSE and change.step == pytest.approx(1e-6)


def test_shares_of_two_boards_have_steps_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    was = written(tmp_path / "was", records(ticks(5)))
    now = written(tmp_path / "now", records(ticks(6)))
    main(["compare", str(was), str(now), "--relative", "--threshold", "1", "--format", "markdown"])
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("| frontend cpu per request"))
    # A tick of 4, and one of the baseline's 4, of which it is 5 or 6 quarters.
    assert "| × 1.2 ± 0.6 | × 1.5 ± 0.6 |" in row and "below resolution" in row


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [(56.7, 10, "57 ± 10"), (50, 10, "50 ± 10"), (1234.5, 40, "1,230 ± 40"), (0.0567, 0.01, "0.057 ± 0.010"),
     (3.94, 0.214, "3.94 ± 0.21"), (2, 10, "2 ± 10"), (0, 10, "0 ± 10"), (12.3, 0, "12.3"), (5, 3.5, "5.0 ± 3.5"),
     (5, 3.6, "5 ± 4")],
)  # fmt: skip
def test_digits_are_those_that_a_step_supports(value: float, step: float, text: str) -> None:
    assert with_step(value, step) == text
    assert number(value, step) == text.partition(" ±")[0]


def test_a_number_and_its_step_share_a_unit() -> None:
    assert quantity(5.67e-5, "s", Clock.INSTRUCTIONS, 1e-5) == "57 ± 10 k instr."
    assert quantity(2e-6, "s", Clock.REAL, 1e-5) == "2 ± 10 µs"


def test_whose_time_it_is_stands_with_it() -> None:
    def label(name: str, side: Side) -> str:
        return measure(name, "s", Better.LOWER, side, "request").label

    assert label("cpu", Side.VMM) == "vmm cpu (with vCPUs) per request"
    assert label("cpu_guest", Side.VMM) == "vmm cpu_guest per request"
    assert label("cpu_system", Side.VMM) == "vmm cpu_system per request"
    assert label("cpu", Side.BACKEND) == "backend cpu per request"


def test_every_counter_of_ticks_is_known_by_its_source() -> None:
    """What the published runs read from /proc, and what cpu.stat shares out, moves in ticks; nothing else does."""
    seen = set()
    for folder in DATA.iterdir():
        for line in (folder / "run.jsonl").read_text().splitlines():
            for name, side, source in re.findall(
                r'"name":"(\w+)","side":"(\w+)","unit":"s","value":[^,]+,"source":"([^"]+)"', line
            ):
                of = measure(name, "s", Better.LOWER, Side(side), "request")
                is_shared_out = source.endswith("cpu.stat") and name.endswith(("_user", "_system"))
                assert of.is_in_ticks == ("/proc/" in source or source.endswith("guest_time") or is_shared_out), source
                seen.add((name, side))
    assert len(seen) > 10
