"""Two sshds that may be one board of a topology, with a stand-in for their guest: what cells are spread over.

Enter at ``racks``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.fleet import MOUNTS, Fleet, Source, own_folders
from vtool.bench.groups import began_on, groups_of
from vtool.results.run_folder import RunRead

from .machine import sshd_folder

ROOT = Path(__file__).resolve().parents[2]
RACKS = ("rack1", "rack2")
SYSTEMCTL = """#!/bin/sh
case "$1 $*" in
is-active*) test -e /run/started && echo active || echo inactive ;;
start*vtool.target* | start*vtool-domain-fe0*)
    touch /run/starting
    while test -e /run/slow; do sleep 0.05; done
    mkdir -p /var/log/vtool/fe0
    touch /run/started
    echo "vtool: domain ready" >>/var/log/vtool/fe0/console.log ;;
esac
exit 0
"""
OWN_LOG = '; mkdir -p "$1/logs" /run/lock; mount --bind "$1/logs" /var/log'
MATRIX = {
    "version": 1,
    "name": "starts",
    "axes": {
        "memory": {"key": "domains.fe0.memory", "values": ["64MiB", "128MiB"]},
        "cpus": {"key": "domains.fe0.cpus", "values": [1, 2]},
    },
    "baseline": {"memory": "64MiB"},
    "workloads": {"ready": {"tool": "start"}},
    "repetitions": 2,
}


class OneBoard(Source):
    """A topology of one board, for machines that stand for it."""

    def config(self, board: str) -> str:
        return "generation/manifest.json"

    def write(self, *, memory_mib: int = 64) -> None:
        super().write(memory_mib=memory_mib)
        self.staged = dict.fromkeys(self.names, self.staged["board0"])

    def _topology(self) -> str:
        return (
            "version: 1\nname: fleet\nboards:\n  board0: {facts: ./facts.yaml, hypervisor: {kind: kvm}}\ndomains:\n"
            "  host: {role: control, kernel: ./kernel}\n  fe0: {memory: 64MiB, kernel: ./guest-kernel, access: shell}\n"
        )


class Racks:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.folder = fleet, fleet.source.folder
        self.environment = {**os.environ, **own_folders(self.folder), "NO_COLOR": "1"}
        said = json.loads((self.folder / "vtool.yaml").read_text())
        for entry in said["boards"].values():
            entry["stands_for"] = "board0"
        (self.folder / "vtool.yaml").write_text(json.dumps(said))
        (self.folder / "m.yaml").write_text(json.dumps(MATRIX))
        for machine in fleet.machines.values():
            (machine.folder / "sbin" / "systemctl").write_text(SYSTEMCTL)

    def words(self, *more: str | Path) -> list[str]:
        # This machine has other things to do, which a board that is measured has not.
        quiet = "import vtool.bench.repetition as r; r._MOST_OTHER = 1e9; from vtool.cli.main import main; exit(main())"
        files = ["bench", self.folder / "topology.yaml", "--matrix", self.folder / "m.yaml"]
        words = [*files, "--inventory", self.folder / "vtool.yaml", *more]
        return [sys.executable, "-c", quiet, *map(str, words)]

    def vtool(self, *more: str | Path, code: int = 0) -> str:
        done = subprocess.run(self.words(*more), env=self.environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == code and "Traceback" not in done.stderr, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def cut(self, rack: str) -> None:
        """End all that runs on a machine, connections to it among that: what has its mount namespace."""
        machine = self.fleet.machines[rack]
        assert machine.process_id is not None
        own = Path(f"/proc/{machine.process_id}/ns/mnt").readlink()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "ns" / "mnt").readlink() == own:
                    os.kill(int(process.name), signal.SIGKILL)
        machine.off()

    def flag(self, rack: str, name: str) -> Path:
        return self.fleet.machines[rack].folder / "run" / name


@contextlib.contextmanager
def racks() -> Iterator[Racks]:
    """Make both, switched on, and a guest on each."""
    with sshd_folder() as (folder, stack):
        source = OneBoard(folder, len(RACKS))
        source.names = list(RACKS)
        source.write()
        found = Racks(Fleet(folder, source, stack, MOUNTS + OWN_LOG))
        folders = [str(machine.folder) for machine in found.fleet.machines.values()]
        words = [sys.executable, "-m", "tests.integration.guest_of_shell", "fe0", *folders]
        guests = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE)
        stack.callback(guests.wait)
        stack.callback(guests.kill)
        assert guests.stdout is not None
        stack.callback(guests.stdout.close)
        assert guests.stdout.readline() == b"ready\n"
        yield found


def boards(run: RunRead) -> list[set[str]]:
    return [began_on(group, run) for group in groups_of(run.run.cells)]


@contextlib.contextmanager
def running(found: Racks, folder: Path, records: int) -> Iterator[subprocess.Popen[str]]:
    """Start measuring, and come back once so many repetitions are on the disk."""
    words = found.words("-o", folder)
    with subprocess.Popen(
        words, env=found.environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        until(lambda: ((folder / "run.jsonl").exists() and measured(folder) >= records) or process.poll() is not None)
        yield process


def measured(folder: Path) -> int:
    return (folder / "run.jsonl").read_text().count('"record":"repetition"')


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)
