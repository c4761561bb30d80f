"""The steps of one repetition, which vtool-board runs in their order. Enter at ``steps_of``.

    (server)   prepare, warm up   settle   the tool, in its guest   fetch, clean   (stop)

Nothing but the tool runs between the counters of its step, and it prints into a file: each character on a guest's
console is an exit. Its scripts are there before, and wait for the counters, for the same reason.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from vtool.bench.places import Spot
from vtool.bench.workloads.base import AFTER, BEFORE, Commands, Point, WorkloadBase
from vtool.deploy.asking import ON_BOARD
from vtool.deploy.proof.steps import Step

SERVER_UNIT = "vtool-bench-server"
TOOLS = "/run/vtool-bench"
"""Where a board has the tools that vtool brings, for those that it has not itself."""
BRING = "tools"
"""The key of a step before which a board is given the tools."""
MARK = "@@vtool"
"""Begins lines of what is read back, among those of the tools."""
_WITH_TOOLS = f"PATH=$PATH:{TOOLS}/bin; export PATH"
# In a guest, which has one user.
_SERVER_PID, _SCRIPT, _PRINTED = "/tmp/vtool-bench.pid", "/tmp/vtool-bench.sh", "/tmp/vtool-bench.out"  # noqa: S108
_COUNTED = "/tmp/vtool-bench.counted"  # noqa: S108
_SETTLE_S = 300
"""How long writing back may take: by the clock of a board that counts instructions, on which a disk is slow."""
_QUIET = "/tmp/quiet"  # noqa: S108
"""While it is there, a guest of vtool's whose shell nobody reaches leaves its disk alone (its init)."""
_READY, _DONE = f"{MARK} ready", f"{MARK} done"
_POOLS = " ".join(f"/sys/kernel/debug/{pool}/io_tlb_used_hiwater" for pool in ("vtool-*", "xen-shmem@*", "swiotlb/*"))
_RESET = f'for f in {_POOLS}; do [ -e "$f" ] && echo 0 >"$f"; done 2>/dev/null'
"""Sets the pools' high-water marks to what is used now, so that they tell of what follows."""
_OF_POOLS = (
    f'for f in {_POOLS}; do [ -e "$f" ] && echo "pool $(cat "$f")"; done; '
    "echo \"full $(dmesg | grep -c 'swiotlb buffer is full')\""
)
_INTERRUPTS, _PROCESSORS = "grep '^intr' /proc/stat | cut -d ' ' -f 1,2", "head -n 1 /proc/stat"


def steps_of(spot: Spot, workload: WorkloadBase, point: Point) -> list[Step]:
    """Return the steps of a repetition, in order."""
    if workload.tool == "start":
        return [*_start_anew(spot)]
    commands = workload.commands(point, spot.place)
    if commands.on_board:
        return _steps_on_board(spot, workload, commands)
    script = "; ".join(f"printf %s {shlex.quote(text)} >{file}" for file, text in _scripts(commands).items())
    script += f"; touch {_QUIET}"
    prepare = [_needs(workload.PROGRAMS), script, *([commands.prepare] if commands.prepare else [])]
    steps = [*_serve(spot, workload, commands)]
    steps += [in_guest(spot, "prepare", "; ".join(prepare), commands.timeout_s), _on_board("settle", "sync", _SETTLE_S)]
    client = in_guest(spot, "client", f"sh {_SCRIPT} 3>&1 >{_PRINTED} 2>&1 4>{_COUNTED}", commands.timeout_s)
    steps.append(_measured({**client, "ready": _READY, "done": _DONE}, spot))
    files = f"{_PRINTED} {_COUNTED} {_SCRIPT} {BEFORE} {AFTER} {_QUIET}"
    fetch = f"cat {_COUNTED}; echo '{MARK} tool'; cat {_PRINTED}; rm {files}"
    steps.append(in_guest(spot, "fetch", fetch, 60))
    if commands.clean:
        steps.append(in_guest(spot, "clean", commands.clean, 60))
    return [*steps, *_stop_serving(spot, commands)]


def _steps_on_board(spot: Spot, workload: WorkloadBase, commands: Commands) -> list[Step]:
    needs = f"{_WITH_TOOLS}; {_needs(workload.PROGRAMS)}"
    prepare = _on_board("prepare", f"{needs}; {commands.prepare or ':'}", commands.timeout_s)
    client = _on_board("client", f"{_WITH_TOOLS}; {commands.client}", commands.timeout_s)
    return [{**prepare, BRING: True}, _measured(client, spot)]


def deadline_s(steps: Sequence[Step]) -> float:
    """Return how long steps may take together."""
    return 60.0 + sum(float(step.get("timeout_s", 30)) for step in steps)


