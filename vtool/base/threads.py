"""Waiting for threads in a way that Ctrl-C always ends.

What comes between Python's look for signals and a wait without end is seen after that wait only; so no wait is long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TypeVar

_Result = TypeVar("_Result")
_LOOK_S = 0.5


def first_of(running: Iterable[Future[_Result]]) -> set[Future[_Result]]:
    """Wait until at least one has ended; return those that have."""
    known = set(running)
    while not (ended := wait(known, _LOOK_S, FIRST_COMPLETED).done):
        pass
    return ended


def all_of(running: Sequence[Future[_Result]]) -> list[_Result]:
    """Return what came of each, in order. Raises what the first that failed has; what has not begun then never does."""
    try:
        return [first_of([future]).pop().result() for future in running]
    except BaseException:
        for future in running:
            future.cancel()
        raise
