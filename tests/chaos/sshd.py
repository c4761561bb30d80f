"""Faults on a board that is an sshd: what vtool pushes, applies and confirms is real, so is its program there.

What such a machine has not is done here, as thinly as may be: power (every process of its mount namespace ends, /run is
lost), the choice of the boot loader (``templates/uboot/entry.cmd.j2``) and systemd's part of a boot. Units and domains
are not there, so nothing is proven before it is confirmed; that is the emulated board's part of the chaos.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from benchmarks.fleet import STAND_INS, Fleet, Source, own_folders
from tests.chaos.faults import interrupt, kill_controller
from tests.chaos.outcome import Broken, Outcome
from tests.chaos.push import WANTS_REBOOT
from tests.integration.conftest import takes_ctrl_c
from vtool.deploy.on_board import u_boot

ROOT = Path(__file__).resolve().parents[2]
BOARD = "b0"
MOUNTS = (
    'mount --bind "$1/../boot" /boot; mkdir -p "$1/systemd/system-generators" /run/systemd/system; '
    'touch /run/systemd/system/xen.service; mount --bind "$1/systemd" /etc/systemd'
)
BOOT = """
set -e
mkdir -p /run/units
test ! -e /etc/systemd/system-generators/vtool-generator || sh /etc/systemd/system-generators/vtool-generator /run/units
test ! -e /var/lib/vtool/current/vtool-board || /var/lib/vtool/current/vtool-board booted || true
"""


class Box:
    """The machine, the topology it shall run, and what a vtool of its own needs to reach it."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.source = Source(folder, 1)
        self.source.write()
        self.boot_partition = folder / "boot"
        self.boot_partition.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.boot_partition], check=True)
        stack.callback(subprocess.run, ["umount", self.boot_partition], check=True)
        self.fleet = Fleet(folder, self.source, stack, MOUNTS)
        self.folder = self.fleet.machines[BOARD].folder
        for program, text in {**STAND_INS, "xl": "exit 1\n"}.items():
            (self.folder / "sbin" / program).write_text(f"#!/bin/sh\n{text}")
            (self.folder / "sbin" / program).chmod(0o755)
        self.environment = os.environ | own_folders(folder)
        self.files = (folder / "topology.yaml", folder / "vtool.yaml")
        self.took_s, self._named = 0.0, ""
        self.boot()

    # -- what the board's hardware, its boot loader and systemd do

    def cut_power(self) -> None:
        """End every process of the machine at once."""
        machine = self.fleet.machines[BOARD]
        if machine.is_on():
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        machine.off()

    def processes(self) -> list[int]:
        """Return the processes in the machine's mount namespace, its sshd first."""
        first = self.fleet.machines[BOARD]._process
        assert first is not None
        own = Path(f"/proc/{first.pid}/ns/mnt").readlink()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "ns" / "mnt").readlink() == own:
                    found.append(int(entry.name))
        return sorted(found, key=lambda pid: pid != first.pid)

    def boot(self) -> None:
        """Switch it off and on; what it boots is what U-Boot would."""
        self.cut_power()
        run = self.folder / "run"
        for child in run.iterdir():
            if child.name != "boot-state":
                shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
        words = self._chosen()
        self.booted = {self._named, words.split()[0].removeprefix("vtool.generation=")}
        self._named = words.split()[0].removeprefix("vtool.generation=")
        (self.folder / "cmdline").write_text(f"console=ttyS0 {words}\n")
        machine = self.fleet.machines[BOARD]
        machine.on()
        assert machine._process is not None
        inside = ["nsenter", "-t", str(machine._process.pid), "-m", "sh", "-c", BOOT]
        done = subprocess.run(inside, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Broken(f"it does not boot: {done.stdout}{done.stderr}")

    def state(self) -> dict[str, str]:
        """Return the boot state as U-Boot reads it: the sector, else the copy on the boot partition."""
        copy = self.boot_partition / "vtool" / "state.env"
        pairs = _imported(self._sector())
        if pairs.get("state") != "1":
            pairs = _imported(copy.read_bytes()) if copy.exists() else {}
        return {key: pairs.get(key, "") for key in u_boot.KEYS}

    def _sector(self) -> bytes:
        facts = json.loads((self.source.folder / "facts.yaml").read_text())
        self.at = facts["boot"]["state"]["sector"] * u_boot.SECTOR_BYTES
        with (self.folder / "run" / "boot-state").open("rb") as device:
            return os.pread(device.fileno(), u_boot.SECTOR_BYTES, self.at)

    def write_sector(self, content: bytes, offset: int = 0) -> None:
        self._sector()
        with (self.folder / "run" / "boot-state").open("r+b") as device:
            device.seek(self.at + offset)
            device.write(content)

    def _chosen(self) -> str:
        state = self.state()
        trial, trial_set = state["trial"], state["trial_set"]
        count = int(state["count"] or "0", 16) + 1
        state.update(trial="", trial_set="", count=state["count"] if trial else f"{count:x}")
        if state["good"] or trial:
            self.write_sector(u_boot.format_state(state))
        order = [(trial, trial_set)]
        order += [(state["last"], state["last_set"])] if count > 3 else []
        order += [(state["good"], state["good_set"]), (state["last"], state["last_set"])]
        for identity, boot_set in order:
            if identity and (self.boot_partition / "vtool" / boot_set / "boot.scr").exists():
                return f"vtool.generation={identity} vtool.boot={boot_set}"
        return "vtool.boot=factory"

    # -- what a user does

    def request(self, number: int, *, reboot: bool) -> None:
        """Write the topology of a number; one with ``reboot`` differs in what the board boots, too."""
        self.source.write(memory_mib=64 + 2 * (number % 60))
        if reboot:
            text = self.files[0].read_text()
            self.files[0].write_text(text.replace("role: control,", f"role: control, bootargs: chaos={number},"))

    def deploying(
        self, topology: Path | None = None, environment: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.Popen[str]:
        """Start a deploy of the topology, or of another one by another vtool."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.push", str(topology or self.files[0]), str(self.files[1])],
            cwd=ROOT,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=takes_ctrl_c,  # noqa: PLW1509 - no threads
        )

    def deploy(self) -> None:
        """Deploy to the end, with a boot where it wants one; Broken when that fails."""
        for again in (False, True):
            with self.deploying() as deploy:
                self.wait_for_session(deploy)
                begin = time.monotonic()
                assert deploy.stderr is not None
                said = deploy.stderr.read()
            if not again:  # else it only confirms
                self.took_s = time.monotonic() - begin
            if deploy.returncode == 0:
                return
            if deploy.returncode != WANTS_REBOOT:
                break
            self.boot()
        raise Broken(f"a plain deploy ends with {deploy.returncode}: {said[-1500:]}")

    def wait_for_session(self, deploy: subprocess.Popen[str]) -> None:
        """Wait until somebody is connected to the board, or the deploy has ended."""
        while deploy.poll() is None and len(self.processes()) < 2:
            time.sleep(0.01)

    def status(self) -> dict[str, Any]:
        """Return what `vtool status` says of the board."""
        words = ["status", self.files[0], "--inventory", self.files[1], "--format", "json"]
        command = [sys.executable, "-m", "vtool.cli.main", *map(str, words)]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False)
        try:
            said: dict[str, Any] = json.loads(done.stdout)[BOARD]
        except (ValueError, KeyError):
            raise Broken(f"status says {done.stdout[-300:]}{done.stderr[-1000:]}") from None
        return said

    # -- the truth, without vtool's program

    def truth(self) -> dict[str, Any]:
        """Return what runs, what boots, and which files of what runs are not as they were deployed."""
        link = self.folder / "run" / "vtool-current"
        running = link.readlink().name if link.is_symlink() else ""
        damaged = []
        if running:
            try:
                generation = json.loads((self.generations / running / "generation.json").read_text())
            except (OSError, ValueError):
                return {"running": running, "good": self.state()["good"], "damaged": ["generation.json"]}
            for file in generation["files"]:
                at_boot = file["place"] == "boot"
                folder = (
                    self.boot_partition / "vtool" / generation["boot_set"] if at_boot else self.generations / running
                )
                path = folder / file["name"]
                if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]:
                    damaged.append(file["name"])
        return {"running": running, "good": self.state()["good"], "damaged": sorted(damaged)}

    @property
    def generations(self) -> Path:
        return self.folder / "lib" / "vtool" / "generations"

    @property
    def store(self) -> Path:
        return self.folder / "lib" / "vtool" / "store"

    def superfluous(self) -> list[str]:
        """Return what lies there and nothing can lead back to."""
        state = self.state()
        kept = {self.truth()["running"], state["good"], state["last"], state["trial"]} - {""}
        # What the kernel names is kept, too, and nothing is removed by a boot.
        kept |= self.booted
        there, needed = {path.name for path in self.generations.iterdir()}, set()
        for identity in kept & there:
            try:
                generation = json.loads((self.generations / identity / "generation.json").read_text())
            except (OSError, ValueError):
                return []  # nobody knows what that one needs: all of it is kept, until it is kept no more
            needed |= {file["sha256"] for file in generation["files"]}
        objects = {path.name for path in self.store.iterdir()}
        return sorted([*(there - kept), *(objects - needed)])


def _imported(raw: bytes) -> dict[str, str]:
    """Read text as ``env import -t`` does; the names without ``vtool_``."""
    lines = raw.split(b"\0", 1)[0].decode("latin-1").splitlines()
    return dict(line.removeprefix("vtool_").split("=", 1) for line in lines if "=" in line)


# ---------------------------------------------------------------- faults

Strike = Callable[[Box, "subprocess.Popen[str]"], None]


@dataclass(frozen=True)
class Fault:
    """``strike`` hits a running deploy, ``before`` and ``around`` are there when it starts.

    ``boots``: the board must be switched on again. ``damages``: files may be other than they were deployed.
    """

    name: str
    strike: Strike | None = None
    before: Callable[[Box, Random], None] | None = None
    around: Callable[[Box, Random], AbstractContextManager[None]] | None = None
    boots: bool = False
    damages: bool = False


def _cut_connections(box: Box, _: subprocess.Popen[str]) -> None:
    """The network lets go: the sessions' sshds end, what they had started does not know yet."""
    for pid in box.processes()[1:]:
        with contextlib.suppress(OSError):
            if "sshd" in Path(f"/proc/{pid}/comm").read_text():
                os.kill(pid, signal.SIGKILL)


def _cut_power(box: Box, _: subprocess.Popen[str]) -> None:
    box.boot()


def _kill_program(box: Box, _: subprocess.Popen[str]) -> None:
    """The board's memory runs out, and Linux ends vtool's program."""
    for pid in box.processes()[1:]:
        with contextlib.suppress(OSError):
            if b"vtool-board" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)


def _spoil(path: Path, rng: Random) -> None:
    with path.open("r+b") as file:
        file.seek(rng.randrange(max(1, path.stat().st_size)))
        file.write(b"\xff\x00\x55")


def _corrupt_object(box: Box, rng: Random) -> None:
    _spoil(rng.choice(sorted(box.store.iterdir())), rng)


def _corrupt_file(box: Box, rng: Random) -> None:
    folders = (box.generations / box.truth()["running"], box.boot_partition / "vtool")
    files = [path for path in rng.choice(folders).rglob("*") if path.is_file() and path.name != "state.env"]
    _spoil(rng.choice(sorted(files)), rng)


def _cut_generation_short(box: Box, rng: Random) -> None:
    path = box.generations / box.truth()["running"] / "generation.json"
    os.truncate(path, rng.randrange(path.stat().st_size))


def _leave_remains(box: Box, rng: Random) -> None:
    """What a power cut leaves of a push that never came back: half an object, folders of a generation."""
    name = rng.randbytes(32).hex()
    (box.store / f"{name}.partial").write_bytes(rng.randbytes(5000))
    (box.store / name).write_bytes(rng.randbytes(5000))
    (box.generations / name[:16]).mkdir()
    (box.generations / name[:16] / "generation.json").write_bytes(b"")
    (box.boot_partition / "vtool" / name[16:32]).mkdir()


def _tear_state(box: Box, rng: Random) -> None:
    """A sector that somebody else wrote over, from its beginning; vtool and U-Boot write a whole one or none."""
    box.write_sector(rng.randbytes(rng.randrange(1, 512)))


def _lose_sector(box: Box, _: Random) -> None:
    box.write_sector(bytes(u_boot.SECTOR_BYTES))


@contextlib.contextmanager
def _second_controller(box: Box, rng: Random) -> Iterator[None]:
    """Another machine deploys something else meanwhile: one of the two is told who has the board, or comes after."""
    topology, folder = box.source.folder / "other.yaml", box.source.folder / "other"
    topology.write_text(box.files[0].read_text().replace("memory: 64MiB", "memory: 62MiB"))
    folder.mkdir(exist_ok=True)
    with box.deploying(topology, own_folders(folder)) as second:
        time.sleep(rng.uniform(0, box.took_s))  # the moment is the experiment
        yield
        assert second.stderr is not None
        said = second.stderr.read()
    if second.returncode not in (0, 3, WANTS_REBOOT) or "Traceback" in said:
        raise Broken(f"the other controller ends with {second.returncode}: {said[-800:]}")


@contextlib.contextmanager
def _full(box: Box, _: Random) -> Iterator[None]:
    """Nothing more fits: the file system below vtool's folder takes no byte."""
    first = box.processes()[0]
    inside = ["nsenter", "-t", str(first), "-m", "sh", "-c"]
    words = "mount -t tmpfs -o size=64k tmpfs /var/lib/vtool/store"
    subprocess.run([*inside, words], check=True)
    try:
        yield
    finally:
        if box.fleet.machines[BOARD].is_on():
            subprocess.run([*inside, "umount -l /var/lib/vtool/store"], check=True)


@contextlib.contextmanager
def _read_only(box: Box, rng: Random) -> Iterator[None]:
    where = rng.choice(("/var/lib/vtool", "/boot"))
    first = box.processes()[0]
    inside = ["nsenter", "-t", str(first), "-m", "sh", "-c"]
    subprocess.run([*inside, f"mount --bind {where} {where}; mount -o remount,bind,ro {where}"], check=True)
    try:
        yield
    finally:
        subprocess.run([*inside, f"umount -l {where}"], check=True)


FAULTS = (
    Fault("controller killed", strike=kill_controller),
    Fault("ctrl-C", strike=interrupt),
    Fault("network cut", strike=_cut_connections),
    Fault("power cut", strike=_cut_power),
    Fault("vtool-board killed", strike=_kill_program),
    Fault("two controllers", around=_second_controller),
    Fault("disk full", around=_full),
    Fault("read-only disk", around=_read_only),
    Fault("corrupted object", before=_corrupt_object, damages=True),
    Fault("corrupted file", before=_corrupt_file, damages=True),
    Fault("generation.json cut short", before=_cut_generation_short, damages=True),
    Fault("remains of a push", before=_leave_remains),
    Fault("boot state written over", before=_tear_state, boots=True),
    Fault("boot state lost", before=_lose_sector, boots=True),
)


def run(seed: int, numbers: Iterable[int]) -> Iterator[Outcome]:
    """Yield an outcome a fault on an sshd, each printed as it comes."""
    with tempfile.TemporaryDirectory(prefix="vtool-chaos-", dir="/var/tmp") as folder, contextlib.ExitStack() as stack:
        Path(folder).chmod(0o755)
        box = Box(Path(folder), stack)
        box.deploy()
        for number in numbers:
            fault, rng = order(seed)[(number - 1) % len(FAULTS)], Random(f"{seed} {number}")
            yield Outcome("sshd", number, fault.name).measure(partial(one, box, rng, fault))


def order(seed: int) -> list[Fault]:
    """Return every kind of fault once, in this seed's order."""
    faults = list(FAULTS)
    Random(seed).shuffle(faults)
    return faults


def one(box: Box, rng: Random, fault: Fault, outcome: Outcome) -> None:
    """Break one deploy, look, deploy plainly; Broken when anything is not as it must be."""
    reboot = rng.random() < 0.4
    outcome.request = "reboot" if reboot else "switch"
    before = box.truth()["running"]
    box.request(outcome.number, reboot=reboot)
    if fault.before:
        fault.before(box, rng)
    outcome.moment = "before"
    if not (fault.before and rng.random() < 0.5):  # else nothing comes between it and the look
        outcome.moment = _confirming(box) if reboot and rng.random() < 0.5 else ""
        outcome.moment += _broken_deploy(box, rng, fault)
    if fault.boots or rng.random() < 0.3:
        box.boot()
        outcome.moment += ", then a boot"
    seen, told = box.truth(), box.status()
    said = (told["deployed"] or {}).get("generation", "")
    if not seen["running"]:
        raise Broken("the board runs none of vtool's generations")
    if said != seen["running"]:
        raise Broken(f"status says that {said or 'nothing'} runs, the board runs {seen['running']}")
    if told["confirmed"] != (seen["good"] == seen["running"]):
        raise Broken(f"status says confirmed {told['confirmed']}, the boot state has {seen['good']}")
    if set(seen["damaged"]) - {name.rsplit(": ", 1)[-1] for name in told["damaged"]}:
        raise Broken(f"status names {told['damaged']} as damaged, these are: {seen['damaged']}")
    if seen["damaged"] and not fault.damages:
        raise Broken(f"damaged: {seen['damaged']}")
    outcome.runs = "before" if seen["running"] == before else "new"
    box.deploy()
    after = box.truth()
    if after["good"] != after["running"] or after["damaged"]:
        raise Broken(f"after a plain deploy {after}")
    if box.superfluous():
        # What ended between its last word and cleaning up leaves that to the next change.
        box.request(outcome.number + 31, reboot=False)
        box.deploy()
        if left := box.superfluous():
            raise Broken(f"left lying: {left}")


def _confirming(box: Box) -> str:
    """Deploy what the board has to boot for, and boot it: what is struck next is what confirms it."""
    with box.deploying() as deploy:
        assert deploy.stderr is not None
        deploy.stderr.read()
    if deploy.returncode != WANTS_REBOOT:
        return ""
    box.boot()
    return "after the boot, "


def _broken_deploy(box: Box, rng: Random, fault: Fault) -> str:
    after_s = rng.uniform(0, box.took_s)
    with fault.around(box, rng) if fault.around else contextlib.nullcontext(), box.deploying() as deploy:
        if fault.strike:
            box.wait_for_session(deploy)
            time.sleep(after_s)  # the moment is the experiment
            fault.strike(box, deploy)
        assert deploy.stderr is not None
        said = deploy.stderr.read()
    if "Traceback" in said or "a bug in vtool" in said:
        raise Broken(f"a bug: {said[-2000:]}")
    return f"{after_s:.2f} s after it connected" if fault.strike else "all the while" if fault.around else "before"
