"""The vCPUs of a guest of KVM, threads of its QEMU: kept on CPUs of the board, and seen there."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from pathlib import Path

from .base import BoardError
from .domains import manifest
from .talk import qmp
from .typed import Any

DEADLINE_S = 60.0
"""How long QEMU may take to have its memory, every huge page of it touched."""


def threads(socket_path: str) -> list[int]:
    """Return the threads of a guest's vCPUs, in the order of their numbers (QMP query-cpus-fast)."""
    found = qmp(socket_path, [{"execute": "query-cpus-fast"}])[0]
    return [int(cpu["thread-id"]) for cpu in sorted(found, key=lambda cpu: int(cpu["cpu-index"]))]


def verb_pin(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keep each vCPU of a guest on CPUs of its own, and QEMU's other threads on others. BoardError VT704."""
    vcpus = once_there(arguments.domain)
    if len(vcpus) != len(arguments.cpus):
        raise BoardError("VT704", f"'{arguments.domain}' has {len(vcpus)} vCPUs, {len(arguments.cpus)} are to be kept")
    kept = {thread: numbers(arguments.cpus[vcpu]) for vcpu, thread in enumerate(vcpus)}
    if arguments.others:
        for task in Path(f"/proc/{vcpus[0]}/task").iterdir():
            kept.setdefault(int(task.name), numbers(arguments.others))
    for thread, cpus in kept.items():
        with contextlib.suppress(ProcessLookupError):  # one of those that come and go
            os.sched_setaffinity(thread, cpus)
    return {"domain": arguments.domain}


def observe_vcpus(step: dict[str, Any]) -> dict[str, Any]:
    """Return the CPUs that each vCPU of a domain is kept on, as one text."""
    vcpus = threads(manifest()["domains"][step["domain"]]["qmp"])
    return {"output": "; ".join(",".join(map(str, sorted(os.sched_getaffinity(thread)))) for thread in vcpus)}


def numbers(text: str) -> set[int]:
    """Return the CPUs of a list such as 0-2,5."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def once_there(domain: str) -> list[int]:
    """Return the threads once QEMU answers, as the unit asks for them right after it has started QEMU."""
    socket_path, begin = manifest()["domains"][domain]["qmp"], time.monotonic()
    while True:
        try:
            return threads(socket_path)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() - begin > DEADLINE_S:
                raise
            time.sleep(0.1)
