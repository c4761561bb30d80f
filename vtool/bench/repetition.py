"""One repetition: which proofs go with it, and what the results of its steps come to. Enter at ``read``.

Costs are differences between the counters before and after.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vtool.bench.places import Spot
from vtool.bench.steps import MARK, SERVER_UNIT
from vtool.bench.workloads.base import Point, ToolFailedError, WorkloadBase
from vtool.deploy.proof.judges import SameDigest, failure
from vtool.deploy.proof.steps import Proof, Row
from vtool.results.records import Clock, Cost, Metric, ProofSeen, RowSeen, Side, Void, Work

SLOT_BYTES = 2048
"""IO_TLB_SIZE (Linux include/linux/swiotlb.h)."""
_TICKS_PER_S = 100
"""USER_HZ, in which /proc/stat of any arm64 Linux counts."""
_OF_UNITS = (
    ("usage_s", "cpu", None, "s", "cpu.stat"),
    ("user_s", "cpu_user", None, "s", "cpu.stat"),
    ("system_s", "cpu_system", None, "s", "cpu.stat"),
    ("guest_s", "cpu_guest", None, "s", "guest_time"),
    ("exits", "exits", Side.HYPERVISOR, "1", "kvm/exits"),
)
"""A unit's counters, and the costs that they are: name, side (its own where there is none), unit, source."""
_MOST_OTHER = 0.25
"""Of one processor: what may run on the board beside what is measured."""
_MOST_JUMP_S = 0.1
_CHEAP_DEADLINE_S = 30


@dataclass
class Seen:
    """What came of a repetition. ``text`` is what the tool printed."""

    void: Void | None = None
    why: str = ""
    text: str = ""
    metrics: tuple[Metric, ...] = ()
    work: Work = field(default_factory=Work)
    costs: list[Cost] = field(default_factory=list)
    conditions: dict[str, float] = field(default_factory=dict)


def cheap(found: Sequence[Proof]) -> list[Proof]:
    """Return the rows of a proof that cost next to nothing: without transfers, and without searches of memory."""
    costly = ("exchange", "reach", "granted", "beside", "receive", "send", "echo")
    return [
        proof
        for proof in found
        if not isinstance(proof.judge, SameDigest)
        and not any(step["op"] in costly or step.get("timeout_s", 0) > _CHEAP_DEADLINE_S for step in proof.steps)
        # Resets the mark that this one reads, and transfers something so that it is not 0; or counts what was
        # transferred, which a guest that was started anew has not.
        and not any(step["id"].startswith(("reset-", "busy-", "hiwater-", "written-sectors-")) for step in proof.steps)
    ]


def proof_seen(rows: Sequence[Row]) -> ProofSeen:
    """Return what a proof came to."""
    failed = tuple(f"{row.subject}, {row.what}: {row.seen}" for row in rows if row.failed)
    return ProofSeen(rows=len(rows), proven=sum(row.proven for row in rows), failed=failed)


def rows_seen(rows: Sequence[Row]) -> tuple[RowSeen, ...]:
    """Return the rows of a whole proof as a run keeps them."""
    return tuple(
        RowSeen(
            subject=row.subject,
            what=row.what,
            expected=row.expected,
            seen=row.seen,
            proven=row.proven,
            noted=row.noted,
        )
        for row in rows
    )


