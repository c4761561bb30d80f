"""A difference between two sets of repetitions, measure by measure: how large, how sure, and what can be said of it.

Knows nothing of cells and runs. Part of ``vtool[bench]``. Enter at ``judge``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from vtool.base.records import record
from vtool.results.measures import Measure, Measures
from vtool.results.records import Better, Clock
from vtool.results.statistics import LEVEL, Array, Chosen, Estimates, mean_of


class Verdict(Enum):
    """What can be said of a difference."""

    WORSE = "worse"
    BETTER = "better"
    NONE_SHOWN = "none shown"
    """Chance alone may have made it; that is not to say that there is none."""
    BELOW_RESOLUTION = "below resolution"
    """The counter moves in steps, and the difference is no larger than one of each: more repetitions do not help."""
    TOO_FEW = "too few"
    """Of so few repetitions no difference is significant, however large."""
    NO_TIMES = "no times"
    """Measured on an emulated board with the clock of its machine: its times mean nothing."""


@record
class Change:
    """How a measure differs from its reference.

    ``reference`` and ``value`` are means, ``least`` and ``most`` the smallest and largest value, in ``measure.unit``.
    The means are those that ``change`` is of: geometric ones of what is above 0, else arithmetic ones, of a run's cells
    over the rounds that both have. ``reference_step`` and ``step`` are what one step of the counter comes to, by which
    any of them may be off; 0 where that is too little to matter.

    ``change`` is the share by which it is worse, or better where it is below 0: 0.25 is a quarter less throughput, or
    a quarter more latency; the number itself is more or less by ``value / reference - 1``. ``low`` and ``high`` are the
    ends of its 95 % interval, of this row alone; ``p`` is adjusted for all rows that were judged together. None is what
    cannot be told: interval and ``p`` of too few repetitions, the share of a reference that is 0.
    """

    measure: Measure
    repetitions: int
    reference: float
    value: float
    least: float
    most: float
    change: float | None
    low: float | None
    high: float | None
    p: float | None
    verdict: Verdict
    reference_step: float = 0.0
    step: float = 0.0

    def regressed(self, threshold: float) -> bool:
        """Whether it is worse by more than a share (0.05 is 5 %), significantly; of a reference of 0, by anything."""
        return self.verdict is Verdict.WORSE and (self.change is None or self.change > threshold)


@dataclass(frozen=True)
class Samples:
    """Two sets of repetitions: a row each, by its number, and a column a measure; NaN is what is missing.

    ``steps`` are those of the counters, of the reference and of the value, a column a measure.
    """

    clock: Clock
    measures: tuple[Measure, ...]
    reference: Array
    value: Array
    steps: tuple[Array, Array]

    def in_both(self) -> Samples:
        """Return the same without the numbers that one of both has not in that round."""
        missing = np.isnan(self.reference) | np.isnan(self.value)
        reference, value = (np.where(missing, np.nan, of) for of in (self.reference, self.value))
        return replace(self, reference=reference, value=value)


Steps = Callable[[Measure], float]
"""Gives what a step of a measure's counter comes to, 0 where it has none that matters."""


def samples(
    clock: Clock, reference: Mapping[int, Measures], value: Mapping[int, Measures], rows: int,
    steps: tuple[Steps, Steps],
) -> Samples:  # fmt: skip
    """Put repetitions with numbers up to ``rows`` side by side, with the measures that are in both sets."""
    said = [*reference.values(), *value.values()]
    measures = tuple(said[0]) if said else ()
    if any(tuple(one) != measures for one in said):
        in_both = {measure for one in value.values() for measure in one}
        measures = tuple(dict.fromkeys(of for one in reference.values() for of in one if of in in_both))
    was, now = (np.array([of(measure) for measure in measures], dtype=np.float64) for of in steps)
    return Samples(clock, measures, _rows(reference, measures, rows), _rows(value, measures, rows), (was, now))


def _rows(said: Mapping[int, Measures], measures: tuple[Measure, ...], rows: int) -> Array:
    found = np.full((rows, len(measures)), np.nan)
    for number, values in said.items():
        same = tuple(values) == measures
        found[number - 1] = [*values.values()] if same else [values.get(one, np.nan) for one in measures]
    return found


Estimate = Callable[[Array, Array, Chosen], Estimates]
"""Takes references and values, as columns on which a larger value is a worse one, and which columns get an interval."""


