"""Runs that nobody measured, of topologies that are there: what `vtool bench` would write, with numbers of a model.

Numbers come from a seed and what paths are thought to cost; they say nothing of any board.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vtool.bench.cells import Planned, plan_matrix
from vtool.bench.matrix import digest_of, load_matrix
from vtool.bench.runner import run_of
from vtool.cli.common import prepare_to_deploy
from vtool.results.records import (
    Better,
    Cell,
    Clock,
    Cost,
    Deployment,
    Ended,
    Environment,
    Metric,
    ProofSeen,
    Record,
    Repetition,
    RowSeen,
    Session,
    Side,
    Void,
    Work,
)

NOON = "2026-11-30T12:00:00.000Z"
_COSTS = {
    "shared-ram": (8e-5, 0.4e-9, "all RAM: secret found in 272MiB of its memory, control found"),
    "pool": (9.6e-5, 1.1e-9, "region pool0 (16MiB): secret not found in 16MiB of its memory, control found"),
    "pool-in-ram": (9.6e-5, 1.1e-9, "all RAM: secret found in 272MiB of its memory, control found"),
    "viommu": (16e-5, 0.5e-9, "all RAM: secret found in 272MiB of its memory, control found"),
    "ring": (12e-5, 1.6e-9, "region ring0 (4MiB): secret not found in 4MiB of its memory, no control"),
    "foreign": (9e-5, 0.5e-9, "all RAM: QEMU maps 0B granted, 256MiB foreign; by right all RAM"),
    "grant": (21e-5, 0.9e-9, "granted pages: QEMU maps 128KiB granted, 0B foreign; by right all RAM"),
    "pv": (14e-5, 0.8e-9, "granted pages: 64 pages mapped, secret in none of them, control found"),
}
"""Of each data path: seconds a request, seconds a byte, and what its backend is seen to reach."""


def synthetic(
    folder: Path,
    matrix: Path,
    *,
    clock: Clock = Clock.INSTRUCTIONS,
    repetitions: int | None = None,
    seed: int = 0,
    change: Callable[[Record], Record] = lambda record: record,
    most: int | None = None,
) -> Path:
    """Write the run of a matrix's file; return its folder. ``change`` may change every record before it is written."""
    planned = plan_matrix(load_matrix(matrix), prepare_to_deploy, 100_000)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.jsonl").open("w", encoding="utf-8") as file:
        for record in records(planned, clock, repetitions, seed, most):
            file.write(change(record).model_dump_json() + "\n")
    return folder


def records(planned: Planned, clock: Clock, repetitions: int | None, seed: int, most: int | None) -> Iterator[Record]:
    """Yield the records of a run in their order."""
    command = ("vtool", "bench", "--matrix", str(planned.loaded.document.path), "-o", "run")
    run = run_of(planned, "0.1.0", command)
    update: dict[str, Any] = {"id": f"{seed:016x}", "created": NOON, "name": f"synthetic-{run.name}"}
    update |= {"cells": run.cells[:most]}
    update |= {"repetitions": repetitions} if repetitions else {}
    run = run.model_copy(update=update)
    yield run
    yield Session(number=1, started=NOON, vtool="0.1.0", command=command)
    chance = random.Random(seed)
    possible = [cell for cell in run.cells if not cell.faults]
    environments = {(c.variant, c.frontend): _environment(c, clock) for c in possible}
    known: set[str] = set()
    for number in range(1, run.repetitions + 1):
        for variant in run.variants:
            mine = [cell for cell in possible if cell.variant == variant.id]
            if mine:
                rows = tuple(dict.fromkeys(_reached(cell) for cell in mine if cell.device))
                yield Deployment(variant=variant.id, board=mine[0].board, session=1, started=NOON, seconds=79.7,
                                 rebooted=number == 1, generation="bc21969ec9692b61", rows=rows)  # fmt: skip
            for cell in mine:
                environment = environments[cell.variant, cell.frontend]
                if environment.id not in known:
                    known.add(environment.id)
                    yield environment
                if number == 1 and cell is mine[0]:
                    yield Repetition(cell=cell.id, number=1, session=1, environment=environment.id, clock=clock,
                                     started=NOON, seconds=4.0, void=Void.TOOL_FAILED,
                                     why="fio: it ended before its test did")  # fmt: skip
                yield _repetition(run.workloads, cell, number, environment, chance)
    yield Ended(session=1, at=NOON, how="complete", boards={possible[0].board: possible[-1].variant})


def _reached(cell: Cell) -> RowSeen:
    said = _COSTS[cell.data_path][2]
    words = said.partition(":")[0]
    return RowSeen(
        subject=f"device {cell.device}", what="what its backend can reach", expected=words, seen=said, proven=True
    )


