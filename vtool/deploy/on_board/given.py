"""Devices of the board that are to be given to a guest: refused where the board itself uses them in any way.

Sources: Linux Documentation/ABI/stable/sysfs-block, proc(5) on mountinfo and swaps, fstab(5), open(2) on O_EXCL of
block devices, drivers/md/md_p.h, mm/swapfile.c, lib/format_text/layout.h of LVM2.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from .base import BOARD, BoardError, read_json
from .typed import Any

SYSFS = Path("/sys/dev/block")
MOUNTS = Path("/proc/self/mountinfo")
SWAPS = Path("/proc/swaps")
FSTAB = Path("/etc/fstab")
BY_NAME = Path("/dev/disk")
SECTOR_BYTES = 512
_MD = (0xA92B4EFC).to_bytes(4, "little")


def check_device(disk: dict[str, Any], boot: dict[str, Any], *, runs: bool, known: bool) -> None:
    """Raise VT466 unless a device can be given to a guest.

    ``runs``: a guest of vtool's has it now; ``known``: one had it before, so that what is in it is a guest's.
    """
    path = Path(disk["device"])
    number = _block_device(path)
    size = _number(number, "size") * SECTOR_BYTES
    why = (
        _use(number, boot)
        or ("" if runs else _claimed(path))
        or ("" if known else _signature(path, size))
        or ("the board can only read it" if _number(number, "ro") and not disk.get("read_only") else "")
        or (f"it has {size} bytes, the topology says {disk['size_bytes']}" if (disk["size_bytes"] or 0) > size else "")
    )
    if why:
        raise _refused(path, why)


def verb_require_unused(arguments: argparse.Namespace) -> dict[str, Any]:
    """Raise VT466 for a device that the board uses by now: who serves it to its guest is about to be started."""
    for path in map(Path, arguments.devices):
        if why := _use(_block_device(path), read_json(BOARD) or {}) or _claimed(path):
            raise _refused(path, why)
    return {"unused": arguments.devices}


def _block_device(path: Path) -> int:
    try:
        about = path.stat()
    except OSError as error:
        raise _refused(path, f"it cannot be looked at: {error.strerror}") from None
    if not stat.S_ISBLK(about.st_mode):
        raise _refused(path, "it is no block device")
    return about.st_rdev


def _refused(path: Path, why: str) -> BoardError:
    return BoardError("VT466", f"{path} cannot be given to a guest: {why}", ["nothing was changed on the board"])


def _use(number: int, boot: dict[str, Any]) -> str:
    """Return what the board has a device, or a partition of it, for; nothing where it has it for nothing."""
    whys = (_use_of_one(one, boot) for one in (number, *_partitions(number)))
    return next(filter(None, whys), "") or _holds_state(number, boot)


def _use_of_one(number: int, boot: dict[str, Any]) -> str:
    points = mounted(number)
    if points:
        what = "the board's own system is on it: " if {"/", boot.get("mount")} & set(points) else ""
        return f"{what}it is mounted at {', '.join(points)}"
    if number in _swaps():
        return "the board swaps to it"
    if point := dict(_mounted_at_boot()).get(number):
        return f"the board's /etc/fstab has it at {point}, without `noauto`"
    holders = sorted(path.name for path in _folder(number).glob("holders/*"))
    return f"{', '.join(holders)} of the board is made of it (LVM, RAID or encryption)" if holders else ""


def _holds_state(number: int, boot: dict[str, Any]) -> str:
    if not boot.get("state_device"):
        return ""
    try:
        state = Path(boot["state_device"]).stat().st_rdev
    except OSError:
        return ""
    disk, begin, end = _extent(number)
    state_disk, first, _ = _extent(state)
    if disk == state_disk and begin <= first + boot["state_sector"] < end:
        return f"the sector that says what the board boots is on it ({boot['state_device']})"
    return ""


def mounted(number: int) -> list[str]:
    """Return where a device is mounted."""
    points = []
    for line in MOUNTS.read_text().splitlines():
        fields, _, more = line.partition(" - ")
        words, source = fields.split(), more.split()[1] if len(more.split()) > 1 else ""
        if words[2] == f"{os.major(number)}:{os.minor(number)}" or _number_of(source) == number:
            points.append(words[4])
    return points


def _swaps() -> list[int | None]:
    lines = SWAPS.read_text().splitlines()[1:] if SWAPS.exists() else []
    return [_number_of(line.split()[0]) for line in lines if line]


def _mounted_at_boot() -> Iterator[tuple[int, str]]:
    """Yield what /etc/fstab has without `noauto`, by the devices that are there, and where."""
    lines = FSTAB.read_text(errors="replace").splitlines() if FSTAB.exists() else []
    for words in (line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")):
        options = words[3].split(",") if len(words) > 3 else []
        kind, _, name = words[0].partition("=")
        name = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), name.strip('"'))
        # As udev names its links (systemd, src/shared/device-nodes.c).
        escaped = re.sub(r"[^0-9A-Za-z#+.:=@_\x80-\U0010ffff-]", lambda odd: f"\\x{ord(odd[0]):02x}", name)
        path = f"{BY_NAME}/by-{kind.lower()}/{escaped}" if name and not kind.startswith("/") else words[0]
        number = _number_of(path)
        if number is not None and len(words) > 1 and ("noauto" not in options or "x-systemd.automount" in options):
            yield number, words[1]


def _number_of(path: str) -> int | None:
    if not path.startswith("/dev/"):
        return None
    try:
        about = Path(path).stat()
    except OSError:
        return None
    return about.st_rdev if stat.S_ISBLK(about.st_mode) else None


def _folder(number: int) -> Path:
    return SYSFS / f"{os.major(number)}:{os.minor(number)}"


def _number(number: int, name: str) -> int:
    try:
        return int((_folder(number) / name).read_text())
    except OSError:
        return 0


def _partitions(number: int) -> list[int]:
    found = []
    for path in _folder(number).glob("*/partition"):
        major, minor = (path.parent / "dev").read_text().split(":")
        found.append(os.makedev(int(major), int(minor)))
    return found


def _extent(number: int) -> tuple[int, int, int]:
    """Return the disk that a device is on, and its sectors there, [begin, end)."""
    begin, size = _number(number, "start"), _number(number, "size")
    if not (_folder(number) / "partition").exists():
        return number, 0, size
    major, minor = (_folder(number).resolve().parent / "dev").read_text().split(":")
    return os.makedev(int(major), int(minor)), begin, begin + size


def _claimed(path: Path) -> str:
    """Ask the kernel whether somebody has it for himself: a file system, device mapper, md, Xen's blkback."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        return "something on the board has it for itself" if error.errno == errno.EBUSY else f"{error.strerror}"
    return ""


def _signature(path: Path, size: int) -> str:
    """Return what it is a part of, by its content; a guest's own is not looked at any more."""
    with path.open("rb", buffering=0) as stream:
        head = stream.read(8192)
        stream.seek(max(0, size - (128 << 10)) & ~4095)
        tail = stream.read(132 << 10)
    if any(head[at : at + 8] == b"LABELONE" for at in range(0, 4 * SECTOR_BYTES, SECTOR_BYTES)):
        return "it is a physical volume of LVM (pvs)"
    places = (head[:4], head[4096:4100], *(tail[at : at + 4] for at in range(0, len(tail), 4096)))
    if _MD in places:
        return "it is a part of a RAID (mdadm --examine)"
    if any(head[page - 10 : page] == b"SWAPSPACE2" for page in (4096, 8192)):
        return "it is swap space"
    return ""


def is_empty(path: Path, begin: int, end: int) -> bool:
    """Whether there are nothing but zeros in [begin, end) of a file or device."""
    with path.open("rb", buffering=0) as stream:
        stream.seek(begin)
        while begin < end:
            piece = stream.read(min(1 << 20, end - begin))
            if not piece:
                return True
            if piece.strip(b"\0"):
                return False
            begin += len(piece)
    return True
