"""The numbers of a repetition by name: what a tool measured, and what it cost for each request and MiB.

Costs are differences of counters, which say nothing by themselves: a faster path does more work in the same time, and
costs more of everything. So they are divided by the work. Enter at ``measured``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from vtool.base.units import MIB
from vtool.results.records import Better, Cost, Repetition, Side

TOTAL = "cpu_total"
"""The processor time of frontend, backend and VMM together, which no counter tells: told as a cost of the board."""
STATES = ("pool_high_water", "memory")
"""Costs that are no difference but what stood at the end; they are not divided (docs/reference/bench-format.md)."""


_TICK_S = 0.01
"""USER_HZ, in which Linux tells times of processors in /proc (proc(5)): 100 a second on every arm64 Linux."""
_IN_TICKS = frozenset({"cpu_guest", "cpu_user", "cpu_system", "server_cpu_user", "server_cpu_system"})
_OF_PROC_STAT = frozenset({("cpu", Side.FRONTEND), ("cpu", Side.BOARD)})
"""Times that are counted in ticks. ``cpu.stat`` has microseconds, but shares them out between user and system by what
ticks have seen (Linux kernel/sched/cputime.c: cputime_adjust)."""
_WITH_GUEST = frozenset({("cpu", Side.VMM), ("cpu_user", Side.VMM)})
"""A VMM's threads run its guest's vCPUs: their time is in these."""
_MAIN = ("throughput", "latency_p50", "latency_p99", "lost", "ready", "copy")
_MAIN_COSTS = (TOTAL, "cpu", "cpu_of_domain", "exits")
_OF_ALL = ("cpu", Side.BOARD)
"""What else runs on the board is in it, too."""


@dataclass(frozen=True)
class Measure:
    """What a number is of. ``side`` is None for what a workload's tool says, ``per`` is "", "request" or "MiB"."""

    name: str
    unit: str
    better: Better
    side: Side | None = None
    per: str = ""

    def __hash__(self) -> int:
        """Leave the enums out: theirs are worked out by Python code, millions of times in a run of a thousand cells."""
        return hash((self.name, self.unit, self.per))

    @cached_property
    def label(self) -> str:
        """Return its name in tables: ``latency_p99``, ``backend cpu per request``, ``vmm cpu (with vCPUs) per MiB``."""
        whose = f"{self.side.value} " if self.side else ""
        has_guest = " (with vCPUs)" if (self.name, self.side) in _WITH_GUEST else ""
        return f"{whose}{self.name}{has_guest}" + (f" per {self.per}" if self.per else "")

    @cached_property
    def is_in_ticks(self) -> bool:
        """Whether it is a time that moves in steps of 10 ms."""
        return self.name in _IN_TICKS or (self.name, self.side) in _OF_PROC_STAT

    @property
    def is_cost(self) -> bool:
        """Whether it is a cost rather than a metric."""
        return self.side is not None


measure = cache(Measure)
"""Returns the measure with these fields: one object, which is found by a look at where it is."""
Measures = Mapping[Measure, float]


def measured(repetitions: Iterable[Repetition]) -> dict[int, Measures]:
    """Return the numbers of repetitions by the repetition's number."""
    return {one.number: measures_of(one) for one in repetitions}


def measures_of(repetition: Repetition) -> dict[Measure, float]:
    """Return every number of a repetition: its metrics in their order, then its costs.

    Several counters of the same side and name (two daemons of one guest) are added up. Costs of work that is not known,
    or was none, are left out.
    """
    found = {measure(one.name, one.unit, one.better): one.value for one in repetition.metrics}
    for of, value in _costs(repetition):
        found[of] = found.get(of, 0.0) + value
    return found


def steps_of(repetitions: Iterable[Repetition]) -> Callable[[Measure], float]:
    """Return what says of a measure by how much a repetition may be off because its counter moves in steps, else 0."""
    works = [one.work for one in repetitions]
    requests = min((work.requests for work in works if work.requests), default=0)
    mib = min((work.bytes for work in works if work.bytes), default=0) / MIB

    def step(of: Measure) -> float:
        done = requests if of.per == "request" else mib
        return _TICK_S / done if of.is_in_ticks and done else 0.0

    return step


def _costs(repetition: Repetition) -> Iterator[tuple[Measure, float]]:
    work = repetition.work
    for cost in repetition.costs:
        if cost.name in STATES:
            yield measure(cost.name, cost.unit, Better.LOWER, cost.side), cost.value
            continue
        if work.requests:
            yield measure(cost.name, cost.unit, Better.LOWER, cost.side, "request"), cost.value / work.requests
        if work.bytes:
            yield measure(cost.name, cost.unit, Better.LOWER, cost.side, "MiB"), cost.value * MIB / work.bytes
    total = _total(repetition.costs)
    if total is not None and work.requests:
        yield measure(TOTAL, "s", Better.LOWER, Side.BOARD, "request"), total / work.requests
    if total is not None and work.bytes:
        yield measure(TOTAL, "s", Better.LOWER, Side.BOARD, "MiB"), total * MIB / work.bytes


def _total(costs: Sequence[Cost]) -> float | None:
    """Return the processor time of all that a path takes, in which no second is counted twice.

    Xen's times of domains have all that runs in them. Under KVM a VMM's cgroup has its guest's time in it.
    """
    found = [cost.value for cost in costs if cost.name == "cpu_of_domain"]
    found = found or [cost.value for cost in costs if cost.name == "cpu" and cost.side in (Side.BACKEND, Side.VMM)]
    return sum(found) if found else None


def main_measures(measures: Iterable[Measure]) -> frozenset[Measure]:
    """Return those that a table begins with: of the costs, those for each request, or where none is known for a MiB."""
    found = list(measures)
    per = "request" if any(one.per == "request" for one in found) else "MiB"
    costs = [one for one in found if one.name in _MAIN_COSTS and one.per == per and (one.name, one.side) != _OF_ALL]
    return frozenset([*costs, *(one for one in found if one.name in _MAIN and not one.is_cost)])
