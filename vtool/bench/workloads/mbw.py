"""mbw in a guest or on the board (man mbw(1), 1.2.2): how fast memory is copied, a bound of copying paths.

Its MiB is 2^20, and its rate is the amount copied: each byte is read once and written once.
"""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vtool.base.units import MIB, format_size
from vtool.bench.workloads.base import Commands, Outcome, Place, Point, Sweep, ToolFailedError, WorkloadBase, higher
from vtool.model.types import Size
from vtool.results.records import Work

_LINE = re.compile(r"^\d+\tMethod: MEMCPY\tElapsed: ([0-9.]+)\tMiB: ([0-9.]+)\tCopy: [0-9.]+ MiB/s$", re.MULTILINE)


class Where(Enum):
    """Whose memory is copied: a guest's, or that of the board's control domain."""

    GUEST = "guest"
    BOARD = "board"


class Workload(WorkloadBase):
    """Copies an array of ``size`` with memcpy, ``runs`` times."""

    tool: Literal["mbw"]
    where: Sweep[Where] = (Where.GUEST,)
    size: Sweep[Size] = (16 * MIB,)
    runs: Annotated[int, Field(ge=1, le=1000)] = 10

    SWEPT: ClassVar = ("where", "size")
    PROGRAMS: ClassVar = ("mbw",)

    def unfit(self, point: Point, place: Place) -> Iterator[str]:
        """Two arrays have to fit, with room for the rest."""
        size = int(point["size"])
        if size % MIB:
            yield f"an array of {format_size(size)} is no whole number of MiB"
        if point["where"] == "guest" and 2 * size > place.memory_bytes // 2:
            yield f"two arrays of {format_size(size)} are more than half the memory of '{place.frontend}'"

    def commands(self, point: Point, place: Place) -> Commands:  # noqa: ARG002 - the base's
        """Return the command; its first run is the one that touches the pages first, so there is one more."""
        mib = int(point["size"]) // MIB
        return Commands(
            client=f"mbw -q -a -t0 -n {self.runs} {mib}",
            prepare=f"mbw -q -a -t0 -n 1 {mib} >/dev/null",
            on_board=point["where"] == "board",
        )

    def read(self, output: str, point: Point) -> Outcome:
        """Read the runs; the rate is that of all together."""
        runs = [(float(elapsed), float(mib) * MIB) for elapsed, mib in _LINE.findall(output)]
        seconds, copied = sum(run[0] for run in runs), sum(run[1] for run in runs)
        if seconds <= 0 or len(runs) != self.runs or any(int(size) != int(point["size"]) for _, size in runs):
            raise ToolFailedError("mbw: " + (output.strip().splitlines() or ["it printed nothing"])[-1][:200])
        return Outcome(
            (higher("copy", "B/s", copied / seconds),), Work(requests=len(runs), bytes=int(copied), seconds=seconds)
        )
