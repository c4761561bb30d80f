"""What an emulated board boots, built from Debian's packages, cached by content.

Here is what a check needs to know of the images; ``vtool.images.build`` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PREFIX = "vtool:"
"""A reference with this prefix means an image of the catalogue."""

NAMES = (
    "linux",
    "rootfs",
    "xen-debian",
    "xen-source",
    "xen",
    "qemu-source",
    "qemu-sysroot",
    "qemu-xenpvh",
    "ring",
    "guest-initramfs",
    "driver-domain",
    "firmware",
    "firmware-uefi",
    "systemd-boot",
    "root-disk",
)
"""The images of the catalogue."""

BOARD_IMAGES: Mapping[str, tuple[str, ...]] = {
    "u-boot": ("firmware", "linux", "root-disk"),
    "systemd-boot": ("firmware-uefi", "linux", "root-disk", "systemd-boot"),
}
"""What a new emulated board is made of, by its boot loader; its firmware first."""

XEN_OPTIONS = "xen/options.config"
"""The data file that says of what release ``vtool:xen`` is, and with which options it is built."""

DATA = Path(__file__).parent / "recipes"


def recipe_text(name: str) -> str:
    """Return a data file of the recipes."""
    return (DATA / name).read_text()


def recipe_lines(text: str) -> list[str]:
    """Return the lines of a data file, comments left out."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def kernel_fragment() -> str:
    """Return the configuration that ``vtool:linux`` is built with."""
    return recipe_text("kernel.config")