def read(
    results: Mapping[str, Any], spot: Spot, workload: WorkloadBase, point: Point, clock: Clock = Clock.REAL
) -> Seen:
    """Read the results of a repetition's steps."""
    seen = Seen()
    for name in ("server", "prepare", "settle", "client", "others"):
        if name not in results:
            continue
        said = str(results[name].get("output", ""))
        if missing := re.search(rf"^{MARK} missing (\S+)", said, re.MULTILINE):
            where = spot.place.frontend if name == "prepare" else (spot.place.backend or "the board")
            why = f"'{missing[1]}' is not on the path of '{where}'"
            return Seen(Void.TOOL_MISSING, why, said)
        if name != "client" and (words := failure(results, name)):
            return Seen(Void.TOOL_FAILED, f"{name}: {' '.join(words)}"[:500], said)
    client = results.get("client", {"error": {"message": "it was not run"}})
    fetched = results.get("fetch", client)
    seen.text = text = str(fetched.get("output", ""))
    guest = None
    if "fetch" in results:
        guest = _guest_in(text)
        seen.text = guest.tool if guest else text
    for said_of in (client, fetched):
        if "error" in said_of:
            return Seen(Void.TOOL_FAILED, str(said_of["error"]["message"])[:500], text)
    try:
        outcome = workload.read(seen.text, point)
    except ToolFailedError as error:
        return Seen(Void.TOOL_FAILED, str(error)[:500], seen.text)
    seen.metrics, seen.work = outcome.metrics, outcome.work
    before, after = client["before"], client["after"]
    seen.costs = [*_board_costs(spot, before, after), *(_guest_costs(guest) if guest else ())]
    seen.conditions = _conditions(before, after)
    if guest is not None:
        seen.conditions |= _harness(spot, seen.costs, before, after)
    _judge(seen, spot, guest, before, after, clock)
    return seen


@dataclass(frozen=True)
class _Guest:
    """What a guest counted before and after, and what the tool printed between."""

    before: Mapping[str, float]
    after: Mapping[str, float]
    tool: str


def _guest_in(text: str) -> _Guest | None:
    parts = re.split(rf"^{MARK} (?:before|after|tool)\n", text, flags=re.MULTILINE)
    return _Guest(_counted_in(parts[1]), _counted_in(parts[2]), parts[3]) if len(parts) == 4 else None


