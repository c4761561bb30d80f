"""What a board has counted: read of a made /proc and /sys, whatever of it a board lacks."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vtool.deploy.on_board import counters as module
from vtool.deploy.on_board.lock import Heard

STAT = """\
cpu  100 10 50 1000 7 3 2 1 40 0
cpu0 100 10 50 1000 7 3 2 1 40 0
intr 4711 1 2 3
ctxt 9
"""


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "proc/stat": STAT,
        "proc/42/stat": "42 (qemu) kvm) S " + " ".join(["0"] * 39) + " 250 0\n",
        "cgroup/system.slice/u.service/cpu.stat": "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nx y\n",
        "cgroup/system.slice/u.service/memory.current": "4096\n",
        "cgroup/system.slice/u.service/cgroup.procs": "42\n",
        "sys/kernel/debug/kvm/42-9/exits": "77\n",
        "sys/class/thermal/thermal_zone0/temp": "41000\n",
        "sys/class/thermal/thermal_zone1/temp": "no number\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(module, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(module, "_SYS", tmp_path / "sys")
    monkeypatch.setattr(module, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(module, "_TICKS_PER_S", 100)

    def run(*argv: str, **_: Any) -> SimpleNamespace:
        said = {"systemctl": "/system.slice/u.service\n", "xl": "3\n"}[argv[0]]
        if argv[:2] == ("xl", "list"):
            said = "Name ID Mem VCPUs State Time(s)\nDomain-0 0 1024 2 r----- 12.5\nfe0 3 256 1 -b---- 3.5\n"
        return SimpleNamespace(stdout=said)

    monkeypatch.setattr(module, "run", run)
    return tmp_path


def test_units_with_what_their_guests_had(board: Path) -> None:
    unit = module.Counters({"units": ["u.service"]}).read(after=False)["units"]["u.service"]
    assert unit == {
        "usage_s": 1.5, "user_s": 1.0, "system_s": 0.5, "memory_bytes": 4096, "guest_s": 2.5, "exits": 77,
    }  # fmt: skip


def test_the_board_itself(board: Path) -> None:
    found = module.Counters({}).read(after=True)
    assert (found["busy_s"], found["stolen_s"], found["interrupts"]) == (1.65, 0.01, 4711)
    assert found["temperature_c"] == 41.0 and found["frequency_hz"] == 1.5e9
    assert "cooling" not in found and "domains" not in found


def test_domains_by_xl_where_xens_python_is_not(board: Path) -> None:
    assert module.Counters({"domains": {"dom0": 0, "fe0": None}}).read(after=True)["domains"] == {
        "dom0": 12.5,
        "fe0": 3.5,
    }


def test_a_board_that_has_nothing_says_what_it_has(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PROC", "_SYS", "_CGROUPS"):
        monkeypatch.setattr(module, name, board / "none")
    found = module.Counters({"units": ["u.service"]}).read(after=False)
    assert set(found) == {"real_s", "boot_s", "load", "units", "harness_s"} and found["units"] == {"u.service": {}}


@pytest.mark.parametrize(("lease_s", "heard"), [(0.01, b""), (None, b"said")])
def test_a_lease_ends_what_is_not_heard_and_none_never_does(
    monkeypatch: pytest.MonkeyPatch, lease_s: float | None, heard: bytes
) -> None:
    reads, writes = os.pipe()
    saved = os.dup(0)
    os.dup2(reads, 0)
    later = threading.Timer(0.3, os.write, (writes, b"said\n"))
    later.start()
    try:
        assert Heard(lease_s).line() == heard
    finally:
        later.join()
        os.dup2(saved, 0)
        for descriptor in (reads, writes, saved):
            os.close(descriptor)


def test_what_did_not_run_before_is_looked_for_again(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, runs = module.run, list[bool]()

    def run(*argv: str, **words: Any) -> SimpleNamespace:
        return usual(*argv, **words) if runs or argv[:2] == ("xl", "list") else SimpleNamespace(stdout="\n")

    monkeypatch.setattr(module, "run", run)
    counters = module.Counters({"units": ["u.service"], "domains": {"dom0": 0, "fe0": None}})
    before = counters.read(after=False)
    assert before["units"] == {} and before["domains"] == {"dom0": 12.5}
    runs.append(True)
    after = counters.read(after=True)
    assert after["units"]["u.service"]["usage_s"] == 1.5 and after["domains"] == {"dom0": 12.5, "fe0": 3.5}
