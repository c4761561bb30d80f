"""What disks begin as: the images that a topology names, in the format and size of the disk. Enter at ``disk_file``.

A raw image for a raw disk is taken as it is. All else is made once, by what goes in, and kept in the cache. qcow2 is
read and written by qemu-img, and a file of it is always written anew: without what a snapshot, compression or another
layout would hide from who reads it on the board.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from vtool.base.once import once_per_file
from vtool.base.units import align_up, format_size
from vtool.diagnostics import Diagnostic, Span, VtoolError, not_installed
from vtool.files.disk_images import ImageFile, look_at_disk, require_whole
from vtool.files.packed import unpacking
from vtool.files.regular import reason_of
from vtool.images.store import cache_folder, file_sha256
from vtool.model.devices import DiskFormat
from vtool.plan.types import FileDisk

_RECIPE = 1
"""One more when the same input gives another file."""
_SECTOR = 512
_PIECE_BYTES = 128 << 10
"""Holes are made of so many zeros; a head that is looked at is as long."""
_MAKING = threading.Lock()
_digest_of = once_per_file(file_sha256)


def disk_file(source: Path | None, disk: FileDisk) -> Path:
    """Return the file that a disk begins as, made of ``source`` or of nothing.

    VtoolError VT462 for an image that is damaged or cut short, VT463 for one larger than its disk.
    """
    assert disk.image is not None
    try:
        return _disk_file(source, disk, disk.image.span)
    except OSError as error:
        raise _unfit(source, reason_of(error), disk.image.span) from None
    except ValueError as error:
        raise _unfit(source, str(error), disk.image.span) from None


def _disk_file(source: Path | None, disk: FileDisk, span: Span) -> Path:
    image = look_at_disk(source) if source else None
    if source and image and disk.format is DiskFormat.RAW and image.packer is None and not image.is_qcow2:
        _require_room(source, source.stat().st_size, disk, span)
        return source
    size = disk.disk_bytes if disk.sized and disk.format is DiskFormat.QCOW2 else None
    inputs = [_RECIPE, _digest_of(source) if source else "", disk.format.value, size]
    key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:32]
    made = cache_folder() / "disks" / f"{key}.{disk.format.value}"
    with _MAKING:  # boards that are alike ask at the same time
        if not made.exists():
            made.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="making-", dir=made.parent) as work:
                _make(source, image, disk, Path(work)).rename(made)
    if source and disk.format is DiskFormat.RAW:
        _require_room(source, made.stat().st_size, disk, span)
    return made


def _make(source: Path | None, image: ImageFile | None, disk: FileDisk, work: Path) -> Path:
    made, wanted = work / "made", disk.format.value
    if source is None or image is None:
        _qemu_img("create", "-q", "-f", wanted, made, str(disk.disk_bytes))
        return made
    plain = source
    if image.packer is not None:
        plain = work / "plain"
        _unpack(source, image, plain)
    if not image.is_qcow2 and disk.format is DiskFormat.RAW:
        return plain
    found = "qcow2" if image.is_qcow2 else "raw"
    if image.is_qcow2:
        _check(plain)
    _qemu_img("convert", "-q", "-f", found, "-O", wanted, plain, made)
    if disk.sized and disk.format is DiskFormat.QCOW2:
        _qemu_img("resize", "-q", "-f", wanted, made, str(disk.disk_bytes))
    return made


def _unpack(source: Path, image: ImageFile, plain: Path) -> None:
    """Unpack to the end, with holes for zeros. ValueError when it is damaged, or not as large as it says."""
    size, head = 0, b""
    with unpacking(source, image.packer) as stream, plain.open("wb") as out:
        while piece := _full(stream):
            head = head or piece
            size += len(piece)
            if piece.strip(b"\0"):
                out.write(piece)
            else:
                out.seek(len(piece), os.SEEK_CUR)
        out.truncate(size)
    if image.is_qcow2:
        return
    require_whole(head, size)
    if image.size_bytes is not None and image.size_bytes != size:
        raise ValueError(f"it says that {image.size_bytes} bytes are packed in it, and there are {size}")


def _full(stream: IO[bytes]) -> bytes:
    pieces, left = list[bytes](), _PIECE_BYTES
    while left and (piece := stream.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _require_room(source: Path, size: int, disk: FileDisk, span: Span) -> None:
    if disk.disk_bytes is not None and align_up(size, _SECTOR) > disk.disk_bytes:
        message = f"disk '{disk.name}' is {format_size(disk.disk_bytes)}, its image '{source.name}' {size} bytes"
        raise VtoolError(Diagnostic("VT463", message, span, hints=(f"size: {align_up(size, _SECTOR)}B, or more",)))


def _check(path: Path) -> None:
    """QEMU reads what is beyond the end of a file as zeros: what is cut short only its check tells."""
    done = _run("check", "-q", "-f", "qcow2", path)
    if done.returncode not in (0, 3):  # 3: clusters that nothing uses
        last = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["it has errors"]
        raise ValueError(f"a damaged qcow2 image, or one that is cut short ({last[0]})")


def _qemu_img(*words: str | Path) -> None:
    done = _run(*words)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or [f"qemu-img ended with {done.returncode}"]
        raise ValueError(said[0].removeprefix("qemu-img: "))


def _run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = ["qemu-img", *map(str, words)]
    if shutil.which("qemu-img") is None:
        raise not_installed("qemu-img")
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def _unfit(source: Path | None, fault: str, span: Span) -> VtoolError:
    what = f"image '{source.name}'" if source else "an empty image"
    return VtoolError(Diagnostic("VT462", f"{what} cannot be used: {fault}", span))
