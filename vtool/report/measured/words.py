"""How numbers read: units by what seconds are, three digits, and differences in words. Pure.

An emulated board that counts instructions has no seconds: 1e-9 of its seconds are one instruction, and it is
instructions that people are shown (docs/reference/bench-format.md).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from vtool.base.records import record
from vtool.base.units import format_size
from vtool.report.quantities import CLOCK_WORDS, SECONDS
from vtool.results.changes import Change, Verdict
from vtool.results.records import Clock

LEFT_OUT = "caches, TLBs, IOMMUs, the bandwidth of memory, and DMA"
"""What an emulated board has not, and its numbers therefore not either."""

MARKS = {clock: "" if clock is Clock.REAL else words for clock, words in CLOCK_WORDS.items()}
"""What every table, plot and file says of numbers that are not of a real board."""

_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_INSTRUCTIONS = ((1.0, "G instructions"), (1e-3, "M instructions"), (1e-6, "k instructions"), (1e-9, "instructions"))
_COUNTS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


@record
class Scale:
    """A unit for people: a number in base units is divided by ``factor``."""

    factor: float
    unit: str

    def of(self, value: float) -> str:
        """Return a number with three digits, without its unit."""
        return number(value / self.factor)


def scale_of(unit: str, clock: Clock, values: Iterable[float], per: str = "") -> Scale:
    """Return a scale on which the median of these values has one to three digits before the point."""
    known = sorted(abs(value) for value in values if value)
    typical = known[len(known) // 2] if known else 1.0
    counted = clock is Clock.INSTRUCTIONS
    match unit:
        case "B/s":
            factor, prefix = _step(_BYTES, typical)
            return Scale(factor, f"{prefix} per 10⁹ instructions" if counted else f"{prefix}/s")
        case "B":
            factor, prefix = _step(_BYTES, typical)
        case "s":
            factor, prefix = _step(_INSTRUCTIONS if counted else SECONDS, typical)
        case _:
            factor, prefix = _step(_COUNTS, typical)
    return Scale(factor, f"{prefix} per {per}".strip() if per else prefix)


def _step(steps: tuple[tuple[float, str], ...], value: float) -> tuple[float, str]:
    return next((step for step in steps if value >= step[0] * 0.9995), steps[-1])


def number(value: float) -> str:
    """Write a number with three digits, no exponent, and a true minus sign."""
    if not math.isfinite(value):
        return "not a number"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value)) + 1e-12))
    text = f"{value:,.{min(digits, 6)}f}"
    text = text if text.strip("-0.") else "0"
    return text.replace("-", "−")


def size(size_bytes: int) -> str:
    """Write bytes as ``64 KiB``."""
    text = format_size(size_bytes)
    return re.sub(r"^(\d+)", r"\1 ", text)


def percent(share: float) -> str:
    """Write a share of 1 as a percentage, 0.254 as ``25 %``; small ones with a digit more."""
    value = 100 * share
    if abs(value) >= 1000:
        return f"{number(value)} %"
    text = f"{value:.0f}" if abs(value) >= 9.95 else f"{value:.1f}"
    text = "0" if text in ("-0.0", "0.0", "-0") else text
    return f"{text} %".replace("-", "−")


@record
class Said:
    """A difference in words: the estimate, how sure it is, and a mark that says which way without colour."""

    mark: str
    kind: str
    text: str
    detail: str
    interval: str = ""

    @property
    def whole(self) -> str:
        """Return all of it in one line."""
        interval = f"95 % interval {self.interval}" if self.interval else ""
        return ", ".join(filter(None, (self.text, interval, self.detail)))


_MARK_OF = {
    Verdict.WORSE: "▼",
    Verdict.BETTER: "▲",
    Verdict.NONE_SHOWN: "○",
    Verdict.TOO_FEW: "◌",
    Verdict.NO_TIMES: "×",
}


def said_of(change: Change) -> Said:
    """Say a difference from the baseline: ``23 % worse``, ``95 % interval 21 to 25 %``."""
    kind = change.verdict.value.replace(" ", "-")
    mark = _MARK_OF[change.verdict]
    if change.verdict is Verdict.NO_TIMES:
        return Said(mark, kind, "not told", "an emulated board's times mean nothing")
    if change.change is None:
        return Said(mark, kind, "no share", "the baseline is 0")
    way = "worse" if change.change > 0 else "better"
    text = "the same" if change.change == 0 else f"{percent(abs(change.change))} {way}"
    if change.low is None or change.high is None:
        return Said(mark, kind, text, f"too few repetitions ({change.repetitions})")
    none = "no difference shown" if change.verdict is Verdict.NONE_SHOWN else ""
    return Said(mark, kind, text, none, between(change.low, change.high))


def between(least: float, most: float) -> str:
    """Say two shares by which something is worse, better where they are below 0: ``19 to 37 % worse``."""
    low, high = percent(abs(least)), percent(abs(most))
    if least < 0 < most:
        return f"{low} better to {high} worse"
    if most <= 0:
        low, high = high, low
    way = "worse" if most > 0 else "better"
    return f"{low} {way}" if low == high else f"{low.removesuffix(' %')} to {high} {way}"