def in_guest(spot: Spot, name: str, command: str, timeout_s: int) -> Step:
    """Return a step in the shell of a spot's guest: on its console, or where it takes commands instead."""
    step = {"id": name, "op": "domain", "domain": spot.place.frontend, "command": command, "timeout_s": timeout_s}
    return {**step, "address": spot.place.commands_at} if spot.place.commands_at else step


def _in_server(spot: Spot, name: str, command: str) -> Step:
    return {"id": name, "op": "domain", "domain": spot.place.backend, "command": command, "timeout_s": 30}


def _on_board(name: str, command: str, timeout_s: int = 60) -> Step:
    return {"id": name, "op": "run", "command": command, "timeout_s": timeout_s}


def _measured(step: Step, spot: Spot) -> Step:
    """Return a step with what is counted around it."""
    units = [unit for _, unit in spot.units]
    if spot.place.server_address and spot.place.served_by_board:
        units.append(f"{SERVER_UNIT}.service")
    known = {spot.control: 0, spot.place.frontend: spot.domain_id}
    domains = {name: known.get(name) for _, name in spot.domains}
    return {**step, "op": "measured", "units": units, "domains": domains}


def _needs(programs: Sequence[str]) -> str:
    """Return the words that end with a program's name where it is missing."""
    if not programs:
        return ":"
    missing = f'{{ echo "{MARK} missing $p"; exit 127; }}'
    return f"for p in {' '.join(programs)}; do command -v $p >/dev/null || {missing}; done"


def _scripts(commands: Commands) -> dict[str, str]:
    """Return the scripts of a repetition: what its guest counts before and after, and the tool between.

    Both wait for a line while the board's counters are read. They say so by descriptor 3, which leads to the console,
    and what they count is for descriptor 4.
    """
    # Processors last and first, so that counting itself is not counted.
    before = f"{_RESET}; {{ echo '{MARK} before'; {_OF_POOLS}; {_INTERRUPTS}; {_PROCESSORS}; }} >&4; "
    after = f"{{ echo '{MARK} after'; {_PROCESSORS}; {_INTERRUPTS}; {_OF_POOLS}; }} >&4"
    tool = commands.client if commands.counts else f"sh {BEFORE}; {{ {commands.client}; }}; c=$?; sh {AFTER}; exit $c"
    return {
        BEFORE: f"{before}echo '{_READY}' >&3; read -r _",
        AFTER: f"echo '{_DONE}' >&3; read -r _; {after}",
        _SCRIPT: tool,
    }


def _serve(spot: Spot, workload: WorkloadBase, commands: Commands) -> Iterator[Step]:
    if not commands.server:
        return
    needs = _needs(workload.SERVER_PROGRAMS)
    if not spot.place.served_by_board:
        server = f"{needs}; ({commands.server}) >/dev/null 2>&1 & echo $! >{_SERVER_PID}; sleep 1"
        yield _in_server(spot, "server", server)
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
        yield _in_server(spot, "stop", f"kill $(cat {_SERVER_PID}); rm {_SERVER_PID}")


def _start_anew(spot: Spot) -> Iterator[Step]:
    """Yield the steps of a start: what is counted is from a guest that does not run to one that is ready.

    What stops with a guest, since it is served by it, is started again afterwards.
    """
    stop = f"systemctl stop {spot.start_unit}"
    if spot.hypervisor == "xen":  # the unit that made the domain stops after the one that runs it
        gone = f"! xl domid {spot.place.frontend} >/dev/null 2>&1"
        stop += f"; n=0; until {gone}; do n=$((n+1)); [ $n -lt 300 ] || exit 1; sleep 0.1; done"
    yield _on_board("prepare", stop, 120)
    yield _measured(_start(spot), spot)
    if spot.serves:
        yield _on_board("others", f"{ON_BOARD} converge", spot.ready_timeout_s + 120)


def _start(spot: Spot) -> Step:
    """Start a guest, and wait for what it says when it is ready: after what its log has already, if that is kept."""
    log, unit = spot.console_log, spot.start_unit
    ready = spot.ready.replace("'", "'\\''")
    look = f"set -- $(stat -c '%i %s' {log} 2>/dev/null || echo 0 0)"
    said = f"tail -c +$((n+1)) {log} | grep -a -q -F '{ready}'"
    command = (
        f"{look}; i=$1; n=$2; b=$(date +%s%N); systemctl start {unit} || exit 1; "
        f"{look}; [ $1 = $i ] && [ $2 -ge $n ] || n=0; until {said}; do "
        f"[ $(( ($(date +%s%N) - b) / 1000000000 )) -lt {spot.ready_timeout_s} ] || exit 1; sleep 0.02; done; "
        'e=$(( $(date +%s%N) - b )); printf "ready after %d.%09d s\\n" $((e / 1000000000)) $((e % 1000000000))'
    )
    return _on_board("client", command, spot.ready_timeout_s + 120)
