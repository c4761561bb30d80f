"""Python's collector of cyclic garbage, and what it need not look through."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def making_what_stays() -> Iterator[None]:
    """Make what is needed until the process ends: it is not looked through, neither while it is made nor later.

    Of a large topology all that is known fits in memory, and looking through it again and again takes as long as
    planning it. What becomes garbage in a cycle before the end of this stays in memory.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
