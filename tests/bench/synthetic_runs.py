"""Run folders that nobody measured: cells with a known effect and known noise, as vtool bench would write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vtool.results.records import RECORD, Environment, Record, Repetition, Run
from vtool.results.run_folder import RunRead, read_run

NOON = "2026-11-30T12:00:00.000Z"
DIGEST = "0" * 64
FACTS: Mapping[str, Any] = {
    "board.name": "board0", "board.facts": "qemu-virt", "board.driver": "ssh", "board.clock": "real",
    "kernel.release": "6.12.117", "kernel.config_sha256": "1" * 64, "hypervisor.kind": "kvm", "vmm.version": "QEMU 10",
    "guest.kernel": "6.12.117", "tool.fio": "fio-3.39", "harness.vtool": "0.1.0",
}  # fmt: skip
Values = Callable[[np.random.Generator, str, int], tuple[Mapping[str, float], Mapping[str, float]]]
"""Gives metrics by name (``throughput``, ``requests``, ``latency_...``) and costs by ``side name``."""


def constant(effects: Mapping[str, float], noise: float = 0.01, drift: float = 0.05) -> Values:
    """Return values whose throughput is ``effects[variant]`` of the baseline's, and the latency its inverse.

    A round's drift is that of all its cells.
    """

    def values(random: np.random.Generator, variant: str, number: int) -> Any:
        factor = effects.get(variant, 1.0) * (1 + drift * number) * random.lognormal(0, noise)
        latency = 1e-4 / factor * random.lognormal(0, noise)
        metrics = {"throughput": 1e8 * factor, "requests": 2e4 * factor, "latency_p50": latency}
        return metrics, {"backend cpu": 0.5 / factor * random.lognormal(0, noise), "hypervisor exits": 0.0}

    return values


def records(
    values: Values, *, variants: tuple[str, ...] = ("shared-ram", "pool"),
    workloads: int | Mapping[str, Mapping[str, Any]] = 1, repetitions: int = 6, seed: int = 0, clock: str = "real",
    facts: Mapping[str, Any] = FACTS, parameters: Mapping[str, Any] | None = None, **changes: Any,
) -> list[Record]:  # fmt: skip
    """Return the records of a run on a disk; the first variant is the baseline, numbers come round by round.

    ``workloads``: how many, or each with its own parameters.
    """
    usual = {"pattern": "randread", "block_size": 4096, "depth": 1, **(parameters or {})}
    if isinstance(workloads, int):
        workloads = {f"disk{number}": {} for number in range(workloads)}
    base = variants[0]
    said = {
        "record": "run", "format": "vtool-bench", "version": 1, "id": "r", "name": "synthetic", "created": NOON,
        "vtool": "0.1.0", "command": ["vtool", "bench"], "matrix": {}, "matrix_digest": DIGEST,
        "repetitions": repetitions, "axes": {"topology": variants}, "baseline": {"topology": base},
        "variants": [{"id": f"topology={name}", "axes": {"topology": name}, "topology": f"{name}.yaml",
                      "digest": DIGEST} for name in variants],
        "workloads": [{"id": name, "tool": "fio", "parameters": {**usual, **own}} for name, own in workloads.items()],
        "cells": [{"id": f"topology={v}/{w}@disk0", "variant": f"topology={v}", "workload": w, "board": "board0",
                   "frontend": "fe0", "device": "disk0", "type": "blk", "hypervisor": "kvm", "data_path": v,
                   "baseline": None if v == base else f"topology={base}/{w}@disk0"}
                  for v in variants for w in workloads],
    }  # fmt: skip
    run = RECORD.validate_json(json.dumps(said | changes))
    assert isinstance(run, Run)
    environment = RECORD.validate_json(json.dumps({
        "record": "environment", "id": DIGEST, "board": str(facts["board.name"]), "clock": clock, "facts": dict(facts),
    }))  # fmt: skip
    assert isinstance(environment, Environment)
    random = np.random.default_rng(seed)
    found: list[Record] = [run, environment]
    for number in range(1, run.repetitions + 1):
        for cell in run.cells:
            metrics, costs = values(random, cell.variant.partition("=")[2], number)
            found.append(repetition(cell.id, number, metrics, costs, clock))
    return found


def repetition(
    cell: str, number: int, metrics: Mapping[str, float], costs: Mapping[str, float], clock: str, **changes: Any
) -> Repetition:
    """Return a repetition; work is that of a second."""
    units = {"throughput": "B/s", "requests": "1/s"}
    said = {
        "record": "repetition", "cell": cell, "number": number, "session": 1, "environment": DIGEST, "clock": clock,
        "started": NOON, "seconds": 1.0,
        "metrics": [{"name": name, "unit": units.get(name, "s"), "value": value,
                     "better": "higher" if name in units else "lower"} for name, value in metrics.items()],
        "work": {"requests": round(metrics["requests"]), "bytes": round(metrics["throughput"]), "seconds": 1.0},
        "costs": [{"name": name.partition(" ")[2], "side": name.partition(" ")[0], "unit": "s", "value": value,
                   "source": "test"} for name, value in costs.items()],
    }  # fmt: skip
    record = RECORD.validate_json(json.dumps(said | changes))
    assert isinstance(record, Repetition)
    return record


def written(folder: Path, lines: list[Record]) -> Path:
    """Write records into a run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.jsonl").write_text("".join(f"{line.model_dump_json()}\n" for line in lines))
    return folder


def read(folder: Path, lines: list[Record]) -> RunRead:
    """Write records into a run folder and read it."""
    return read_run(written(folder, lines))
