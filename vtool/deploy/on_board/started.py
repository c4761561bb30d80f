"""What the board's own kernel says of how it was started, beside the files that it was to be started with."""

from __future__ import annotations

import re
from pathlib import Path

from .base import BoardError, run, sha256_of
from .generations import placed_path, running_generation
from .typed import Any

CHOSEN = Path("/sys/firmware/devicetree/base/chosen")
VERSION = Path("/proc/version")
_BANNER = re.compile(rb"Linux version [0-9][^\0\n]* \([^\0\n]*")
_FREED = re.compile(r"Freeing initrd memory: ([0-9]+)K")


def kernel(step: dict[str, Any]) -> dict[str, Any]:
    """Return the banner of the kernel that runs, and that of the file it was to be.

    A file has one without the number of its build, too (Linux init/version.c, init/version-timestamp.c).
    """
    running = VERSION.read_text().strip()
    found = [banner.decode(errors="replace") for banner in _BANNER.findall(_deployed(step["file"]).read_bytes())]
    return {"running": running, "deployed": running if running in found else found[-1] if found else ""}


def ramdisk(step: dict[str, Any]) -> dict[str, Any]:
    """Return how large the ramdisk is that the kernel was given, and what the file has that it was to be.

    ``given_bytes`` is from the device tree, where a boot loader or Xen writes it; ``freed_kib`` what the kernel says
    that it freed of it, in whole pages (mm/page_alloc.c free_reserved_area). None where they do not tell.
    """
    path = _deployed(step["file"])
    ends = [CHOSEN / f"linux,initrd-{end}" for end in ("start", "end")]
    given = None
    if all(end.exists() for end in ends):
        start, end = (int.from_bytes(end.read_bytes(), "big") for end in ends)
        given = end - start
    freed = _FREED.findall(run("dmesg").stdout)
    return {
        "given_bytes": given,
        "freed_kib": int(freed[-1]) if freed else None,
        "size_bytes": path.stat().st_size,
        "sha256": sha256_of(path),
    }


def _deployed(name: str) -> Path:
    """Return a file of the running generation's boot set; VT717 when it is not as it was deployed."""
    generation = running_generation()
    files = [f for f in generation["files"] if (f["place"], f["name"]) == ("boot", name)] if generation else []
    if generation is None or not files:
        raise BoardError("VT717", f"no generation with a file '{name}' runs")
    path = placed_path(generation, files[0])
    if sha256_of(path) != files[0]["sha256"]:
        raise BoardError("VT717", f"{path} is not as it was deployed", ["deploy its topology again"])
    return path
