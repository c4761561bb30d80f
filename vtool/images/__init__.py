"""What an emulated board boots, built from Debian's packages, cached by content.

Here is what a check needs to know of the images; ``vtool.images.build`` makes them.
"""

from __future__ import annotations

from pathlib import Path

PREFIX = "vtool:"
"""A reference with this prefix means an image of the catalogue."""

NAMES = ("linux", "rootfs", "xen", "guest-initramfs", "firmware", "root-disk")
"""The images of the catalogue."""

BOARD_IMAGES = ("firmware", "linux", "root-disk")
"""What a new emulated board is made of."""

DATA = Path(__file__).parent / "recipes"


def kernel_fragment() -> str:
    """Return the configuration that ``vtool:linux`` is built with."""
    return (DATA / "kernel.config").read_text()
