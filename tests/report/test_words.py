"""How numbers and differences read."""

from __future__ import annotations

import pytest

from vtool.report.measured.words import between, number, percent, said_of, scale_of
from vtool.results.changes import Change, Verdict
from vtool.results.measures import Measure
from vtool.results.records import Better, Clock

LATENCY = Measure("latency_p50", "s", Better.LOWER)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234567.0, "1,234,567"), (999.6, "1,000"), (12.345, "12.3"), (0.98765, "0.988"),
     (-0.5, "−0.500"), (1e-9, "0"), (100.0, "100"), (float("nan"), "not a number")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("unit", "clock", "values", "per", "shown", "words"),
    [
        ("B/s", Clock.REAL, [3.3e7], "", "33.0", "MB/s"),
        ("B/s", Clock.INSTRUCTIONS, [3.3e7], "", "33.0", "MB per 10⁹ instructions"),
        ("s", Clock.REAL, [1.2e-4], "", "120", "µs"),
        ("s", Clock.INSTRUCTIONS, [1.2e-4], "", "120", "k instructions"),
        ("s", Clock.INSTRUCTIONS, [0.0078], "MiB", "7.80", "M instructions per MiB"),
        ("1", Clock.REAL, [4.1], "request", "4.10", "per request"),
        ("B", Clock.REAL, [131072.0], "", "131", "kB"),
        ("s", Clock.EMULATED, [0.0], "", "0", "s"),
    ],
)
def test_units_are_those_of_the_clock(
    unit: str, clock: Clock, values: list[float], per: str, shown: str, words: str
) -> None:
    scale = scale_of(unit, clock, values, per)
    assert (scale.of(values[0]), scale.unit) == (shown, words)


@pytest.mark.parametrize(
    ("least", "most", "words"),
    [(0.19, 0.37, "19 to 37 % worse"),
     (-0.05, -0.02, "2.0 to 5.0 % better"), (-0.02, 0.3, "2.0 % better to 30 % worse"),
     (0.25, 0.25, "25 % worse"), (0.0, 0.1, "0 to 10 % worse")],
)  # fmt: skip
def test_ranges_say_which_way(least: float, most: float, words: str) -> None:
    assert between(least, most) == words


def test_percentages() -> None:
    assert [percent(share) for share in (0.254, -0.021, 0.0001, 12.0, -0.0001)] == [
        "25 %", "−2.1 %", "0 %", "1,200 %", "0 %",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "change", "ends", "whole"),
    [
        (Verdict.WORSE, 0.23, (0.21, 0.25), "23 % worse, 95 % interval 21 to 25 % worse"),
        (Verdict.NONE_SHOWN, 0.01, (-0.02, 0.04),
         "1.0 % worse, 95 % interval 2.0 % better to 4.0 % worse, no difference shown"),
        (Verdict.TOO_FEW, -0.5, (None, None), "50 % better, too few repetitions (3)"),
        (Verdict.WORSE, None, (None, None), "no share, the baseline is 0"),
        (Verdict.NO_TIMES, 0.5, (None, None), "not told, an emulated board's times mean nothing"),
    ],
)  # fmt: skip
def test_a_difference_says_how_sure_it_is(
    verdict: Verdict, change: float | None, ends: tuple[float | None, float | None], whole: str
) -> None:
    said = said_of(Change(LATENCY, 3, 1.0, 2.0, 1.0, 3.0, change, *ends, 0.01, verdict))
    assert said.whole == whole and said.mark, "no meaning by colour alone"
