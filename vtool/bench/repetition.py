"""One repetition: the steps that vtool-board runs for it, and what their results say. Enter at ``steps_of``, ``read``.

    prove (cheap rows)   prepare, warm up   counters   the tool, in its guest   counters   fetch, clean   prove

Costs are differences between the counters. Nothing but the tool runs between them, and it prints into a file: each
character on a guest's console is an exit. Its script is there before, for the same reason.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vtool.bench.places import Spot
from vtool.bench.workloads.base import Commands, Point, ToolFailedError, WorkloadBase
from vtool.deploy.proof.judges import SameDigest, failure
from vtool.deploy.proof.steps import Proof, Row, Step
from vtool.results.records import Clock, Cost, Metric, ProofSeen, Side, Void, Work

SERVER_UNIT = "vtool-bench-server"
TOOLS = "/run/vtool-bench"
"""Where a board has the tools that vtool brings, for those that it has not itself."""
BRING = "tools"
"""The key of a step before which a board is given the tools."""
_WITH_TOOLS = f"PATH=$PATH:{TOOLS}/bin; export PATH"
SLOT_BYTES = 2048
"""IO_TLB_SIZE (Linux include/linux/swiotlb.h)."""
_TICKS_PER_S = 100
"""USER_HZ, in which /proc/stat of any arm64 Linux counts."""
_MARK = "@@vtool"
# In a guest, which has one user.
_SERVER_PID, _SCRIPT, _PRINTED = "/tmp/vtool-bench.pid", "/tmp/vtool-bench.sh", "/tmp/vtool-bench.out"  # noqa: S108
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
_POOLS = "/sys/kernel/debug/vtool-*/io_tlb_used_hiwater /sys/kernel/debug/swiotlb/*/io_tlb_used_hiwater"
_RESET = f'for f in {_POOLS}; do [ -e "$f" ] && echo 0 >"$f"; done 2>/dev/null'
"""Sets the pools' high-water marks to what is used now, so that they tell of what follows."""
_OF_POOLS = (
    f'for f in {_POOLS}; do [ -e "$f" ] && echo "pool $(cat "$f")"; done; '
    "echo \"full $(dmesg | grep -c 'swiotlb buffer is full')\""
)
_INTERRUPTS, _PROCESSORS = "grep '^intr' /proc/stat | cut -d ' ' -f 1,2", "head -n 1 /proc/stat"


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
        # Resets the mark that this one reads, and transfers something so that it is not 0.
        and not any(step["id"].startswith(("reset-", "busy-", "hiwater-")) for step in proof.steps)
    ]


def proof_seen(rows: Sequence[Row]) -> ProofSeen:
    """Return what a proof came to."""
    failed = tuple(f"{row.subject}, {row.what}: {row.seen}" for row in rows if row.failed)
    return ProofSeen(rows=len(rows), proven=sum(row.proven for row in rows), failed=failed)


# -- what is run


def steps_of(spot: Spot, workload: WorkloadBase, point: Point) -> list[Step]:
    """Return the steps of a repetition, in order."""
    if workload.tool == "start":
        return [_counters("before", spot), _start(spot), _counters("after", spot)]
    commands = workload.commands(point, spot.place)
    if commands.on_board:
        return _steps_on_board(spot, workload, commands)
    domain = spot.place.frontend
    script = f"printf %s {shlex.quote(_counted(commands.client))} >{_SCRIPT}"
    prepare = [_needs(workload.PROGRAMS), script, *([commands.prepare] if commands.prepare else [])]
    steps = [*_serve(spot, workload, commands)]
    steps.append(_in(domain, "prepare", "; ".join(prepare), commands.timeout_s))
    steps += [_counters("before", spot), _in(domain, "client", f"sh {_SCRIPT} >{_PRINTED} 2>&1", commands.timeout_s)]
    steps += [_counters("after", spot), _in(domain, "fetch", f"cat {_PRINTED}; rm {_PRINTED} {_SCRIPT}", 60)]
    if commands.clean:
        steps.append(_in(domain, "clean", commands.clean, 60))
    return [*steps, *_stop_serving(spot, commands)]


def _steps_on_board(spot: Spot, workload: WorkloadBase, commands: Commands) -> list[Step]:
    needs = f"{_WITH_TOOLS}; {_needs(workload.PROGRAMS)}"
    prepare = _on_board("prepare", f"{needs}; {commands.prepare or ':'}", commands.timeout_s)
    client = _on_board("client", f"{_WITH_TOOLS}; {commands.client}", commands.timeout_s)
    return [{**prepare, BRING: True}, _counters("before", spot), client, _counters("after", spot)]


def deadline_s(steps: Sequence[Step]) -> float:
    """Return how long steps may take together."""
    return 60.0 + sum(float(step.get("timeout_s", 30)) for step in steps)


def _in(domain: str, name: str, command: str, timeout_s: int) -> Step:
    return {"id": name, "op": "domain", "domain": domain, "command": command, "timeout_s": timeout_s}


def _on_board(name: str, command: str, timeout_s: int = 60) -> Step:
    return {"id": name, "op": "run", "command": command, "timeout_s": timeout_s}


def _counters(when: str, spot: Spot) -> Step:
    units = [unit for _, unit in spot.units]
    if spot.place.server_address and spot.place.served_by_board:
        units.append(f"{SERVER_UNIT}.service")
    domains = {name: (0 if name == spot.control else None) for _, name in spot.domains}
    return {"id": f"counters-{when}", "op": "counters", "units": units, "domains": domains}