def judge(
    samples: Sequence[Samples], estimate: Estimate, with_interval: Callable[[Measure], bool] = lambda _: True
) -> list[tuple[Change, ...]]:
    """Return the changes of each, all of them judged together.

    Intervals take nearly all of the time; ``with_interval`` says which rows need theirs.
    """
    if not samples:
        return []
    measures = [measure for one in samples for measure in one.measures]
    clocks = [one.clock for one in samples for _ in one.measures]
    reference = _beside([one.reference for one in samples])
    value = _beside([one.value for one in samples])
    higher = np.array([measure.better is Better.HIGHER for measure in measures], dtype=bool)
    scale = _Scale(reference, value, higher)
    chosen = np.array([with_interval(measure) for measure in measures], dtype=bool)
    with np.errstate(over="ignore", invalid="ignore"):  # what is beyond all numbers is not told
        found = estimate(scale.of(reference), scale.of(value), chosen)
        change, low, high = (scale.share(of) for of in (found.mean, found.low, found.high))
        was, now = scale.mean(reference), scale.mean(value)
        steps = [np.concatenate([one.steps[side] for one in samples]) for side in (0, 1)]
        unresolved = (steps[1] > 0) & (abs(now - was) <= steps[0] + steps[1])
    columns = zip(
        measures, clocks, found.count, was, now, np.fmin.reduce(value), np.fmax.reduce(value),
        map(_told, change), map(_told, low), map(_told, high), map(_told, found.p), found.mean, unresolved, *steps,
        strict=True,
    )  # fmt: skip
    changes = (
        Change(measure, int(count), float(was), float(now), float(least), float(most), of, lowest, highest, p,
               _verdict(clock, p, mean, below=below), float(reference_step), float(step))
        for measure, clock, count, was, now, least, most, of, lowest, highest, p, mean, below, reference_step, step
        in columns
    )  # fmt: skip
    return [tuple(next(changes) for _ in one.measures) for one in samples]


def _beside(parts: Sequence[Array]) -> Array:
    most = max(len(part) for part in parts)
    filled = [np.pad(part, ((0, most - len(part)), (0, 0)), constant_values=np.nan) for part in parts]
    return np.concatenate(filled, axis=1)


class _Scale:
    """On what columns are compared, so that a larger value is worse and a difference has a meaning without its unit.

    Logarithms where all is positive: a difference of those is a ratio, and half as much and twice as much are as far.
    Else shares of the reference's mean; where that is 0, the values themselves.
    """

    def __init__(self, reference: Array, value: Array, higher: NDArray[np.bool_]) -> None:
        self._sign = np.where(higher, -1.0, 1.0)
        with np.errstate(invalid="ignore"):
            self._logarithmic = ~((reference <= 0) | (value <= 0)).any(axis=0)
        mean = mean_of(reference)
        self._has_mean = np.isfinite(mean) & (mean > 0)
        self._unit = np.where(self._has_mean, mean, 1.0)

    def of(self, values: Array) -> Array:
        positive = np.where(self._logarithmic, values, 1.0)
        scaled: Array = self._sign * np.where(self._logarithmic, np.log(positive), values / self._unit)
        return scaled

    def mean(self, values: Array) -> Array:
        """Return the mean of each column, of which a difference on this scale is the difference: ``means.mean``."""
        positive = np.where(self._logarithmic, values, 1.0)
        found: Array = np.where(self._logarithmic, np.exp(mean_of(np.log(positive))), mean_of(values))
        return found

    def share(self, difference: Array) -> Array:
        """Return the share by which a difference is worse, NaN where there is none."""
        of_logarithms = self._sign * np.expm1(self._sign * difference)
        plain = np.where(self._has_mean | (difference == 0), difference, np.nan)
        found: Array = np.where(self._logarithmic, of_logarithms, plain)
        return found


def _told(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def _verdict(clock: Clock, p: float | None, mean: float, *, below: bool) -> Verdict:
    if clock is Clock.EMULATED:
        return Verdict.NO_TIMES
    if below:
        return Verdict.BELOW_RESOLUTION
    if p is None:
        return Verdict.TOO_FEW
    if p > 1 - LEVEL:
        return Verdict.NONE_SHOWN
    return Verdict.WORSE if mean > 0 else Verdict.BETTER
