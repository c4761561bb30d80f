"""What a board's kernel and hypervisor have counted: read before and after something, the difference is its cost.

Found once, and then read by this process itself, since what it would start instead is counted, too. What a board does
not have is left out. Enter at ``Counters``.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .base import run

_CGROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
_SYS = Path("/sys")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_GUEST_TIME = 40
"""Of /proc/PID/stat after the command, from 0: guest_time, the 43rd field (proc(5))."""


class Counters:
    """The counters of units, of Xen's domains, and of the board.

    ``units`` are systemd's; ``domains`` are names with Xen's numbers, null where it has to be asked for. What did not
    run before is looked for again after.
    """

    def __init__(self, step: dict[str, Any]) -> None:
        self._numbers = {name: _number(name, number) for name, number in step.get("domains", {}).items()}
        self._units = {unit: _cgroup(unit) for unit in step.get("units", ())}
        self._times = _times_of_domains() if self._numbers else dict
        self._exits: dict[str, list[Path]] = {}

    def read(self, *, after: bool) -> dict[str, Any]:
        """Return what has been counted. What is read nearest to what is measured has this process' own time in it.

        ``harness_s`` is the time of this process and of what it started: between two readings an upper bound of what
        counting itself took of that.
        """
        parts = [_conditions, _of_processors, self._of_units, self._moment, self._of_domains]
        found: dict[str, Any] = {}
        for part in reversed(parts) if after else parts:
            found |= part()
        return found

    def _moment(self) -> dict[str, float]:
        own = os.times()
        return {
            "real_s": time.time(),
            "boot_s": time.clock_gettime(time.CLOCK_BOOTTIME),
            "harness_s": time.process_time() + own.children_user + own.children_system,
        }

    def _of_domains(self) -> dict[str, Any]:
        if not self._numbers:
            return {}
        times = self._times()
        numbers = {name: _number(name, number) for name, number in self._numbers.items()}
        return {"domains": {name: times[number] for name, number in numbers.items() if number in times}}

    def _of_units(self) -> dict[str, Any]:
        folders = {unit: folder or _cgroup(unit) for unit, folder in self._units.items()}
        return {"units": {unit: self._of_unit(folder) for unit, folder in folders.items() if folder is not None}}

    def _of_unit(self, folder: Path) -> dict[str, float]:
        """Read a cgroup's cpu.stat, in microseconds, and its memory; of KVM's the guests' own time, and exits."""
        found: dict[str, float] = {}
        with contextlib.suppress(OSError, ValueError):
            for line in (folder / "cpu.stat").read_text().splitlines():
                name, value = line.split()
                if name in ("usage_usec", "user_usec", "system_usec"):
                    found[name.replace("_usec", "_s")] = int(value) / 1e6
        with contextlib.suppress(OSError, ValueError):
            found["memory_bytes"] = int((folder / "memory.current").read_text())
        pids: list[str] = []
        with contextlib.suppress(OSError):
            pids = (folder / "cgroup.procs").read_text().split()
        guest = [_guest_time(pid) for pid in pids]
        if any(guest):
            found["guest_s"] = sum(guest)
        with contextlib.suppress(OSError, ValueError):
            if exits := [int(file.read_text()) for pid in pids for file in self._exits_of(pid)]:
                found["exits"] = sum(exits)
        return found

    def _exits_of(self, pid: str) -> list[Path]:
        if pid not in self._exits:
            self._exits[pid] = [*_SYS.glob(f"kernel/debug/kvm/{pid}-*/exits")]
        return self._exits[pid]


def _number(name: str, number: int | None) -> int | None:
    if number is not None:
        return number
    said = run("xl", "domid", name, check=False, timeout=20).stdout.strip()
    return int(said) if said.isdigit() else None


def _cgroup(unit: str) -> Path | None:
    said = run("systemctl", "show", "-p", "ControlGroup", "--value", unit, check=False).stdout.strip()
    return _CGROUPS / said.lstrip("/") if said else None


def _guest_time(pid: str) -> float:
    try:
        fields = (_PROC / pid / "stat").read_text().rpartition(")")[2].split()
        return int(fields[_GUEST_TIME]) / _TICKS_PER_S
    except (OSError, ValueError, IndexError):
        return 0.0


def _of_processors() -> dict[str, float]:
    """Read /proc/stat: seconds that all processors were busy, and interrupts."""
    found: dict[str, float] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in (_PROC / "stat").read_text().splitlines():
            words = line.split()
            if words[0] == "cpu":
                # user nice system idle iowait irq softirq steal; guest time is in user's already.
                user, nice, system, _, _, irq, softirq, steal = (int(word) for word in words[1:9])
                found["busy_s"] = (user + nice + system + irq + softirq) / _TICKS_PER_S
                found["stolen_s"] = steal / _TICKS_PER_S
            elif words[0] == "intr":
                found["interrupts"] = int(words[1])
    return found


def _conditions() -> dict[str, float]:
    """Read the load, and temperature and frequency where the board tells them."""
    found: dict[str, float] = {"load": os.getloadavg()[0]}
    for key, pattern, factor, choose in (
        ("temperature_c", "class/thermal/thermal_zone*/temp", 1e-3, max),
        ("frequency_hz", "devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq", 1e3, min),
        ("most_frequency_hz", "devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq", 1e3, min),
        ("cooling", "class/thermal/cooling_device*/cur_state", 1.0, max),
    ):
        values = []
        for file in _SYS.glob(pattern):
            with contextlib.suppress(OSError, ValueError):
                values.append(int(file.read_text()) * factor)
        if values:
            found[key] = choose(values)
    return found


def _times_of_domains() -> Callable[[], dict[int, float]]:
    """Return what reads the processor time of Xen's domains in seconds: exactly, else to a tenth."""
    sys.path += [str(path) for path in sorted(Path("/usr/lib").glob("xen-*/lib/python"))]
    try:
        from xen.lowlevel.xc import xc

        handle = xc()
    except (ImportError, OSError):
        return _times_by_xl
    return lambda: {domain["domid"]: domain["cpu_time"] / 1e9 for domain in handle.domain_getinfo()}


def _times_by_xl() -> dict[int, float]:
    lines = run("xl", "list", check=False, timeout=20).stdout.splitlines()[1:]
    with contextlib.suppress(ValueError, IndexError):
        return {int(line.split()[-5]): float(line.split()[-1]) for line in lines}
    return {}
