"""Disks on the board: made beside their place, kept or anew, never given away where the board uses them."""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vtool.deploy.on_board import delta, disks, generations, given, qcow2
from vtool.deploy.on_board.base import BoardError

MIB = 1 << 20
BOOT = {"mount": "/boot"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(disks, "FOLDER", tmp_path)
    monkeypatch.setattr(disks, "STORE", tmp_path / "store")
    monkeypatch.setattr(disks, "DISKS", tmp_path / "disks")
    monkeypatch.setattr(disks, "_give", lambda path: path.chmod(0o600))
    (tmp_path / "store").mkdir()
    return tmp_path


class Board:
    """The generations of a board, each with one disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.running = folder, None

    def image(self, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "store" / digest).write_bytes(content)
        return {"sha256": digest, "size_bytes": len(content)}

    def generation(self, name: str, image: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
        disk = {
            "path": str(self.folder / "disks" / "a.img"),
            "name": "a.img",
            "format": "raw",
            "size_bytes": MIB,
            "sized": True,
            "scratch": None,
            **({"image": image, "resets": False, "source": "a"} if image else {}),
            **more,
        }
        (self.folder / "generations" / name).mkdir(parents=True, exist_ok=True)
        return {"generation": name, "boot": BOOT, "disks": [disk]}

    def deploy(self, generation: dict[str, Any]) -> Path:
        disks.check(generation, self.running, [self.running])
        disks.make(generation, self.running)
        self.running = generation
        return self.file()

    def file(self) -> Path:
        assert self.running is not None
        return disks.file_of(self.running, self.running["disks"][0])


@pytest.fixture
def board(folder: Path) -> Board:
    return Board(folder)


def test_a_disk_begins_as_its_image_and_is_grown(board: Board) -> None:
    path = board.deploy(board.generation("one", board.image(b"first" * 1000)))
    assert path.stat().st_size == MIB and path.read_bytes().rstrip(b"\0") == b"first" * 1000
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any((board.folder / "store").iterdir()), "the image became the disk"


def test_one_that_is_kept_has_no_use_for_another_image(board: Board) -> None:
    path = board.deploy(board.generation("one", board.image(b"first")))
    path.write_bytes(b"of a guest".ljust(MIB, b"\0"))
    other = board.generation("two", board.image(b"second"))
    assert not disks.images(other, board.running)
    assert board.deploy(other) == path and path.read_bytes().startswith(b"of a guest")
    looked = disks.look(other, other["disks"][0]["path"])
    assert looked["made"] == hashlib.sha256(b"first").hexdigest() != looked["wanted"]


def test_one_that_is_reset_starts_anew_and_the_old_one_is_there_to_go_back_to(board: Board) -> None:
    first = board.generation("one", board.image(b"first"), resets=True)
    second = board.generation("two", board.image(b"second"), resets=True)
    old = board.deploy(first)
    old.write_bytes(b"of a guest".ljust(MIB, b"\0"))
    again = board.generation("again", first["disks"][0]["image"], resets=True)
    assert not disks.images(again, board.running) and board.deploy(again) == old, "the same image: nothing changes"
    board.running = first
    new = board.deploy(second)
    assert new != old and new.read_bytes().startswith(b"second") and old.read_bytes().startswith(b"of a guest")
    disks.require_there(first)
    disks.collect([first, second])
    assert old.exists() and new.exists()
    disks.collect([second])
    assert new.exists() and sorted(path.name for path in new.parent.iterdir()) == [f".{new.name}.made", new.name]
    with pytest.raises(BoardError) as caught:
        disks.require_there(first)
    assert caught.value.code == "VT468"


def test_going_forward_to_an_image_that_was_there_before_starts_anew(board: Board) -> None:
    first = board.generation("one", board.image(b"first"), resets=True)
    old = board.deploy(first)
    old.write_bytes(b"of a guest".ljust(MIB, b"\0"))
    board.deploy(board.generation("two", board.image(b"second"), resets=True))
    board.image(b"first")
    assert board.deploy(board.generation("three", first["disks"][0]["image"], resets=True)).read_bytes()[:5] == b"first"
    assert old.read_bytes().startswith(b"of a guest")


def test_two_disks_may_begin_as_one_image(board: Board) -> None:
    content = b"x" * 5000 + bytes(3 * MIB) + b"end"
    generation = board.generation("one", board.image(content), size_bytes=4 * MIB)
    arrived = board.folder / "store" / generation["disks"][0]["image"]["sha256"]
    with arrived.open("r+b") as stream:  # as it arrives
        stream.truncate(5000)
        stream.truncate(len(content) - 3)
        stream.seek(len(content) - 3)
        stream.write(b"end")
    other = {**generation["disks"][0], "name": "b.img", "path": str(board.folder / "disks" / "b.img")}
    generation["disks"].append(other)
    board.deploy(generation)
    for name in ("a.img", "b.img"):
        path = board.folder / "disks" / name
        assert path.read_bytes().rstrip(b"\0") == content and path.stat().st_blocks * 512 < MIB


@pytest.mark.parametrize("step", ["rename", "truncate", "fsync"])
def test_what_ends_early_leaves_no_disk(board: Board, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generation = board.generation("one", board.image(b"first"))

    def ends(*_: Any) -> None:
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patched:
        if step == "rename":
            patched.setattr(disks, "replace_file", ends)
        elif step == "fsync":
            patched.setattr(os, "fsync", ends)
        else:
            patched.setattr(disks, "copy_sparse", ends)
            (board.folder / "store" / generation["disks"][0]["image"]["sha256"]).unlink()
        with pytest.raises((OSError, BoardError)):
            board.deploy(generation)
    assert not (board.folder / "disks" / "a.img").exists()
    board.image(b"first")
    assert board.deploy(generation).read_bytes().startswith(b"first")


def refused(board: Board, generation: dict[str, Any]) -> str:
    with pytest.raises(BoardError) as caught:
        disks.check(generation, board.running, [board.running])
    return caught.value.code


def test_a_disk_of_another_size_or_format_is_not_touched(board: Board) -> None:
    board.deploy(board.generation("one", None))
    assert refused(board, board.generation("two", None, size_bytes=2 * MIB)) == "VT706"
    assert refused(board, board.generation("two", None, format="qcow2")) == "VT706"
    disks.check(board.generation("two", None, size_bytes=2 * MIB, sized=False), board.running, [])


def test_scratch_space_is_not_where_there_is_data(board: Board) -> None:
    path = board.deploy(board.generation("one", None, size_bytes=32 * MIB))
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"x")
    wanted = {"size_bytes": 32 * MIB, "scratch": [24 * MIB, 32 * MIB]}
    assert refused(board, board.generation("two", None, **wanted)) == "VT467"
    with path.open("r+b") as stream:
        stream.seek(24 * MIB)
        stream.write(bytes(8 * MIB))
    board.deploy(board.generation("two", None, **wanted))
    with path.open("r+b") as stream:  # what verify does
        stream.seek(24 * MIB)
        stream.write(b"random")
    board.running = None
    disks.check(board.generation("three", None, **wanted), None, [])
    before_there_were_records = {"generation": "old", "disks": [{"path": str(path), "size_bytes": 32 * MIB}]}
    (board.folder / "disks" / disks.OURS).unlink()
    disks.check(board.generation("three", None, **wanted), None, [before_there_were_records])


def test_of_what_is_there_only_what_differs_is_asked_for(board: Board) -> None:
    content = random.Random(1).randbytes(9 * MIB)
    path = board.deploy(board.generation("one", board.image(content), resets=True, size_bytes=9 * MIB))
    wanted = board.generation("two", {"sha256": "f" * 64, "size_bytes": 9 * MIB}, resets=True, size_bytes=9 * MIB)
    assert list(disks.images(wanted, board.running)) == ["f" * 64]
    ((digest, base),) = disks.bases(wanted, {"f" * 64}, [board.running])
    assert digest == "f" * 64 and board.folder / base["base"] == path
    assert base == delta.base_of(path, base["base"])
    assert disks.needed_bytes(wanted, board.running) == 9 * MIB


# -- devices of the board


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk 8:0 of 1000 sectors with the partitions 8:1, [100, 500), and 8:2, [500, 1000)."""
    disk = tmp_path / "devices" / "sda"
    for number, (begin, size) in enumerate([(100, 400), (500, 500)], 1):
        part = disk / f"sda{number}"
        (part / "holders").mkdir(parents=True)
        for name, value in (("partition", number), ("start", begin), ("size", size), ("dev", f"8:{number}")):
            (part / name).write_text(f"{value}\n")
    (disk / "holders").mkdir()
    (disk / "size").write_text("1000\n")
    (disk / "dev").write_text("8:0\n")
    links = tmp_path / "block"
    links.mkdir()
    for number, path in enumerate((disk, disk / "sda1", disk / "sda2")):
        (links / f"8:{number}").symlink_to(path)
    monkeypatch.setattr(given, "SYSFS", links)
    monkeypatch.setattr(given, "MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(given, "SWAPS", tmp_path / "swaps")
    monkeypatch.setattr(given, "FSTAB", tmp_path / "fstab")
    monkeypatch.setattr(given, "BY_NAME", tmp_path / "disk")
    (tmp_path / "mounts").write_text("22 1 8:2 / / rw - ext4 /dev/root rw\n30 22 0:5 / /proc rw - proc proc rw\n")
    (tmp_path / "swaps").write_text("Filename Type Size Used Priority\n")
    return disk


@pytest.mark.parametrize(("minor", "said"), [(0, "own system"), (1, ""), (2, "own system is on it")])
def test_what_is_mounted_is_in_use_with_the_disk_that_it_is_on(sysfs: Path, minor: int, said: str) -> None:
    assert said in given._use(os.makedev(8, minor), BOOT) and bool(said) == bool(given._use(os.makedev(8, minor), BOOT))


def test_what_another_device_is_made_of_is_in_use(sysfs: Path) -> None:
    (sysfs / "sda1" / "holders" / "dm-0").mkdir()
    assert "dm-0" in given._use(os.makedev(8, 1), BOOT)


@pytest.mark.parametrize(
    ("line", "in_use"),
    [
        ("PARTLABEL=data /srv ext4 defaults 0 2", True),
        ('LABEL="my\\040disk" /srv ext4 defaults 0 2', True),
        ("/dev/sda1 none swap sw 0 0", True),
        ("PARTLABEL=data /srv ext4 noauto,user 0 2", False),
        ("PARTLABEL=data /srv ext4 noauto,x-systemd.automount 0 2", True),
        ("PARTLABEL=other /srv ext4 defaults 0 2", False),
        ("# PARTLABEL=data /srv ext4 defaults 0 2", False),
    ],
)
def test_what_the_board_mounts_at_boot_is_in_use(
    sysfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, in_use: bool
) -> None:
    (tmp_path / "fstab").write_text(f"\nproc /proc proc defaults 0 0\n{line}\n")
    there = {f"{tmp_path}/disk/by-partlabel/data", f"{tmp_path}/disk/by-label/my\\x20disk", "/dev/sda1"}
    monkeypatch.setattr(given, "_number_of", lambda path: os.makedev(8, 1) if path in there else None)
    assert ("/etc/fstab" in given._use(os.makedev(8, 1), BOOT)) == in_use


def test_a_guest_is_not_started_on_what_the_board_uses_by_now(sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given, "_block_device", lambda path: os.makedev(8, int(path.name[-1])))
    monkeypatch.setattr(given, "_claimed", lambda path: "")
    assert given.verb_require_unused(argparse.Namespace(devices=["/dev/sda1"])) == {"unused": ["/dev/sda1"]}
    with pytest.raises(BoardError, match="own system") as caught:
        given.verb_require_unused(argparse.Namespace(devices=["/dev/sda1", "/dev/sda2"]))
    assert caught.value.code == "VT466"


@pytest.mark.parametrize(
    ("sector", "minor", "in_use"), [(50, 1, False), (150, 1, True), (499, 1, True), (500, 1, False)]
)
def test_the_boot_state_stays_where_it_is(
    sysfs: Path, sector: int, minor: int, in_use: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.stat

    def stat(path: Path, **options: Any) -> Any:
        if str(path) == "/dev/state":
            return os.stat_result((0o60660, 0, 0, 0, 0, 0, 0, 0, 0, 0), {"st_rdev": os.makedev(8, 0)})
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    boot = {**BOOT, "state_device": "/dev/state", "state_sector": sector}
    assert ("what the board boots" in given._use(os.makedev(8, minor), boot)) == in_use


@pytest.mark.parametrize("path", ["/dev/none", "/dev/null"])
def test_what_is_no_block_device_is_refused(path: str) -> None:
    with pytest.raises(BoardError) as caught:
        given.check_device({"device": path, "size_bytes": None}, BOOT, runs=False, known=False)
    assert caught.value.code == "VT466"


@pytest.mark.parametrize(
    ("at", "magic", "said"),
    [(512, b"LABELONE", "LVM"), (4096, b"\xfc\x4e\x2b\xa9", "RAID"), (4086, b"SWAPSPACE2", "swap"), (0, b"guest", "")],
)
def test_members_are_known_by_their_signatures(tmp_path: Path, at: int, magic: bytes, said: str) -> None:
    path = tmp_path / "device"
    path.write_bytes(bytes(at) + magic + bytes(MIB))
    found = given._signature(path, path.stat().st_size)
    assert said in found and bool(said) == bool(found)


def test_qcow2_is_read_as_qemu_reads_it(tmp_path: Path) -> None:
    raw, path, rng = tmp_path / "raw", tmp_path / "qcow2", random.Random(2)
    content = bytearray(3 * MIB)
    for _ in range(20):
        at = rng.randrange(len(content) - 9000)
        content[at : at + 9000] = rng.randbytes(9000)
    raw.write_bytes(content)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
    with path.open("rb") as stream:
        assert qcow2.read(stream, 0, len(content)) == content
        assert qcow2.read(stream, 70_001, MIB) == content[70_001 : 70_001 + MIB]
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, path], check=True)
    with path.open("rb") as stream, pytest.raises(ValueError, match="compressed"):
        qcow2.read(stream, 0, len(content))


def test_a_disk_that_is_lost_is_drift_and_its_users_restart(board: Board) -> None:
    path = board.deploy(board.generation("one", None, units=["guest.service"]))
    assert board.running is not None and disks.lost(board.running) == []
    path.unlink()
    assert disks.lost(board.running) == ["disk a.img"]
    after = {**board.running, "files": [], "units": {}}
    assert generations.units_to_restart(after, after, ["disk a.img"]) == ["guest.service"]