def _needs(programs: Sequence[str]) -> str:
    """Return the words that end with a program's name where it is missing."""
    if not programs:
        return ":"
    missing = f'{{ echo "{_MARK} missing $p"; exit 127; }}'
    return f"for p in {' '.join(programs)}; do command -v $p >/dev/null || {missing}; done"


def _counted(client: str) -> str:
    """Return a command between what its guest has counted; the marks are on lines of their own."""
    tool = f"{{ {client}; }}; c=$?; echo; echo '{_MARK} after' $c"
    # Processors last and first, so that counting itself is not counted.
    before = f"{_RESET}; echo '{_MARK} before'; {_OF_POOLS}; {_INTERRUPTS}; {_PROCESSORS}"
    return f"{before}; echo '{_MARK} tool'; {tool}; {_PROCESSORS}; {_INTERRUPTS}; {_OF_POOLS}"


def _serve(spot: Spot, workload: WorkloadBase, commands: Commands) -> Iterator[Step]:
    if not commands.server:
        return
    needs = _needs(workload.SERVER_PROGRAMS)
    if not spot.place.served_by_board:
        server = f"{needs}; ({commands.server}) >/dev/null 2>&1 & echo $! >{_SERVER_PID}; sleep 1"
        yield _in(spot.place.backend, "server", server, 30)
        return
    # A socket that has no other end; those of connections that wait for their end have one.
    listens = f"cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 2>/dev/null | {_listening(commands.port)}"
    serve = f"systemd-run --quiet --collect --unit={SERVER_UNIT} --setenv=PATH=$PATH sh -c '{commands.server}'"
    wait = (
        f"n=0; until {listens}; do n=$((n+1)); [ $n -lt 100 ] || {{ echo 'nothing listens'; exit 1; }}; sleep 0.1; done"
    )
    server = f"{_WITH_TOOLS}; {needs}; systemctl stop {SERVER_UNIT} 2>/dev/null; {serve} && {wait}"
    yield {**_on_board("server", server), BRING: True}


def _listening(port: int) -> str:
    return f"grep -q ':{port:04X} 0*:0000 '"


def _stop_serving(spot: Spot, commands: Commands) -> Iterator[Step]:
    if not commands.server:
        return
    if spot.place.served_by_board:
        yield _on_board("stop", f"systemctl stop {SERVER_UNIT} || true")
    else:
        yield _in(spot.place.backend, "stop", f"kill $(cat {_SERVER_PID}); rm {_SERVER_PID}", 30)


def _start(spot: Spot) -> Step:
    """Start a guest anew, and wait for what it says when it is ready: after what its log has already."""
    log, unit = spot.console_log, spot.start_unit
    ready = spot.ready.replace("'", "'\\''")
    size = f"$(stat -c %s {log} 2>/dev/null || echo 0)"
    said = f"tail -c +$((n+1)) {log} | grep -a -q -F '{ready}'"
    command = (
        f"systemctl stop {unit}; n={size}; b=$(date +%s%N); systemctl start {unit} || exit 1; "
        f"[ {size} -ge $n ] || n=0; until {said}; do "
        f"[ $(( ($(date +%s%N) - b) / 1000000000 )) -lt {spot.ready_timeout_s} ] || exit 1; sleep 0.02; done; "
        'e=$(( $(date +%s%N) - b )); printf "ready after %d.%09d s\\n" $((e / 1000000000)) $((e % 1000000000))'
    )
    return _on_board("client", command, spot.ready_timeout_s + 120)


# -- what came of it


def read(
    results: Mapping[str, Any], spot: Spot, workload: WorkloadBase, point: Point, clock: Clock = Clock.REAL
) -> Seen:
    """Read the results of a repetition's steps."""
    seen = Seen()
    for name in ("server", "prepare", "counters-before", "client", "counters-after"):
        if name not in results:
            continue
        said = str(results[name].get("output", ""))
        if missing := re.search(rf"^{_MARK} missing (\S+)", said, re.MULTILINE):
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
    before, after = results["counters-before"], results["counters-after"]
    seen.costs = [*_board_costs(spot, before, after), *(_guest_costs(guest) if guest else ())]
    seen.conditions = _conditions(before, after)
    _judge(seen, spot, guest, before, after, clock)
    return seen


@dataclass(frozen=True)
class _Guest:
    """What a guest counted before and after, and what the tool printed between."""

    before: Mapping[str, float]
    after: Mapping[str, float]
    tool: str


def _guest_in(text: str) -> _Guest | None:
    parts = re.split(rf"^{_MARK} (?:before|tool|after.*)\n", text, flags=re.MULTILINE)
    if len(parts) != 4:
        return None
    return _Guest(_counted_in(parts[1]), _counted_in(parts[3]), parts[2].rstrip("\n") + "\n")


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
        one, other = before.get("units", {}).get(unit), after.get("units", {}).get(unit)
        if one is None or other is None:
            continue
        if any(other.get(key, 0) < one[key] for key in ("usage_s", "exits") if key in one):
            one = dict.fromkeys(one, 0)  # a unit that was started anew counts from the start
        label = "server_" if unit.startswith(SERVER_UNIT) else ""
        for key, name, whose, of, source in _OF_UNITS:
            if key in one and key in other:
                value = other[key] - one[key]
                yield cost(f"{label}{name}", whose or side, of, value, f"{unit} {source}")
        if "memory_bytes" in other and not label:
            yield cost("memory", side, "B", other["memory_bytes"], f"{unit} memory.current")
    for side, domain in spot.domains:
        one, other = (counters.get("domains", {}).get(domain) for counters in (before, after))
        if one is not None and other is not None:
            yield cost("cpu_of_domain", side, "s", other - one, f"Xen's time of {domain}")
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
