"""What an image of a disk is, how large a guest sees it, and whether it is whole."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import subprocess
from pathlib import Path

import pytest
import zstandard

from vtool.files.disk_images import look_at_disk
from vtool.files.packed import unpacking

MIB = 1 << 20
PACKED = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstandard.ZstdCompressor().compress,
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "root.ext4"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(path), "2048"], check=True, capture_output=True)
    return path


@pytest.mark.parametrize("packer", PACKED)
def test_packed_ones_are_what_is_in_them(image: Path, tmp_path: Path, packer: str) -> None:
    path, whole = tmp_path / f"image.{packer}", image.read_bytes()
    path.write_bytes(PACKED[packer](whole))
    found = look_at_disk(path)
    assert found.known and "ext4" in found.what.words
    assert found.size_bytes == (None if packer == "bz2" else len(whole))
    with unpacking(path, found.packer) as stream:
        assert stream.read() == whole
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"cut short|damaged"), unpacking(path, found.packer) as stream:
        while stream.read(MIB):
            pass


def test_disks_of_partitions_and_qcow2(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(8 * MIB))
    script = "label: gpt\nstart=2048, size=4096\n"
    subprocess.run(["sfdisk", "-q", str(path)], input=script, text=True, check=True, capture_output=True)
    assert (look_at_disk(path).what.words, look_at_disk(path).size_bytes) == ("a disk image (GPT)", 8 * MIB)
    path.write_bytes(path.read_bytes()[: 4 * MIB])
    with pytest.raises(ValueError, match="cut short"):
        look_at_disk(path)
    path.unlink()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "3G"], check=True)
    found = look_at_disk(path)
    assert found.is_qcow2 and found.size_bytes == 3 << 30


@pytest.mark.parametrize(
    "options", ["compat=1.1", "compat=0.10", "cluster_size=4096,refcount_bits=1", "lazy_refcounts=on"]
)
def test_a_qcow2_image_that_is_cut_short(options: str, tmp_path: Path) -> None:
    """The real program's image is whole; without its last cluster it is not, wherever it was cut."""
    raw, path = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(random.Random(7).randbytes(3 << 20) + bytes(5 << 20))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", "-o", options, raw, path], check=True)
    whole = path.read_bytes()
    assert look_at_disk(path).size_bytes == 8 << 20
    for left in (1000, len(whole) // 3, len(whole) - (64 << 10)):
        path.write_bytes(whole[:left])
        with pytest.raises(ValueError, match="cut short"):
            look_at_disk(path)


def test_partitions_that_end_beyond_the_file(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(8 * MIB))
    script = "label: dos\nstart=2048, size=8192, type=83\n"
    subprocess.run(["sfdisk", "-q", str(path)], input=script, text=True, check=True, capture_output=True)
    assert look_at_disk(path).what.words == "a disk image (MBR)"
    path.write_bytes(path.read_bytes()[: 3 * MIB])
    with pytest.raises(ValueError, match=f"cut short: .* of {5 * MIB} bytes"):
        look_at_disk(path)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_no_image_is_said_in_words(image: Path, tmp_path: Path, seed: int) -> None:
    rng, path = random.Random(seed), tmp_path / "image"
    whole = bytearray(
        rng.choice([image.read_bytes()[: 64 << 10], *(pack(image.read_bytes()) for pack in PACKED.values())])
    )
    for _ in range(rng.randrange(40)):
        whole[rng.randrange(len(whole))] = rng.randrange(256)
    path.write_bytes(whole[: rng.randrange(1, len(whole))])
    try:
        look_at_disk(path)
    except ValueError as error:
        assert str(error)
