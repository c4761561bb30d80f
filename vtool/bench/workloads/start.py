"""From the start of a guest's unit (under Xen `xl create`) until it says that it is ready, by the board's clock."""

import re
from collections.abc import Iterator
from typing import Literal

from vtool.bench.workloads.base import Commands, Outcome, Place, Point, ToolFailedError, WorkloadBase, lower
from vtool.results.records import Work

_SECONDS = re.compile(r"^ready after ([0-9]+(?:\.[0-9]+)?) s$", re.MULTILINE)


class Workload(WorkloadBase):
    """Starts the guest anew; there is nothing to set."""

    tool: Literal["start"]

    def unfit(self, point: Point, place: Place) -> Iterator[str]:  # noqa: ARG002 - the base's
        """What Xen builds at boot cannot be started alone."""
        if place.at_boot:
            why = "nothing starts it alone, and Xen's log has no times"
            yield f"'{place.frontend}' is built by Xen while the board boots: {why}"

    def commands(self, point: Point, place: Place) -> Commands:  # noqa: ARG002 - the base's
        """Return nothing to be run in the guest: the runner starts it."""
        return Commands(client="")

    def read(self, output: str, point: Point) -> Outcome:  # noqa: ARG002 - the base's
        """Read what the runner said."""
        found = _SECONDS.search(output)
        if found is None:
            raise ToolFailedError((output.strip().splitlines() or ["the guest did not get ready"])[-1][:200])
        seconds = float(found[1])
        return Outcome((lower("ready", "s", seconds),), Work(requests=1, seconds=seconds))
