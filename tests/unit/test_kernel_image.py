"""A kernel, read from its image: what boards and vtool read alike. Fake images; real ones are in integration/."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from pathlib import Path

import pytest

from vtool.files.boot_files import BootFile, look_at
from vtool.files.kernel_image import options_of
from vtool.files.kinds import Kind

CONFIG = """\
#
# Automatically generated file; DO NOT EDIT.
#
CONFIG_KVM=y
CONFIG_NR_CPUS=16
CONFIG_VIRTIO_BLK=m
CONFIG_CC_VERSION_TEXT="aarch64-linux-gnu-gcc (Debian 12.2.0-14) 12.2.0"
CONFIG_LOCALVERSION=""
CONFIG_PHYS_OFFSET=0x40000000
CONFIG_CMDLINE="root=/dev/vda2 rw"
# CONFIG_DMA_RESTRICTED_POOL is not set
"""

CODE = bytes(range(256)) * 16


def header() -> bytes:
    """Return the 64 bytes an arm64 Image begins with (Linux Documentation/arch/arm64/booting.rst)."""
    return b"MZ" + bytes(54) + b"ARM\x64" + bytes(4)


def image(config: str | None = CONFIG) -> bytes:
    if config is None:
        return header() + CODE
    return header() + CODE + b"IKCFG_ST" + gzip.compress(config.encode()) + b"IKCFG_ED" + CODE


def kernel_options(data: bytes) -> Mapping[str, str] | None:
    return options_of(io.BytesIO(data))


def test_options_that_are_set() -> None:
    options = kernel_options(image())
    assert options is not None
    assert options["KVM"] == "y"
    assert options["VIRTIO_BLK"] == "m"
    assert options["NR_CPUS"] == "16"
    assert options["PHYS_OFFSET"] == "0x40000000"


def test_strings_lose_their_quotes_and_keep_their_equal_signs() -> None:
    options = kernel_options(image())
    assert options is not None
    assert options["CC_VERSION_TEXT"] == "aarch64-linux-gnu-gcc (Debian 12.2.0-14) 12.2.0"
    assert options["CMDLINE"] == "root=/dev/vda2 rw"
    assert options["LOCALVERSION"] == ""


def test_options_that_are_not_set_are_absent() -> None:
    options = kernel_options(image())
    assert options is not None
    assert "DMA_RESTRICTED_POOL" not in options
    assert "XEN" not in options


def test_gzip_compressed_image_reads_the_same() -> None:
    assert kernel_options(gzip.compress(image())) == kernel_options(image())


def test_kernel_without_a_configuration_is_unknown_not_empty() -> None:
    assert kernel_options(image(None)) is None


@pytest.mark.parametrize(
    "damaged",
    [
        header() + CODE + b"IKCFG_ST" + gzip.compress(CONFIG.encode()),
        header() + CODE + b"IKCFG_ST" + b"not gzip" + b"IKCFG_ED",
        header() + CODE + b"IKCFG_ST" + gzip.compress(CONFIG.encode())[:-20] + b"IKCFG_ED",
        header() + CODE + b"IKCFG_ED" + b"IKCFG_ST",
    ],
    ids=["no end", "not gzip", "cut short", "end before start"],
)
def test_damaged_configuration_is_unknown(damaged: bytes) -> None:
    assert kernel_options(damaged) is None


def seen(folder: Path, data: bytes) -> BootFile:
    path = folder / "file"
    path.write_bytes(data)
    return look_at(path)


def test_what_a_configuration_is_found_across_blocks(tmp_path: Path) -> None:
    for before in range((1 << 20) - 20, (1 << 20) + 4, 3):
        data = header() + bytes(before - 64) + image()[len(header()) + len(CODE) :]
        found = seen(tmp_path, data)
        assert found.options is not None and found.options["KVM"] == "y" and found.is_linux


def test_sizes_come_from_the_header_packed_or_not(tmp_path: Path) -> None:
    head = bytearray(header())
    head[8:24] = (0x8_0000).to_bytes(8, "little") + (40 << 20).to_bytes(8, "little")
    for data in (bytes(head) + CODE, gzip.compress(bytes(head) + CODE)):
        found = seen(tmp_path, data)
        assert (found.kind, found.text_offset, found.image_size) == (Kind.KERNEL, 0x8_0000, 40 << 20)
        assert found.options is None and not found.is_linux and found.efi


def test_a_kernel_before_3_17_does_not_say_its_size(tmp_path: Path) -> None:
    found = seen(tmp_path, header() + CODE)
    assert (found.text_offset, found.image_size) == (0x8_0000, None)


def test_linux_and_xen_are_told_apart_by_their_banners(tmp_path: Path) -> None:
    assert seen(tmp_path, header() + CODE + b"Linux version 6.12").is_linux
    xen = header() + CODE + b"Xen version %d.%d%s"
    assert seen(tmp_path, xen).kind is Kind.XEN and seen(tmp_path, gzip.compress(xen)).kind is Kind.XEN


@pytest.mark.parametrize("cut", [30, 100, -20])
def test_a_gzip_file_that_is_cut_short_is_no_kernel(cut: int, tmp_path: Path) -> None:
    found = seen(tmp_path, gzip.compress(image(None))[:cut])
    assert found.kind is Kind.OTHER and found.what.words == "a gzip file that is cut short"


def test_what_comes_after_a_gzip_file_is_padding(tmp_path: Path) -> None:
    packed = gzip.compress(header() + CODE) + gzip.compress(b"Linux version 6")
    assert seen(tmp_path, packed + bytes(1000)).is_linux
