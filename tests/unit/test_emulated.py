"""Emulated boards as files: a disk image put in the place of a disk, a board known by what it was made of."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vtool.base.progress import Silent
from vtool.board import qemu_process
from vtool.board.disk import Partition, with_system_programs, write_partitions, write_root_files
from vtool.board.emulated import EmulatedBoard
from vtool.board.inventory import Inventory
from vtool.board.protocols import BoardClock
from vtool.cli.main import main
from vtool.deploy import booting
from vtool.deploy.booting import require_suite
from vtool.diagnostics import VtoolError
from vtool.images.store import Image
from vtool.model.combinations import Suite
from vtool.model.validate import load_facts


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmulatedBoard:
    """A board that is not in the inventory, off, with a disk of nothing."""
    monkeypatch.setenv("VTOOL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    board = EmulatedBoard("efi0", load_facts("qemu-virt-efi").facts)
    board.folder.mkdir(parents=True)
    (board.folder / "board.json").write_text(json.dumps({"format": 1, "facts": "qemu-virt-efi"}))
    (board.folder / "disk.img").write_bytes(bytes(1 << 20))
    return board


def test_a_board_that_was_made_is_what_it_was_made_of(board: EmulatedBoard) -> None:
    assert Inventory().board("efi0").facts.name == "qemu-virt-efi"
    assert Inventory().board("efi1").facts.name == "qemu-virt"


def test_an_image_takes_the_place_of_the_disk(
    board: EmulatedBoard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"image" + bytes(8 << 20))
    assert main(["board", "write", str(image), "efi0"]) == 0
    assert "vtool board up efi0" in capsys.readouterr().out
    disk = board.folder / "disk.img"
    assert disk.read_bytes() == image.read_bytes() and disk.stat().st_blocks * 512 < 1 << 20, "with its holes"
    assert sorted(path.name for path in board.folder.iterdir()) == ["board.json", "disk.img"]


def test_what_is_no_image_is_refused(board: EmulatedBoard, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["board", "write", str(tmp_path), "efi0"]) == 3
    assert "VT627" in capsys.readouterr().err


def read_from(disk: Path, path: str) -> bytes:
    words = ["debugfs", "-R", path, f"{disk}?offset={2 << 20}"]
    return subprocess.run(words, capture_output=True, check=True, env=with_system_programs()).stdout


@pytest.mark.parametrize("user", ["admin", "root"])
def test_a_board_boots_a_disk_of_its_own_with_keys_for_its_user(
    user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VTOOL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    home = tmp_path / "tree" / ("root" if user == "root" else "home/admin")
    home.mkdir(parents=True)
    for name, words in (("boot", ["ext2"]), ("root", ["ext4", "-d", str(tmp_path / "tree")])):
        mke2fs = ["mke2fs", "-q", "-t", *words, str(tmp_path / name), "1M" if name == "boot" else "8M"]
        subprocess.run(mke2fs, check=True, env=with_system_programs())
    boot, root = (Partition(name, tmp_path / name, "type=linux") for name in ("boot", "root"))
    write_partitions(tmp_path / "own.img", [boot, root])
    text = f"version: 1\nboards: {{own0: {{driver: emulated, facts: qemu-virt, disk: own.img, user: {user}}}}}\n"
    (tmp_path / "inventory.yaml").write_text(text)
    board = Inventory(tmp_path / "inventory.yaml").emulated("own0")
    require_suite(board, Suite.BOOKWORM)  # it has what it has
    monkeypatch.setattr(booting, "ensure", lambda names, _: {name: Image(tmp_path / "boot", {}) for name in names})
    images = booting._images_of(board, Suite.TRIXIE, Silent())
    assert images.disk == tmp_path / "own.img"
    board.create(images, "trixie")
    disk, keys = board.folder / "disk.img", (board.folder / "id_ed25519.pub").read_bytes()
    place = "/root" if user == "root" else "/home/admin"
    assert read_from(disk, f"cat {place}/.ssh/authorized_keys") == keys
    assert f"User: {0 if user == 'root' else 1000:5}".encode() in read_from(disk, f"stat {place}/.ssh/authorized_keys")
    assert read_from(disk, "cat /etc/ssh/ssh_host_ed25519_key.pub") == (board.folder / "host_ed25519.pub").read_bytes()
    assert sorted(path.name for path in board.folder.iterdir())[:2] == ["base.dtb", "board.json"]
    (board.folder / "ssh_port").write_text("1\n")
    monkeypatch.setattr(board, "is_on", lambda: True)
    assert board.ssh().user == user


def test_a_disk_without_a_root_partition_is_refused(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(bytes(1 << 20))
    write_partitions(tmp_path / "disk.img", [Partition("system", tmp_path / "part", "type=linux")])
    with pytest.raises(VtoolError, match=r"VT613.*no partition named 'root'"):
        write_root_files(tmp_path / "disk.img", [], tmp_path)


@pytest.mark.parametrize(("clock", "counts"), [("machine", False), ("instructions", True)])
def test_a_board_counts_instructions_where_its_inventory_says_so(
    board: EmulatedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: str, *, counts: bool
) -> None:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(f"version: 1\nboards: {{efi0: {{driver: emulated, facts: qemu-virt-efi, clock: {clock}}}}}\n")
    commands: list[list[str]] = []
    done = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(qemu_process.subprocess, "run", lambda command, **_: commands.append(command) or done)
    (board.folder / "host_ed25519.pub").write_text("ssh-ed25519 AAAA efi0\n")
    reached = Inventory(inventory).board("efi0")
    reached.power.on()
    (words,) = (" ".join(command) for command in commands)
    assert ("-accel tcg,thread=single -icount shift=0,sleep=off" in words) is counts
    assert (",cache=unsafe " in words) is counts
    assert ("-accel tcg,thread=multi" in words) is not counts
    assert reached.clock is (BoardClock.INSTRUCTIONS if counts else BoardClock.EMULATED)


def test_a_board_that_runs_with_another_clock_is_not_used(
    board: EmulatedBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [str(board.folder / "disk.img"), "-icount"]
    with subprocess.Popen([sys.executable, "-c", "input()", *command], stdin=subprocess.PIPE) as running:
        try:
            (board.folder / "qemu.pid").write_text(f"{running.pid}\n")
            (board.folder / "ssh_port").write_text("2222\n")
            while board.standing().power != "on":
                time.sleep(0.01)  # until the process has its words; pytest has the deadline
            with pytest.raises(
                VtoolError, match="VT630: board 'efi0' counts instructions, its inventory says otherwise"
            ):
                board.ssh()
            counting = EmulatedBoard("efi0", board.facts, BoardClock.INSTRUCTIONS)
            assert counting.ssh().port == 2222 and board.standing().ssh == "127.0.0.1:2222"
        finally:
            running.kill()
