"""Differences between repeated measurements: their size, an interval, and whether they can be chance. Pure.

Many differences are asked about at once, so chance is judged for all of them together (docs/adr/0010-statistics.md).
Part of ``vtool[bench]``: with ``changes``, which alone else imports NumPy and SciPy. Enter at ``paired``
and ``unpaired``. All arrays have one row a repetition and one column a comparison; NaN is a repetition that is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vtool.results.fewest import FEWEST_PAIRED, FEWEST_UNPAIRED

Array = NDArray[np.float64]
Chosen = NDArray[np.bool_]

LEVEL = 0.95
"""Of intervals; what is significant has a probability below 1 - LEVEL to be found where there is nothing."""
_RESAMPLES = 999
_AT_ONCE = 1_000_000
"""How many numbers are made at a time; some ten times as many are held while they are worked with."""
_MOST_NUMBERS = 5_000_000
"""How many permuted statistics are kept, 8 bytes each."""


@dataclass(frozen=True)
class Estimates:
    """A number for each column. ``low`` and ``high`` are the ends of its interval, of this column alone.

    ``p`` is the probability of a difference this large where there is none, adjusted for all columns together. Both are
    NaN where ``count``, the repetitions that are there (of two sets: of the smaller one), is too few.
    """

    count: NDArray[np.int64]
    mean: Array
    low: Array
    high: Array
    p: Array


def paired(differences: Array, with_interval: Chosen | None = None) -> Estimates:
    """Estimate the mean of differences between what was measured in the same round.

    ``p`` is from flipping the signs of whole rounds, all columns at once; the interval is a bootstrap over rounds, of
    the chosen columns.
    """
    count = np.sum(np.isfinite(differences), axis=0)
    enough = count >= FEWEST_PAIRED
    low, high = _intervals([differences], _and(enough, with_interval), _mean)
    p = _adjusted([differences], enough, "samples", _paired_statistic)
    return Estimates(count, mean_of(differences), low, high, p)


def unpaired(reference: Array, values: Array, with_interval: Chosen | None = None) -> Estimates:
    """Estimate by how much the mean of values is above that of a reference, measured at another time.

    ``p`` is from exchanging whole repetitions between both; the interval is a bootstrap over each.
    """
    count = np.minimum(np.sum(np.isfinite(reference), axis=0), np.sum(np.isfinite(values), axis=0))
    enough = count >= FEWEST_UNPAIRED
    low, high = _intervals([values, reference], _and(enough, with_interval), _mean_above)
    p = _adjusted([values, reference], enough, "independent", _unpaired_statistic)
    return Estimates(count, mean_of(values) - mean_of(reference), low, high, p)


def mean_of(values: Array) -> Array:
    """Return the mean of each column, of what is there."""
    there = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean: Array = np.where(there, values, 0.0).sum(axis=0) / there.sum(axis=0)
    return mean


# -- intervals


def _and(enough: Chosen, chosen: Chosen | None) -> Chosen:
    return enough if chosen is None else enough & chosen


def _mean(values: Array, axis: int = -1) -> Any:
    return values.mean(axis=axis)


def _mean_above(values: Array, reference: Array, axis: int = -1) -> Any:
    return values.mean(axis=axis) - reference.mean(axis=axis)


def _intervals(samples: list[Array], enough: NDArray[np.bool_], of: Callable[..., Any]) -> tuple[Array, Array]:
    """Return both ends of bootstrap intervals (percentiles).

    Of few values, percentiles are too narrow: of 6, those of 95 % hold the truth 86 times of 100. So they are taken
    further out by what Student's t has beyond the normal distribution (Hesterberg, The American Statistician 69(4),
    2015, "expanded percentile").
    """
    low, high = np.full(len(enough), np.nan), np.full(len(enough), np.nan)
    for columns in _alike(samples, enough):
        there = [sample[np.isfinite(sample[:, columns[0]])][:, columns] for sample in samples]
        fewest = min(map(len, there))
        tail = stats.norm.sf(math.sqrt(fewest / (fewest - 1)) * stats.t.isf((1 - LEVEL) / 2, fewest - 1))
        found = stats.bootstrap(
            [one.T for one in there], of, n_resamples=_RESAMPLES, batch=64, vectorized=True, axis=-1,
            confidence_level=1 - 2 * tail, method="percentile", rng=np.random.default_rng(0),
        )  # fmt: skip
        low[columns], high[columns] = found.confidence_interval
    return low, high


def _alike(samples: list[Array], enough: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Yield the columns that have the same repetitions, as many at a time as memory is for."""
    at_once = max(1, _AT_ONCE // _RESAMPLES)
    chosen = np.flatnonzero(enough)
    if not len(chosen):
        return
    there = np.concatenate([np.isfinite(sample) for sample in samples])[:, chosen]
    _, which = np.unique(there, axis=1, return_inverse=True)
    for pattern in range(which.max() + 1):
        columns = chosen[np.flatnonzero(which.ravel() == pattern)]
        yield from (columns[first : first + at_once] for first in range(0, len(columns), at_once))


# -- chance


def _adjusted(
    samples: list[Array], enough: NDArray[np.bool_], permutation_type: str, statistic: Callable[..., Any]
) -> Array:
    """Return p-values that hold for all columns together, by the step-down maximum of Westfall and Young (1993).

    One choice of signs or of labels is applied to all columns, so that what they have in common stays in common: ten
    percentiles of one latency count for hardly more than one.
    """
    p = np.full(len(enough), np.nan)
    columns = np.flatnonzero(enough)
    if not len(columns):
        return p
    # Repetitions that no column has would be permuted for nothing.
    data = [sample[:, columns] for sample in samples]
    data = [sample[np.isfinite(sample).any(axis=1)].T for sample in data]
    tried = stats.permutation_test(
        data, statistic, permutation_type=permutation_type, vectorized=True, axis=-1,
        batch=max(1, _AT_ONCE // data[0].size),
        n_resamples=int(np.clip(_MOST_NUMBERS // len(columns), 199, _RESAMPLES)), rng=np.random.default_rng(0),
    )  # fmt: skip
    order = np.argsort(tried.statistic, kind="stable")
    # From the smallest on: the largest of it and of all below it, in each permutation.
    most = np.maximum.accumulate(tried.null_distribution[:, order], axis=1)
    seen = tried.statistic[order]
    beaten = (most >= seen * (1 - 1e-9)).sum(axis=0)
    # One that was drawn at random is not among them by itself (Phipson and Smyth 2010).
    every = 2 ** data[0].shape[-1] if len(data) == 1 else math.comb(sum(one.shape[-1] for one in data), len(data[0].T))
    drawn = int(every > len(most))
    found = (beaten + drawn) / (len(most) + drawn)
    # No difference has a smaller p than a larger one.
    p[columns[order]] = np.maximum.accumulate(found[::-1])[::-1]
    return p


def _paired_statistic(differences: Array, axis: int = -1) -> Any:
    there = np.isfinite(differences)
    count = there.sum(axis=axis)
    kept = np.where(there, differences, 0.0)
    mean, squares = kept.sum(axis=axis) / count, (kept**2).sum(axis=axis) / count
    return _normal(mean, (squares - mean**2) / (count - 1), squares / count, count - 1)


def _unpaired_statistic(values: Array, reference: Array, axis: int = -1) -> Any:
    counts, means, squares = [], [], []
    for sample in (values, reference):
        there = np.isfinite(sample)
        kept = np.where(there, sample, 0.0)
        count = there.sum(axis=axis)
        counts.append(count)
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append(kept.sum(axis=axis) / count)
        squares.append((kept**2).sum(axis=axis))
    degrees = counts[0] + counts[1] - 2
    within = sum(s - c * m**2 for s, c, m in zip(squares, counts, means, strict=True)) / degrees
    with np.errstate(divide="ignore"):
        share = 1 / counts[0] + 1 / counts[1]
    return _normal(means[0] - means[1], within * share, sum(squares) / degrees * share, degrees)


def _normal(difference: Any, variance: Any, scale: Any, degrees: Any) -> Any:
    """Return a t statistic as about as many standard deviations (Wallace 1959), so that columns are of one kind.

    Where repetitions agree to the last digit (a board that counts instructions may), the variance is that of rounding.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        squared = difference**2 / np.maximum(variance, scale * 1e-12)
    value = np.sqrt(degrees * np.log1p(squared / degrees)) * (8 * degrees + 1) / (8 * degrees + 3)
    return np.nan_to_num(value, nan=0.0)
