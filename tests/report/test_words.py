"""How numbers and differences read."""

from __future__ import annotations

import pytest

from vtool.report.measured.words import between, said_of
from vtool.report.quantities import number, percent, quantity, scale_of
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
        ("B/s", Clock.REAL, [3.3e7], "", "31.5", "MiB/s"),
        ("B/s", Clock.INSTRUCTIONS, [3.3e7], "", "31.5", "MiB per 10⁹ instructions"),
        ("s", Clock.REAL, [1.2e-4], "", "120", "µs"),
        ("s", Clock.INSTRUCTIONS, [1.2e-4], "", "120", "k instructions"),
        ("s", Clock.INSTRUCTIONS, [0.0078], "MiB", "7.80", "M instructions per MiB"),
        ("1", Clock.REAL, [4.1], "request", "4.10", "per request"),
        ("B", Clock.REAL, [131072.0], "", "128", "KiB"),
        ("s", Clock.EMULATED, [0.0], "", "0", "s"),
        ("1/s", Clock.REAL, [45600.0], "", "45.6", "k/s"),
        ("1/s", Clock.INSTRUCTIONS, [45.6], "", "45.6", " per 10⁹ instructions"),
    ],
)
def test_units_are_those_of_the_clock(
    unit: str, clock: Clock, values: list[float], per: str, shown: str, words: str
) -> None:
    scale = scale_of(unit, clock, values, per)
    assert (scale.of(values[0]), scale.unit) == (shown, words)


@pytest.mark.parametrize(
    ("value", "unit", "clock", "text"),
    [
        (131072, "B", Clock.REAL, "128 KiB"), (13721.6, "B", Clock.REAL, "13.4 KiB"),
        (3 << 40, "B", Clock.REAL, "3.00 TiB"),
        (3.3e7, "B/s", Clock.REAL, "31.5 MiB/s"), (3.3e7, "B/s", Clock.INSTRUCTIONS, "31.5 MiB/10⁹ instr."),
        (5.2e-5, "s", Clock.REAL, "52.0 µs"), (5.2e-5, "s", Clock.INSTRUCTIONS, "52.0 k instr."),
        (450.0, "1/s", Clock.REAL, "450/s"), (4500.0, "1/s", Clock.INSTRUCTIONS, "4.50 k/10⁹ instr."),
        (0.0, "s", Clock.REAL, "0 s"), (7.0, "1", Clock.REAL, "7.00"), (-13721.6, "B", Clock.REAL, "−13.4 KiB"),
    ],
)  # fmt: skip
def test_a_number_with_its_unit(value: float, unit: str, clock: Clock, text: str) -> None:
    assert quantity(value, unit, clock) == text


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
    assert [percent(share, signed=True) for share in (0.254, -0.021, 0.0001, 12.0)] == [
        "+25 %", "−2.1 %", "0 %", "+1,200 %",
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
