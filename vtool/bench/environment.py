"""The fingerprint of what is measured on: what board and guest say of themselves. Enter at ``steps``, ``read``."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import Any

from vtool.bench.matrix import digest_of
from vtool.bench.places import Spot
from vtool.bench.steps import in_guest
from vtool.board.protocols import Board, BoardClock
from vtool.deploy.proof.steps import Step
from vtool.plan.types import BoardPlan
from vtool.results.records import Clock, Environment

_OF_BOARD: Mapping[str, str] = {
    "board.model": "tr -d '\\0' </sys/firmware/devicetree/base/model",
    "cpu.model": "grep -m 1 '^CPU part' /proc/cpuinfo | cut -d ' ' -f 3",
    "cpu.features": "grep -m 1 '^Features' /proc/cpuinfo | cut -d : -f 2",
    "cpu.count": "nproc",
    "cpu.frequency_hz": "cat /sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq",
    "cpu.governor": "cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "kernel.release": "uname -r",
    "kernel.version": "uname -v",
    "kernel.config_sha256": "test -e /proc/config.gz && zcat /proc/config.gz | sha256sum | cut -d ' ' -f 1",
    "kernel.command_line": "sed 's/ *vtool[.a-z_]*=[^ ]*//g' /proc/cmdline",
    "clocksource": "cat /sys/devices/system/clocksource/clocksource0/current_clocksource",
}
_OF_XEN: Mapping[str, str] = {
    "hypervisor.version": "xl info | sed -n 's/^xen_version *: //p'",
    "hypervisor.options": "xl info | sed -n 's/^xen_commandline *: //p'",
    "hypervisor.compiler": "xl info | sed -n 's/^cc_compiler *: //p'",
}
_OF_GUEST: Mapping[str, str] = {
    "guest.kernel": "uname -r",
    "guest.command_line": "cat /proc/cmdline",
    "guest.clocksource": "cat /sys/devices/system/clocksource/clocksource0/current_clocksource",
    "device.features": "for f in /sys/bus/virtio/devices/*/features; do [ -e $f ] && cut -c 1-64 $f; done",
    "tool.fio": "fio --version",
    "tool.iperf3": "iperf3 --version | head -n 1",
    "tool.sockperf": "sockperf --version | sed -n 's/.*version \\([^ ]*\\).*/\\1/p' | head -n 1",
}


def clock_of(board: Board) -> Clock:
    """Return what a board's seconds are."""
    return {
        BoardClock.REAL: Clock.REAL,
        BoardClock.EMULATED: Clock.EMULATED,
        BoardClock.INSTRUCTIONS: Clock.INSTRUCTIONS,
    }[board.clock]


def steps(plan: BoardPlan, spot: Spot) -> list[Step]:
    """Return the steps that ask a board and a guest on it."""
    asked = {**_OF_BOARD, **(_OF_XEN if plan.hypervisor == "xen" else {})}
    vmms = [unit for _, unit in spot.units]
    if vmms:
        asked["vmm.arguments"] = _arguments_of(vmms[-1])
        asked["vmm.version"] = f"set -- $({asked['vmm.arguments']}); $1 --version | head -n 1"
    found = [_step(name, command) for name, command in asked.items()]
    if spot.place.has_shell:
        lines = "; ".join(f"echo '@@ {name}'; {command}" for name, command in _OF_GUEST.items())
        found.append(in_guest(spot, "guest", f"{{ {lines}; }} 2>/dev/null", 30))
    return found


def _step(name: str, command: str) -> Step:
    return {"id": name, "op": "run", "command": f"{{ {command}; }} 2>/dev/null", "timeout_s": 20}


def _arguments_of(unit: str) -> str:
    return f"tr '\\0' ' ' </proc/$(systemctl show -p MainPID --value {unit})/cmdline"


def read(results: Mapping[str, Any], plan: BoardPlan, board: Board, vtool: str) -> Environment:
    """Return the fingerprint; what was not told is null."""
    said = {name: str(result.get("output", "")).strip() for name, result in results.items() if name != "guest"}
    said |= dict(_of_guest(str(results.get("guest", {}).get("output", ""))))
    facts: dict[str, str | int | float | bool | None] = {name: value or None for name, value in said.items()}
    facts |= {
        "board.name": board.name,
        "board.facts": plan.facts.name,
        "board.driver": board.driver,
        "board.clock": board.clock.value,
        "hypervisor.kind": plan.hypervisor,
        "harness.vtool": vtool,
        "harness.machine": platform.machine(),
    }
    return Environment(id=digest_of(facts), board=board.name, clock=clock_of(board), facts=facts)


def _of_guest(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split("@@ ")[1:]:
        name, _, value = part.partition("\n")
        yield name.strip(), " ".join(value.split())
