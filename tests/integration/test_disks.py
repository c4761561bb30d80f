"""Disks on an sshd: begun as images, kept, reset and gone back to; devices of the board, given where it has no use."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fleet import Fleet, Source, own_folders

from .machine import sshd_folder, why_no_board_folder, why_not

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20


class Disks(Source):
    """A board whose first guest has these disks, by blkback."""

    disks: dict[str, str] = {}  # noqa: RUF012 - set a test

    def more(self) -> list[str]:
        backend = "frontend: b0-g0, backend: b0-dom0, program: blkback, transport: xenbus, data_path: pv"
        lines = [f"  {name}: {{type: blk, {backend}, disk: {{{words}}}}}" for name, words in self.disks.items()]
        return ["devices:", *lines] if lines else []

    def image(self, label: str) -> bytes:
        """Make the image anew, with another name in it."""
        path = self.folder / "root.img"
        path.unlink(missing_ok=True)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", label, path, "12M"], check=True, capture_output=True)
        return path.read_bytes()


class Board:
    """One board of a fleet, as its users and its guests see it."""

    def __init__(self, fleet: Fleet, source: Disks) -> None:
        self.fleet, self.source, self.folder = fleet, source, source.folder
        self.machine = fleet.machines["b0"]
        stand_in = self.machine.folder / "sbin" / "xl"
        stand_in.write_text("#!/bin/sh\nexit 1\n")
        stand_in.chmod(0o755)

    def push(self, code: int = 0, **disks: str) -> str:
        """Deploy without units and domains, and confirm what is there then."""
        self.source.disks = disks
        if code:  # what fails has nothing to compare with
            (self.folder / "topology.yaml").write_text(self.source._topology())
        else:
            self.source.write()
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos.push", self.folder / "topology.yaml", self.folder / "vtool.yaml"],
            env=os.environ | own_folders(self.folder),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stderr
        return done.stderr

    def program(self, *words: str) -> dict[str, Any]:
        """Run the board's program there."""
        enter = ["nsenter", "-t", str(self.machine.process_id), "-m", "/usr/local/sbin/vtool-board", *words]
        said: dict[str, Any] = json.loads(subprocess.run(enter, capture_output=True, text=True).stdout)
        return said

    def state(self) -> dict[str, Any]:
        """Return what the board says of what runs and what it boots."""
        return {key: self.program("state")[key] for key in ("deployed", "confirmed", "good", "last", "damaged")}

    def disk(self, name: str) -> Path:
        """Return the file of a disk, by the path that units have for one that starts anew, or else in the folder."""
        lib = self.machine.folder / "lib"
        running = lib / "vtool" / "generations" / (self.machine.folder / "run" / "vtool-current").readlink().name
        way = running / "disks" / name
        if way.is_symlink():
            return lib / str(way.readlink()).removeprefix("/var/lib/")
        return lib / "vtool" / "disks" / name


@pytest.fixture
def board() -> Iterator[Board]:
    if reason := why_not() or why_no_board_folder():
        pytest.skip(reason)
    with sshd_folder() as (folder, stack):
        source = Disks(folder, 1)
        source.write()
        yield Board(Fleet(folder, source, stack), source)


def test_disks_are_kept_or_start_anew_and_rollback_goes_back(board: Board) -> None:
    disks = {
        "kept": "file: kept.img, source: ./root.img, size: 16MiB",
        "anew": "file: anew.img, source: ./root.img, on_change: reset",
        "fixed": "file: fixed.img, source: ./root.img, read_only: true",
    }
    first = board.source.image("first")
    board.push(**disks)
    kept, anew, fixed = (board.disk(f"{name}.img") for name in disks)
    assert kept.read_bytes() == first + bytes(4 * MIB) and anew.read_bytes() == fixed.read_bytes() == first
    for path in (kept, anew):
        with path.open("r+b") as stream:
            stream.write(b"a guest was here")
    second = board.source.image("second")
    board.push(**disks)
    assert board.disk("kept.img") == kept and kept.read_bytes().startswith(b"a guest was here")
    assert board.disk("anew.img") != anew and board.disk("anew.img").read_bytes() == second
    assert board.disk("fixed.img").read_bytes() == second
    store = {path.name for path in (board.machine.folder / "lib" / "vtool" / "store").iterdir()}
    assert not any(path.startswith(".") or path.endswith(".partial") for path in store)
    said = board.program("rollback")
    assert said["reboot"] is False
    assert said["notes"] == [f"disk {name}.img is as that generation left it" for name in ("anew", "fixed")]
    assert board.disk("anew.img") == anew and anew.read_bytes().startswith(b"a guest was here")
    assert board.disk("fixed.img").read_bytes() == first
    board.push(**disks)
    assert board.disk("anew.img").read_bytes() == second
    assert board.program("state")["damaged"] == []
    kept.unlink()
    assert board.program("state")["damaged"] == ["disk kept.img"]
    board.push(**disks)
    assert board.disk("kept.img").read_bytes() == second + bytes(4 * MIB)