def _environment(cell: Cell, clock: Clock) -> Environment:
    facts: dict[str, str | int | float | bool | None] = {
        "board.name": cell.board, "board.facts": "qemu-virt", "board.driver": "emulated", "board.clock": clock.value,
        "board.model": "linux,dummy-virt", "cpu.model": "0xd08", "cpu.features": "fp asimd aes pmull sha1 sha2 crc32",
        "cpu.count": "2", "cpu.frequency_hz": None, "cpu.governor": None, "kernel.release": "6.12.117",
        "kernel.version": "#1 SMP 1970-01-01", "kernel.config_sha256": "ae5b17bf" * 8,
        "kernel.command_line": "console=ttyAMA0 root=/dev/vda2 rootfstype=ext4 rw rootwait panic=10",
        "clocksource": "arch_sys_counter", "hypervisor.kind": cell.hypervisor,
        "vmm.arguments": f"/usr/bin/qemu-system-aarch64 -name guest={cell.frontend} -accel kvm -cpu host -m 272M"
                         f" -device vhost-user-blk,id=device-disk0,queue={cell.data_path}",
        "vmm.version": "QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)",
        "guest.kernel": "6.12.117", "guest.command_line": "console=ttyAMA0 swiotlb=track_hiwater",
        "guest.clocksource": "arch_sys_counter", "device.features": "01100010011101100000000000001100",
        "tool.fio": "fio-3.33", "tool.iperf3": "iperf 3.18 (cJSON 1.7.15)", "tool.sockperf": "3.7-no.git",
        "harness.vtool": "0.1.0", "harness.machine": "x86_64",
    }  # fmt: skip
    return Environment(id=digest_of(facts), board=cell.board, clock=clock, facts=facts)


def _repetition(workloads: Any, cell: Cell, number: int, environment: Environment, chance: random.Random) -> Repetition:
    workload = next(one for one in workloads if one.id == cell.workload)
    said = workload.parameters
    payload = int(next((said[key] for key in ("block_size", "length", "size") if key in said), 4096))
    per_request, per_byte, _ = _COSTS.get(cell.data_path, (1e-4, 1e-9, ""))
    latency = (per_request + payload * per_byte) * chance.lognormvariate(0, 0.012)
    depth = min(4.0, float(said.get("depth", 1))) ** 0.6
    requests = round(depth / latency)
    metrics = [
        Metric(name="throughput", unit="B/s", value=requests * payload, better=Better.HIGHER),
        Metric(name="requests", unit="1/s", value=requests, better=Better.HIGHER),
    ]
    if workload.tool in ("fio", "sockperf"):
        for name, factor in (("mean", 1.01), ("p50", 1.0), ("p90", 1.05), ("p95", 1.09), ("p99", 1.3), ("p99.9", 1.9),
                             ("max", 2.4)):  # fmt: skip
            value = latency * factor * chance.lognormvariate(0, 0.01)
            metrics.append(Metric(name=f"latency_{name}", unit="s", value=value, better=Better.LOWER))
    if workload.tool in ("mbw", "start"):
        metrics = [Metric(name="copy", unit="B/s", value=1.6e9 * chance.lognormvariate(0, 0.001), better=Better.HIGHER)]
    busy = requests * (0.3 * per_request + payload * per_byte)
    return Repetition(
        cell=cell.id, number=number, attempt=1, session=1, environment=environment.id, clock=environment.clock,
        started=NOON, seconds=45.6, metrics=tuple(metrics),
        work=Work(requests=requests, bytes=requests * payload, seconds=1.001),
        costs=tuple(_costs(cell, busy, requests, chance)),
        conditions={"load_before": 0.3, "load_after": 0.9, "board_seconds": 1.3, "clock_jump_s": 0.0},
        before=ProofSeen(rows=14, proven=14), after=ProofSeen(rows=14, proven=14),
    )  # fmt: skip


def _costs(cell: Cell, busy: float, requests: int, chance: random.Random) -> Iterator[Cost]:
    def cost(name: str, side: Side, unit: str, value: float, source: str) -> Cost:
        return Cost(name=name, side=side, unit=unit, value=value * chance.lognormvariate(0, 0.01), source=source)

    if cell.hypervisor == "xen":
        yield cost("cpu_of_domain", Side.FRONTEND, "s", busy * 0.6, f"Xen's time of {cell.frontend}")
        yield cost("cpu_of_domain", Side.BACKEND, "s", busy * 0.7, "Xen's time of dom0")
    else:
        for side, share in ((Side.BACKEND, 0.4), (Side.VMM, 0.8)):
            unit = f"vtool-{side.value}.service"
            for name, part in (("cpu", 1.0), ("cpu_user", 0.6), ("cpu_system", 0.4)):
                yield cost(name, side, "s", busy * share * part, f"{unit} cpu.stat")
            yield cost("memory", side, "B", 5.8e7, f"{unit} memory.current")
        yield cost("exits", Side.HYPERVISOR, "1", requests * 4.1, "vtool-domain.service kvm/exits")
        yield cost("pool_high_water", Side.FRONTEND, "B", 131072, "io_tlb_used_hiwater")
        yield cost("pool_full", Side.FRONTEND, "1", 0, "swiotlb buffer is full, in the guest's log")
    yield cost("cpu", Side.FRONTEND, "s", busy * 0.6, "/proc/stat of the guest")
    yield cost("interrupts", Side.FRONTEND, "1", requests * 1.2, "/proc/stat of the guest")
    yield cost("interrupts", Side.BOARD, "1", requests * 2.1, "/proc/stat")
    yield cost("cpu", Side.BOARD, "s", busy * 1.4, "/proc/stat")
