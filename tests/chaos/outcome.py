"""What came of a fault."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from vtool.report.summary import table


class Broken(Exception):
    """What a fault must never do to a board."""


@dataclass
class Outcome:
    """A line of the table: what was struck when, and what ran afterwards (the generation of before, or the new one)."""

    on: str
    number: int
    fault: str
    request: str = ""
    moment: str = ""
    runs: str = ""
    seconds: float = 0.0
    broken: str = ""

    def measure(self, fault: Callable[[Outcome], None]) -> Outcome:
        """Let a fault happen, which fills in what it sees; what is broken by it is a part of the outcome."""
        begin = time.monotonic()
        try:
            fault(self)
        except (Broken, AssertionError) as error:
            self.broken = str(error)[-800:]
        self.seconds = round(time.monotonic() - begin, 1)
        print(*table([tuple(str(value) for value in vars(self).values())], indent=""), flush=True)
        return self
