"""A boot partition after a power cut: checked before anything is written to it again.

FAT has no journal. What a cut leaves behind can claim clusters that are free; used again for a good file, removing
the remains damages that file. systemd checks the partition at boot where dosfstools is installed; elsewhere this does.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from .base import BoardError, run

CHECKED = Path("/run/vtool-boot-partition")
"""The last complaint of the kernel that was seen to, in this boot."""

MOUNTS = Path("/proc/self/mounts")
_COMPLAINT = r"FAT-fs \({device}\): (?:error|Volume was not properly unmounted|Filesystem has been set read-only)"


def make_sound(mount: Path) -> None:
    """Check and repair the file system if the kernel complains about it. Raises VT716 when that cannot be done."""
    source, options = _mounted(mount)
    complaint = _last_complaint(Path(os.path.realpath(source)).name) if source else ""
    if not complaint or (CHECKED.exists() and CHECKED.read_text() == complaint):
        return
    if shutil.which("fsck.vfat") is None:
        hint = "install dosfstools on the board, and deploy again"
        raise BoardError("VT716", f"{mount} has to be checked, and the board cannot do that", [hint], [complaint])
    run("umount", str(mount))
    try:
        run("fsck.vfat", "-a", "-w", source, check=False)
        done = run("fsck.vfat", "-n", source, check=False)
    finally:
        run("mount", "-t", "vfat", "-o", options, source, str(mount))
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-10:]
        raise BoardError(
            "VT716", f"{mount} is damaged and could not be repaired", ["repair it by hand: fsck.vfat"], said
        )
    CHECKED.write_text(complaint)


def _mounted(mount: Path) -> tuple[str, str]:
    """Return the device of a FAT that is mounted there and its options, to be written to; empty for anything else."""
    for line in MOUNTS.read_text().splitlines():
        source, where, kind, options, *_ = line.split()
        if where == str(mount) and kind == "vfat":
            return source, ",".join(["rw", *(word for word in options.split(",") if word not in ("ro", "rw"))])
    return "", ""


def _last_complaint(device: str) -> str:
    pattern = re.compile(_COMPLAINT.format(device=re.escape(device)))
    said = [line for line in run("dmesg").stdout.splitlines() if pattern.search(line)]
    return said[-1] if said else ""