def cut_power(board: Board) -> None:
    """End every process of the machine at once, and start it again."""
    first = board.machine.process_id
    own = Path(f"/proc/{first}/ns/mnt").readlink()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "ns" / "mnt").readlink() == own:
                os.kill(int(entry.name), signal.SIGKILL)
    board.machine.off()
    board.machine.on()


@pytest.mark.parametrize("after_s", [0.4, 0.8, 1.2, 1.6])
def test_a_power_cut_loses_no_disk(board: Board, after_s: float) -> None:
    disks = {
        "kept": "file: kept.img, source: ./root.img",
        "anew": "file: anew.img, source: ./root.img, on_change: reset",
    }
    board.source.image("first")
    board.push(**disks)
    before = {}
    for name in disks:
        path = board.disk(f"{name}.img")
        with path.open("r+b") as stream:
            stream.write(b"a guest was here")
        before[path] = path.read_bytes()
    second = board.source.image("second")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.push", board.folder / "topology.yaml", board.folder / "vtool.yaml"],
        env=os.environ | own_folders(board.folder),
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    ) as push:
        time.sleep(after_s)  # the moment is the experiment
        cut_power(board)
        push.wait(120)
    assert {path: path.read_bytes() for path in before} == before, "what runs and what is gone back to is as it was"
    board.push(**disks)
    assert board.disk("anew.img").read_bytes() == second
    kept = board.disk("kept.img")
    assert kept.read_bytes() == before[kept]
    left = [path.name for path in (board.machine.folder / "lib" / "vtool").rglob("*.partial")]
    assert left == []


def test_what_is_damaged_or_has_no_room_changes_nothing(board: Board) -> None:
    board.source.image("first")
    board.push(disk0="file: a.img, source: ./root.img, on_change: reset")
    before, disk = board.state(), board.disk("a.img").read_bytes()
    packed = subprocess.run(["gzip", "-c", board.folder / "root.img"], check=True, capture_output=True).stdout
    (board.folder / "root.img.gz").write_bytes(packed[:-40] + bytes(32) + packed[-8:])
    said = board.push(1, disk0="file: a.img, source: ./root.img.gz, on_change: reset")
    assert "VT462" in said and "topology.yaml:" in said and ("damaged" in said or "cut short" in said)
    said = board.push(3, disk0="file: b.img, source: ./root.img, size: 4000GiB")
    assert "VT705" in said and "MiB more" in said
    assert board.state() == before and board.disk("a.img").read_bytes() == disk


@pytest.fixture
def device(board: Board) -> Iterator[str]:
    """A block device of 32 MiB of the board's."""
    path = board.folder / "device"
    with path.open("wb") as stream:
        stream.truncate(32 * MIB)
    done = subprocess.run(["losetup", "--find", "--show", path], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no loop devices here: {done.stderr}")
    yield done.stdout.strip()
    subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)


def test_a_device_is_given_only_where_the_board_does_not_use_it(board: Board, device: str) -> None:
    subprocess.run(["mke2fs", "-q", "-t", "ext4", device], check=True, capture_output=True)
    with tempfile.TemporaryDirectory() as point:
        subprocess.run(["mount", device, point], check=True)
        try:
            said = board.push(3, disk0=f"device: {device}")
        finally:
            subprocess.run(["umount", point], check=True)
    assert "VT466" in said and ("mounted" in said or "for itself" in said)
    assert "VT466" in board.push(3, disk0="device: /dev/disk/by-partlabel/none")
    said = board.push(3, disk0=f"device: {device}, size: 64MiB")
    assert "VT466" in said and f"{32 * MIB} bytes" in said
    assert not (board.machine.folder / "lib" / "vtool" / "generations").exists()
    content = (board.folder / "device").read_bytes()
    board.push(disk0=f"device: {device}")
    subprocess.run(["blockdev", "--flushbufs", device], check=True)
    assert (board.folder / "device").read_bytes() == content, "nothing was written to it"


def test_scratch_space_is_taken_only_where_it_is_empty(board: Board, device: str) -> None:
    with Path(device).open("r+b") as stream:
        stream.seek(30 * MIB)
        stream.write(b"data")
    asked = f"device: {device}, size: 32MiB, verify: write"
    said = board.push(3, disk0=asked)
    assert "VT467" in said and "dd if=/dev/zero" in said
    with Path(device).open("r+b") as stream:
        stream.seek(30 * MIB)
        stream.write(bytes(4))
    board.push(disk0=asked)
    with Path(device).open("r+b") as stream:  # as verify does
        stream.seek(25 * MIB)
        stream.write(b"random")
    board.push(disk0=asked, disk1="file: a.img, size: 16MiB")
    said_of_down = board.program("clean")
    assert [note.split()[0] for note in said_of_down["notes"]] == [device] and Path(device).is_block_device()
