"""Reading a kernel's configuration out of its image. Fake images; the real ones are in integration/."""

from __future__ import annotations

import gzip

import pytest

from vtool.images.kernel_options import kernel_options

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


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MZ",
        b"#!/bin/sh\n" + bytes(100),
        b"\x7fELF" + bytes(100),
        CONFIG.encode(),
        gzip.compress(b"a tarball" * 100),
        gzip.compress(image())[:100],
        b"\x1f\x8b",
    ],
    ids=["empty", "short", "script", "elf", "text", "other gzip", "cut gzip", "gzip magic only"],
)
def test_what_is_not_a_kernel_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="kernel"):
        kernel_options(content)
