"""What disks begin as: the image in the disk's format, whole, and not larger than the disk."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from pathlib import Path

import pytest

from vtool.diagnostics import Span, VtoolError
from vtool.images.disks import disk_file
from vtool.model.devices import DiskFormat
from vtool.plan.types import DiskImage, FileDisk

MIB = 1 << 20
SPAN = Span(Path("topology.yaml"), 1, 1, 1, 2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VTOOL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "root.ext4"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(path), "2048"], check=True, capture_output=True)
    return path


def disk(
    size: int = 2 * MIB, of: DiskFormat = DiskFormat.RAW, reference: str = "image", *, sized: bool = False
) -> FileDisk:
    return FileDisk("/disks/a", size, None, "a", of, sized=sized, image=DiskImage(reference, False, SPAN))


def seen(path: Path) -> bytes:
    """Return what a guest sees of an image, by qemu-img."""
    done = subprocess.run(["qemu-img", "convert", "-O", "raw", path, path.with_name("seen")], check=True)
    assert done.returncode == 0
    return path.with_name("seen").read_bytes()


def fault(source: Path | None, wanted: FileDisk) -> str:
    with pytest.raises(VtoolError) as caught:
        disk_file(source, wanted)
    (found,) = caught.value.diagnostics
    assert found.span == SPAN
    return f"{found.code} {found.message}"


def test_a_raw_image_is_taken_as_it_is(image: Path) -> None:
    assert disk_file(image, disk()) == image


@pytest.mark.parametrize("packed", [gzip.compress, lzma.compress])
def test_a_packed_one_is_unpacked_once(image: Path, tmp_path: Path, packed: object) -> None:
    assert callable(packed)
    path = tmp_path / "image"
    path.write_bytes(packed(image.read_bytes()))
    made = disk_file(path, disk())
    assert made.read_bytes() == image.read_bytes() and made.stat().st_blocks * 512 < MIB
    before = made.stat().st_ino
    assert disk_file(path, disk()).stat().st_ino == before


def test_formats_are_made_of_each_other(image: Path, tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", image, path], check=True)
    assert disk_file(path, disk()).read_bytes() == image.read_bytes()
    again = disk_file(path, disk(of=DiskFormat.QCOW2))
    assert again.read_bytes()[:4] == b"QFI\xfb" and seen(again) == image.read_bytes()
    grown = disk_file(image, disk(4 * MIB, DiskFormat.QCOW2, sized=True))
    assert seen(grown) == image.read_bytes() + bytes(2 * MIB)
    nothing = disk(3 * MIB, DiskFormat.QCOW2, "", sized=True)
    assert seen(disk_file(None, nothing)) == bytes(3 * MIB)


def test_what_is_damaged_or_too_large_is_told_where_it_is_named(image: Path, tmp_path: Path) -> None:
    path = tmp_path / "image"
    packed = gzip.compress(image.read_bytes())
    path.write_bytes(packed[: len(packed) - 30])
    assert "VT462" in fault(path, disk()) and "cut short" in fault(path, disk())
    path.write_bytes(packed[:500] + b"\xff\xff\xff" + packed[503:])
    assert "VT462" in fault(path, disk()) and "damaged" in fault(path, disk())
    assert "VT463" in fault(image, disk(MIB, sized=True))
    path.write_bytes(packed)
    assert "VT463" in fault(path, disk(MIB, sized=True))
    assert "VT462" in fault(tmp_path / "none", disk())
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", image, path], check=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "VT462" in fault(path, disk())
    assert not list((tmp_path / "cache" / "disks").glob("making-*")), "nothing is left lying"
