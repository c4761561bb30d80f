"""What an emulated board boots, built from Debian's packages, cached by content.

Here is what a check needs to know of the images; ``vtool.images.build`` makes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vtool.model.combinations import Suite

if TYPE_CHECKING:
    from vtool.board.machines import Model

PREFIX = "vtool:"
"""A reference with this prefix means an image of the catalogue."""

NAMES = (
    "linux",
    "linux-7.3-source",
    "linux-7.3",
    "rootfs",
    "rootfs-backports",
    "xen-debian",
    "xen-source",
    "xen",
    "qemu-source",
    "qemu-sysroot",
    "qemu-xenpvh",
    "ring",
    "guest-initramfs",
    "driver-domain",
    "fio-source",
    "bench-sysroot",
    "fio",
    "bench-tools",
    "bench-initramfs",
    "firmware",
    "firmware-uefi",
    "systemd-boot",
    "root-disk",
    "root-disk-backports",
    "foreign-rootfs",
    "foreign-disk",
    "board-python",
)
"""The images of the catalogue."""

KERNEL_RELEASES: Mapping[str, str] = {"linux": "6.12", "linux-7.3": "7.3"}
"""The kernels among them, and of which release each is."""
KERNEL_BYTES: Mapping[str, tuple[int, int]] = {
    "linux": (9_600_000, 9_984_000),
    "linux-7.3": (10_600_000, 11_000_000),
}
"""Of those that are known so: the least that the file has, and that it takes where it runs (image_size)."""
RAMDISKS: Mapping[str, tuple[int, int]] = {
    "guest-initramfs": (1_300_000, 2_600_000),
    "driver-domain": (3_600_000, 8_800_000),
    "bench-initramfs": (7_900_000, 22_000_000),
}
"""The ramdisks among them: the least that each has, packed and unpacked."""
ROOT_DISKS: Mapping[Suite, str] = {Suite.TRIXIE: "root-disk", Suite.TRIXIE_BACKPORTS: "root-disk-backports"}
"""What an emulated board has for a disk, by the Debian that it runs."""
ON_DEMAND = (
    frozenset(("linux-7.3-source", "linux-7.3", "rootfs-backports", "root-disk-backports"))
    | frozenset(("fio-source", "bench-sysroot", "fio", "bench-tools", "bench-initramfs"))
    | frozenset(("foreign-rootfs", "foreign-disk", "board-python"))
)
"""Newer releases beside the usual ones, what benchmarks need, a system not made for vtool, and what such a one lacks:
built for who names them, not with all the others."""


def board_images(model: Model, loader: str, suite: Suite) -> tuple[str, ...]:
    """Return what a new emulated board is made of: kernel, root disk, firmware, and a loader that firmware lacks.

    KeyError: there is no root disk of that suite.
    """
    return ("linux", ROOT_DISKS[suite], *model.firmware[loader])


XEN_OPTIONS = "xen/options.config"
"""The data file that says of what release ``vtool:xen`` is, and with which options it is built."""

DATA = Path(__file__).parent / "recipes"


def recipe_text(name: str) -> str:
    """Return a data file of the recipes."""
    return (DATA / name).read_text()


def recipe_lines(text: str) -> list[str]:
    """Return the lines of a data file, comments left out."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def kernel_fragment(image: str = "linux") -> str:
    """Return the configuration that a kernel of the catalogue is built with, in the names of its release."""
    text, release = recipe_text("kernel.config"), _numbers(KERNEL_RELEASES[image])
    for since, option, instead in map(str.split, recipe_lines(recipe_text("kernel-renamed.txt"))):
        if release >= _numbers(since):
            line = "" if instead == "-" else f"CONFIG_{instead}=y\n"
            text = re.sub(rf"^CONFIG_{option}=y\n", line, text, flags=re.MULTILINE)
    return text


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))
