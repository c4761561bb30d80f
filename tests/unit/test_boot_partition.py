"""A FAT is checked by the real fsck.vfat; mounts and the kernel's log are the test's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vtool.deploy.on_board import boot_partition
from vtool.deploy.on_board.base import BoardError

UNCLEAN = "[   13.2] FAT-fs (boot.img): Volume was not properly unmounted. Some data may be corrupt. Please run fsck."
DIRTY_AT = 0x25
"""Of a FAT12 or FAT16: bit 0 says that it was not unmounted."""


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    image, calls = tmp_path / "boot.img", []
    image.write_bytes(bytes(8 << 20))
    subprocess.run(["mkfs.vfat", str(image)], check=True, capture_output=True)
    data = bytearray(image.read_bytes())
    data[DIRTY_AT] |= 1
    image.write_bytes(data)
    (tmp_path / "mounts").write_text(f"/dev/vda2 / ext4 rw 0 0\n{image} /boot vfat ro,relatime,umask=0077 0 0\n")
    monkeypatch.setattr(boot_partition, "MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(boot_partition, "CHECKED", tmp_path / "checked")
    (tmp_path / "dmesg").write_text(UNCLEAN + "\n")

    def run(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        calls.append(argv)
        argv = {"dmesg": ("cat", str(tmp_path / "dmesg")), "fsck.vfat": argv}.get(argv[0], ("true",))
        return subprocess.run(argv, capture_output=True, text=True, check=check)

    monkeypatch.setattr(boot_partition, "run", run)
    return calls


def test_what_was_not_unmounted_is_repaired_once(said: list[tuple[str, ...]], tmp_path: Path) -> None:
    image = tmp_path / "boot.img"
    boot_partition.make_sound(Path("/boot"))
    assert [call[0] for call in said] == ["dmesg", "umount", "fsck.vfat", "fsck.vfat", "mount"]
    assert said[-1] == ("mount", "-t", "vfat", "-o", "rw,relatime,umask=0077", str(image), "/boot")
    assert not image.read_bytes()[DIRTY_AT] & 1
    boot_partition.make_sound(Path("/boot"))
    assert [call[0] for call in said[5:]] == ["dmesg"]
    (tmp_path / "dmesg").write_text(f"{UNCLEAN}\n[  25.5] FAT-fs (boot.img): error, fat_free_clusters: beyond EOF\n")
    boot_partition.make_sound(Path("/boot"))
    assert [call[0] for call in said[6:]] == ["dmesg", "umount", "fsck.vfat", "fsck.vfat", "mount"]


def test_what_is_not_its_business(said: list[tuple[str, ...]], tmp_path: Path) -> None:
    boot_partition.make_sound(Path("/"))
    assert not said
    (tmp_path / "dmesg").write_text(UNCLEAN.replace("boot.img", "sda1"))
    boot_partition.make_sound(Path("/boot"))
    assert [call[0] for call in said] == ["dmesg"]


def test_what_cannot_be_repaired_is_told_and_mounted_again(said: list[tuple[str, ...]], tmp_path: Path) -> None:
    (tmp_path / "boot.img").write_bytes(bytes(8 << 20))
    with pytest.raises(BoardError, match="could not be repaired") as caught:
        boot_partition.make_sound(Path("/boot"))
    assert caught.value.code == "VT716" and caught.value.detail and said[-1][0] == "mount"
    assert not boot_partition.CHECKED.exists()


def test_without_a_checker_nothing_is_written(said: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot_partition.shutil, "which", lambda name: None)
    with pytest.raises(BoardError, match="cannot") as caught:
        boot_partition.make_sound(Path("/boot"))
    assert caught.value.hints == ["install dosfstools on the board, and deploy again"]
    assert [call[0] for call in said] == ["dmesg"]
