"""A linear model of what a request costs, fitted to cells with several repetitions, and what it may be believed. Pure.

Costs in proportion: an error of 1 % counts the same at 4 KiB and at 1 MiB. Part of ``vtool[bench]``. Enter at
``fitted`` and ``crossing``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vtool.results.means import mean
from vtool.results.statistics import LEVEL, Array

MOST_RESIDUAL = 0.05
"""By how much of what was measured a fit may be off where noise does not explain it."""
_INDEPENDENT = 0.05
"""How much of a column must be left that those before it do not explain, for its coefficient to mean something."""


@dataclass(frozen=True)
class Fitted:
    """What became of a fit. ``columns`` are the indices of the regressors that could be told apart, in their order.

    ``coefficients`` and ``covariance`` are theirs; ``degrees`` of freedom are of the covariance's scale. ``residuals``
    are shares of what was measured, a cell each. ``failed`` says why it predicts nothing, or nothing.
    """

    columns: tuple[int, ...]
    coefficients: Array
    covariance: Array
    degrees: int
    residuals: Array
    failed: str

    def interval(self, weights: Array) -> tuple[float, float, float]:
        """Return a weighted sum of the coefficients, and the ends of its interval."""
        value = float(weights @ self.coefficients)
        half = _quantile(self.degrees) * math.sqrt(max(float(weights @ self.covariance @ weights), 0.0))
        return value, value - half, value + half


def fitted(regressors: Array, measured: Sequence[Array], names: Sequence[str]) -> Fitted:
    """Fit costs to regressors (a row a cell, a column a term) by weighted least squares, and check the fit.

    ``measured`` has the repetitions of each cell. The noise is that of repetitions; where cells are off by more than it
    explains (a lack of fit, by the F test), intervals are of what they are off by. The fit fails where one is off by
    more than ``MOST_RESIDUAL`` besides, where there are no more cells than terms, or where a term costs less than
    nothing: significantly, or by more than ``MOST_RESIDUAL`` of a cell.
    """
    means = np.array([mean(mine.tolist()) for mine in measured])
    counts = np.array([len(mine) for mine in measured])
    weighted = regressors / means[:, None]
    columns = _independent(weighted * np.sqrt(counts)[:, None])
    design = weighted[:, columns]
    cells, terms, all_of_them = len(means), len(columns), int(counts.sum())
    information = np.linalg.pinv(design.T @ (counts[:, None] * design))
    coefficients = information @ (design.T @ counts)
    residuals = design @ coefficients - 1
    of_fit, freedom = float(counts @ residuals**2), cells - terms
    noise = sum(float(((mine / of_it - 1) ** 2).sum()) for mine, of_it in zip(measured, means, strict=True))
    explained = _is_noise(of_fit, freedom, noise, all_of_them - cells)
    if explained:
        variance, degrees = (of_fit + noise) / (all_of_them - terms), all_of_them - terms
    else:
        variance, degrees = of_fit / max(freedom, 1), max(freedom, 1)
    found = Fitted(tuple(columns), coefficients, information * variance, degrees, residuals, "")
    told = [names[column] for column in columns]
    failed = _failure(found, freedom, told, design * coefficients, explained=explained)
    return Fitted(found.columns, coefficients, found.covariance, degrees, residuals, failed)


def _independent(design: Array) -> list[int]:
    """Return the columns that are no combination of those before them, as far as a cost could be told from it."""
    chosen: list[int] = []
    for index, column in enumerate(design.T):
        left = column
        if chosen:
            before = design[:, chosen]
            left = column - before @ np.linalg.lstsq(before, column, rcond=None)[0]
        if np.linalg.norm(left) > _INDEPENDENT * np.linalg.norm(column):
            chosen.append(index)
    return chosen


def _is_noise(of_fit: float, freedom: int, noise: float, of_noise: int) -> bool:
    """Whether what cells are off by is no more than their repetitions differ among themselves (the F test)."""
    if freedom <= 0 or of_noise <= 0:
        return False
    ratio = (of_fit / freedom) / max(noise / of_noise, 1e-18)  # repetitions that agree to the last digit still round
    return bool(stats.f.sf(ratio, freedom, of_noise) > 1 - LEVEL)


def _failure(found: Fitted, freedom: int, names: Sequence[str], shares: Array, *, explained: bool) -> str:
    """Return why a fit predicts nothing; ``shares`` has what each term comes to, of what was measured of each cell."""
    if freedom <= 0:
        return f"{len(found.residuals)} cells are too few to check it by: it has {len(names)} terms"
    if not names:
        return "its numbers are further apart than any that can be reckoned with"
    worst = float(np.abs(found.residuals).max())
    if not explained and worst > MOST_RESIDUAL:
        return f"it is off by up to {worst * 100:.1f} %, which noise does not explain"
    for index, name in enumerate(names):
        _, _, high = found.interval(np.eye(len(names))[index])
        if high < 0 or shares[:, index].min() < -MOST_RESIDUAL:
            return f"the cost of each {name} would be less than nothing"
    return ""


def _quantile(degrees: int) -> float:
    return float(stats.t.isf((1 - LEVEL) / 2, degrees))


# -- where two lines meet


@dataclass(frozen=True)
class Line:
    """Costs as a line over payloads of ``least`` to ``most`` bytes: what a request and what a byte costs."""

    intercept_and_slope: Array
    covariance: Array
    degrees: int
    least: float
    most: float


@dataclass(frozen=True)
class Crossing:
    """From which payload on the second line is lower. None: no end of the interval in what was measured of both.

    ``first_lower`` and ``second_lower``: one is so at every payload that was measured, beyond doubt.
    """

    payload: float | None = None
    low: float | None = None
    high: float | None = None
    first_lower: bool = False
    second_lower: bool = False


def crossing(first: Line, second: Line) -> Crossing:
    """Find where the second line gets lower than the first, between the payloads that were measured of both.

    The interval is that of a ratio of two differences (Fieller, JRSS B 16(2), 1954), and may have no end.
    """
    least, most = max(first.least, second.least), min(first.most, second.most)
    quantile = _quantile(min(first.degrees, second.degrees))
    above = second.intercept_and_slope - first.intercept_and_slope
    covariance = first.covariance + second.covariance
    ends = [_sign(above, covariance, quantile, payload) for payload in (least, most)]
    if ends == [1, 1]:
        return Crossing(first_lower=True)
    if ends == [-1, -1]:
        return Crossing(second_lower=True)
    extra, saved = float(above[0]), -float(above[1])
    if saved <= 0 or not least <= extra / saved <= most:
        return Crossing()
    low, high = _fieller(extra, saved, covariance, quantile)
    low, high = (end if end is not None and least <= end <= most else None for end in (low, high))
    return Crossing(extra / saved, low, high)


def _sign(above: Array, covariance: Array, quantile: float, payload: float) -> int:
    """Return whether one line is above (1) or below (-1) the other at a payload, or neither beyond doubt (0)."""
    at = np.array([1.0, payload])
    value, half = float(at @ above), quantile * math.sqrt(float(at @ covariance @ at))
    return 0 if abs(value) <= half else int(math.copysign(1, value))


def _fieller(extra: float, saved: float, covariance: Array, quantile: float) -> tuple[float | None, float | None]:
    """Return the ends of the interval of extra/saved; none where the difference of slopes may be 0."""
    squared = quantile**2
    # Of the payload s: (extra - s * saved)^2 <= t^2 * variance(extra - s * saved).
    a = saved**2 - squared * float(covariance[1, 1])
    half_b = extra * saved + squared * float(covariance[0, 1])
    c = extra**2 - squared * float(covariance[0, 0])
    root = half_b**2 - a * c
    if a <= 0 or root < 0:
        return None, None
    return (half_b - math.sqrt(root)) / a, (half_b + math.sqrt(root)) / a
