"""The numbers of a repetition by name: what a tool measured, and what it cost for each request and MiB.

Costs are differences of counters, which say nothing by themselves: a faster path does more work in the same time, and
costs more of everything. So they are divided by the work. Enter at ``measures_of``.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.records import record
from vtool.base.units import MIB
from vtool.results.records import Better, Repetition, Side

STATES = ("pool_high_water", "memory")
"""Costs that are no difference but what stood at the end; they are not divided (docs/reference/bench-format.md)."""


@record
class Measure:
    """What a number is of. ``side`` is None for what a workload's tool says, ``per`` is "", "request" or "MiB"."""

    name: str
    unit: str
    better: Better
    side: Side | None = None
    per: str = ""

    @property
    def label(self) -> str:
        """Return its name in tables: ``latency_p99``, ``backend cpu per request``."""
        whose = f"{self.side.value} " if self.side else ""
        return f"{whose}{self.name}" + (f" per {self.per}" if self.per else "")

    @property
    def is_cost(self) -> bool:
        """Whether it is a cost rather than a metric."""
        return self.side is not None


def measures_of(repetition: Repetition) -> dict[Measure, float]:
    """Return every number of a repetition: its metrics in their order, then its costs.

    Several counters of the same side and name (two daemons of one guest) are added up. Costs of work that is not known,
    or was none, are left out.
    """
    found = {Measure(one.name, one.unit, one.better): one.value for one in repetition.metrics}
    for measure, value in _costs(repetition):
        found[measure] = found.get(measure, 0.0) + value
    return found


def _costs(repetition: Repetition) -> Iterator[tuple[Measure, float]]:
    work = repetition.work
    for cost in repetition.costs:
        if cost.name in STATES:
            yield Measure(cost.name, cost.unit, Better.LOWER, cost.side), cost.value
            continue
        if work.requests:
            yield Measure(cost.name, cost.unit, Better.LOWER, cost.side, "request"), cost.value / work.requests
        if work.bytes:
            yield Measure(cost.name, cost.unit, Better.LOWER, cost.side, "MiB"), cost.value * MIB / work.bytes
