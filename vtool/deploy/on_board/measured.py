"""A command between two readings of the counters: what it cost. Enter at ``measured``."""

from __future__ import annotations

import time

from .base import run
from .counters import Counters
from .talk import typed
from .typed import Any


def measured(step: dict[str, Any]) -> dict[str, Any]:
    """Run a command, on the board or in a ``domain``; return its code and output, and what was counted around it.

    In a domain it says ``ready`` and waits for a line, does its work, says ``done`` and waits again: all that is typed
    and read on a console is outside of what is counted, but for these words and one character.
    """
    counters, timeout_s = Counters(step), float(step.get("timeout_s", 60))
    if "domain" not in step:
        before = counters.read(after=False)
        done = run("/bin/sh", "-c", step["command"], check=False, timeout=timeout_s)
        after = counters.read(after=True)
        said: dict[str, Any] = {"code": done.returncode, "output": done.stdout, "errors": done.stderr[-2000:]}
        return {**said, "before": before, "after": after}
    with typed(step["domain"], step["command"], address=step.get("address"), reads=True) as answer:
        answer.until(step["ready"], time.monotonic() + 60)
        before = counters.read(after=False)
        answer.enter()
        answer.until(step["done"], time.monotonic() + timeout_s)
        after = counters.read(after=True)
        answer.enter()
        return {**answer.end(time.monotonic() + 60), "before": before, "after": after}
