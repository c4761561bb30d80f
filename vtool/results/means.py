"""The one mean of repetitions: what is shown is what differences are judged by. Pure. Enter at ``mean``."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean(values: Sequence[float]) -> float:
    """Return the geometric mean of numbers that are all above 0, else the arithmetic one, of at least one number.

    The ratio of two geometric means is the mean of ratios, so that a change follows from the two that are shown
    (docs/adr/0010-statistics.md). ``changes`` has the same for columns.
    """
    if min(values) > 0:
        return math.exp(math.fsum(math.log(value) / len(values) for value in values))
    return math.fsum(value / len(values) for value in values)
