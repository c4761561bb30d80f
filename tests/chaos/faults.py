"""What can go wrong in the middle of a deploy."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random

from tests.integration.conftest import Bench
from vtool.board.qmp import monitor

Strike = Callable[[Bench, "subprocess.Popen[str]"], None]
Around = Callable[[Bench, Random], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """``strike`` hits a running deploy, ``around`` is there all the while, ``request`` is what cannot work itself.

    ``dies``: what is requested is a hypervisor that ends at once. ``fails``: the deploy cannot succeed with it.
    """

    name: str
    strike: Strike | None = None
    around: Around | None = None
    request: str = ""
    dies: bool = False
    fails: bool = False


# -- while a deploy runs


def _cut_power(bench: Bench, _: subprocess.Popen[str]) -> None:
    pid = bench.board_folder / "qemu.pid"
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(pid.read_text()), signal.SIGKILL)


def kill_controller(_: object, deploy: subprocess.Popen[str]) -> None:
    # All of it, as when the machine it runs on goes away.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(deploy.pid, signal.SIGKILL)


def interrupt(_: object, deploy: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(deploy.pid, signal.SIGINT)


def _cut_network(bench: Bench, deploy: subprocess.Popen[str]) -> None:
    """The board's link is down until the deploy has given up, or for a while."""
    with contextlib.suppress(OSError):
        _link(bench, up=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            deploy.wait(45)
        _link(bench, up=True)


def _link(bench: Bench, *, up: bool) -> None:
    (path,) = (bench.folder / "run" / "vtool").glob(f"{bench.board}-*/qmp.sock")
    with monitor(path) as execute:
        execute("set_link", name="net", up=up)


# -- all the while


@contextlib.contextmanager
def _disk_full(bench: Bench, rng: Random) -> Iterator[None]:
    with _filled(bench, "/", rng.randrange(1 << 10, 6 << 10)):
        yield


@contextlib.contextmanager
def _boot_partition_full(bench: Bench, rng: Random) -> Iterator[None]:
    with _filled(bench, "/boot", rng.randrange(64, 4096)):
        yield


@contextlib.contextmanager
def _filled(bench: Bench, mount: str, left_kib: int) -> Iterator[None]:
    size_kib = f"$(($(df --output=avail -k {mount} | tail -1) - {left_kib}))"
    # FAT knows no fallocate.
    bench.ssh(
        f"fallocate -l {size_kib}K {mount}/filler 2>&1 || dd if=/dev/zero of={mount}/filler bs=1K count={size_kib} 2>&1"
    )
    try:
        yield
    finally:
        bench.ssh(f"rm -f {mount}/filler")


@contextlib.contextmanager
def _read_only(bench: Bench, rng: Random) -> Iterator[None]:
    """A read-only root makes a deploy fail; a boot partition that a power cut left so is repaired."""
    mount = rng.choice(["/", "/boot"])
    bench.ssh(f"sync; echo u > /proc/sysrq-trigger; sleep 1; mount -o remount,rw {'/boot' if mount == '/' else '/'}")
    try:
        yield
    finally:
        # What a failing disk leaves behind is mended by a boot.
        bench.vtool("board", "power", "cycle", bench.board)
        bench.vtool("board", "up", bench.board)


@contextlib.contextmanager
def _corrupted(bench: Bench, rng: Random) -> Iterator[None]:
    folder = rng.choice(["/var/lib/vtool/store", "/var/lib/vtool/generations", "/boot/vtool"])
    files = bench.ssh(f"find {folder} -type f -size +0 ! -name '*.env' | sort").split()
    victim = rng.choice(files)
    bench.ssh(f"printf '\\377\\000\\125' | dd of={victim} conv=notrunc bs=1 seek={rng.randrange(16)} 2>&1")
    yield


@contextlib.contextmanager
def _wrong_clock(bench: Bench, rng: Random) -> Iterator[None]:
    bench.ssh(f"date -s @{rng.choice([31536000, 315532800, 2147483000, 4102444800])}")
    yield


@contextlib.contextmanager
def _backend_crashes(bench: Bench, rng: Random) -> Iterator[None]:
    loop = "while :; do pkill -9 -x 'qemu-storage-da|virtiofsd'; sleep 0.5; done"
    bench.ssh(f"systemd-run --unit=crash --quiet sh -c {shlex.quote(loop)}")
    try:
        yield
    finally:
        bench.ssh("systemctl stop crash 2>/dev/null; true")


FAULTS = (
    Fault("power cut", strike=_cut_power),
    Fault("network cut", strike=_cut_network),
    Fault("controller killed", strike=kill_controller),
    Fault("ctrl-C", strike=interrupt),
    Fault("disk full", around=_disk_full),
    Fault("boot partition full", around=_boot_partition_full),
    Fault("read-only disk", around=_read_only),
    Fault("corrupted file", around=_corrupted),
    Fault("wrong clock", around=_wrong_clock),
    Fault("kernel panics", request="    bootargs: init=/nosuch\n", fails=True),
    Fault("kernel hangs", request="    bootargs: init=/bin/cat\n", fails=True),
    Fault("Xen dies before its console", dies=True, fails=True),
    Fault("guest never comes up", request="    ready: never said\n    ready_timeout_s: 30\n", fails=True),
    Fault("backend crashes in a loop", around=_backend_crashes),
)


def strike_at(bench: Bench, deploy: subprocess.Popen[str], strike: Strike, line: int, after_s: float) -> str:
    """Strike once the deploy has told so many lines and some time has gone by; return the line it was at."""
    assert deploy.stderr is not None
    at = "start"
    for number, text in enumerate(deploy.stderr):
        at = " ".join(text.split()[1:-2]) or at
        if number + 1 >= line:
            break
    time.sleep(after_s)  # the moment is the experiment
    strike(bench, deploy)
    return f"{after_s:.1f} s after '{at}'"
