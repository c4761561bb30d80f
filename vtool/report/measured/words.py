"""Differences in words, and what every number of a board that is not real is said with. Pure."""

from __future__ import annotations

from vtool.base.records import record
from vtool.report.quantities import CLOCK_WORDS, percent
from vtool.results.changes import Change, Verdict
from vtool.results.records import Clock

LEFT_OUT = "caches, TLBs, IOMMUs, the bandwidth of memory, and DMA"
"""What an emulated board has not, and its numbers therefore not either."""

MARKS = {clock: "" if clock is Clock.REAL else words for clock, words in CLOCK_WORDS.items()}
"""What every table, plot and file says of numbers that are not of a real board."""


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
    Verdict.BELOW_RESOLUTION: "≈",
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
    if change.verdict is Verdict.BELOW_RESOLUTION:
        return Said(mark, kind, "no difference", "no more than a step of its counter")
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