def _counted_in(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, *words = line.split()
        numbers = [float(word) for word in words if word.replace(".", "").isdigit()]
        if name == "cpu" and len(numbers) >= 8:
            user, nice, system, _, _, irq, softirq, _ = numbers[:8]
            found["busy_s"] = (user + nice + system + irq + softirq) / _TICKS_PER_S
        elif name in ("intr", "full") and numbers:
            found[name] = numbers[0]
        elif name == "pool" and numbers:
            found["pool"] = max(found.get("pool", 0.0), numbers[0])
    return found


def _guest_costs(guest: _Guest) -> Iterator[Cost]:
    for key, name, unit, source in (
        ("busy_s", "cpu", "s", "/proc/stat of the guest"),
        ("intr", "interrupts", "1", "/proc/stat of the guest"),
        ("full", "pool_full", "1", "swiotlb buffer is full, in the guest's log"),
    ):
        if key in guest.before and key in guest.after:
            value = guest.after[key] - guest.before[key]
            yield Cost(name=name, side=Side.FRONTEND, unit=unit, value=value, source=source)
    if "pool" in guest.after:
        high = guest.after["pool"] * SLOT_BYTES
        yield Cost(name="pool_high_water", side=Side.FRONTEND, unit="B", value=high, source="io_tlb_used_hiwater")


def _board_costs(spot: Spot, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Cost]:
    def cost(name: str, side: Side, unit: str, value: float, source: str) -> Cost:
        return Cost(name=name, side=side, unit=unit, value=value, source=source)

    for side, unit in (*spot.units, (Side.BOARD, f"{SERVER_UNIT}.service")):
        one, other = before.get("units", {}).get(unit, {}), after.get("units", {}).get(unit)
        if other is None:
            continue
        if any(other.get(key, 0) < one[key] for key in ("usage_s", "exits") if key in one):
            one = {}  # it was started anew, and counts from its start
        label = "server_" if unit.startswith(SERVER_UNIT) else ""
        for key, name, whose, of, source in _OF_UNITS:
            if key in other:
                value = other[key] - one.get(key, 0)
                yield cost(f"{label}{name}", whose or side, of, value, f"{unit} {source}")
        if "memory_bytes" in other and not label:
            yield cost("memory", side, "B", other["memory_bytes"], f"{unit} memory.current")
    for side, domain in spot.domains:
        one, other = (counters.get("domains", {}).get(domain) for counters in (before, after))
        if other is not None:  # one that did not run before counts from its start
            yield cost("cpu_of_domain", side, "s", other - (one or 0.0), f"Xen's time of {domain}")
    if "interrupts" in before and "interrupts" in after:
        yield cost("interrupts", Side.BOARD, "1", after["interrupts"] - before["interrupts"], "/proc/stat")
    if "busy_s" in before and "busy_s" in after:
        yield cost("cpu", Side.BOARD, "s", after["busy_s"] - before["busy_s"], "/proc/stat")


def _conditions(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key in ("load", "temperature_c", "frequency_hz", "cooling"):
        for when, counters in (("before", before), ("after", after)):
            if key in counters:
                found[f"{key}_{when}"] = float(counters[key])
    found["board_seconds"] = float(after["boot_s"]) - float(before["boot_s"])
    found["clock_jump_s"] = float(after["real_s"]) - float(before["real_s"]) - found["board_seconds"]
    return found


def _harness(
    spot: Spot, costs: Iterable[Cost], before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, float]:
    """Return the processor time of vtool-board itself, and its share of the frontend's and backend's."""
    if "harness_s" not in before or "harness_s" not in after:
        return {}
    own = after["harness_s"] - before["harness_s"]
    # Of KVM's guests the VMM's time has theirs in it, and a tool's server is in the backend's domain.
    of_kvm = {("cpu", Side.BACKEND), ("cpu", Side.VMM), ("server_cpu", Side.BOARD)}
    of_xen = {("cpu_of_domain", Side.BACKEND), ("cpu_of_domain", Side.FRONTEND)}
    counted = of_kvm if spot.hypervisor == "kvm" else of_xen
    measured = sum(cost.value for cost in costs if (cost.name, cost.side) in counted)
    return {"harness_s": own, **({"harness_share": own / measured} if measured > 0 else {})}


def _judge(
    seen: Seen,
    spot: Spot,
    guest: _Guest | None,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    clock: Clock,
) -> None:
    """Say why the numbers do not count, if they do not: the first reason that holds."""
    if spot.pool and guest is not None and guest.after.get("pool", 0.0) == 0:
        seen.void, seen.why = Void.POOL_BYPASSED, "no slot of its restricted-dma-pool was ever used"
        return
    if abs(seen.conditions["clock_jump_s"]) > _MOST_JUMP_S:
        seen.void, seen.why = Void.CLOCK_JUMPED, f"the board's clock was set by {seen.conditions['clock_jump_s']:.3f} s"
        return
    if float(after.get("cooling", 0)) > float(before.get("cooling", 0)):
        seen.void, seen.why = Void.THROTTLED, "the board began to cool itself by running slower"
        return
    other = _other_processors(seen, spot)
    if other is not None:
        seen.conditions["other_cpus"] = other
        if other > _MOST_OTHER and clock is Clock.REAL:
            seen.void, seen.why = Void.DISTURBED, f"something else took {other:.2f} processors of the board"


def _other_processors(seen: Seen, spot: Spot) -> float | None:
    """Return how many processors of the board were busy with what is not measured, where its units are all that is."""
    if spot.hypervisor != "kvm":
        return None  # PV backends are threads of dom0's kernel
    seconds = seen.conditions["board_seconds"]
    busy = next((cost.value for cost in seen.costs if (cost.name, cost.side) == ("cpu", Side.BOARD)), None)
    if busy is None or seconds <= 0:
        return None
    ours = sum(
        cost.value for cost in seen.costs if cost.source.endswith("cpu.stat") and cost.name in ("cpu", "server_cpu")
    )
    return max(0.0, (busy - ours) / seconds)
