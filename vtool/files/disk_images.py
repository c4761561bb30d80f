"""Images of disks that a topology names: of which kind they are, how large a guest sees them, whether they are whole.

Only beginnings and ends are read; what is packed is unpacked to its end later, by ``vtool.images.disks``. Enter at
``look_at_disk``. Sources: QEMU docs/interop/qcow2.rst; Linux Documentation/filesystems/ext4/globals.rst; UEFI 2.10,
5.3.2 (GPT); RFC 1952 (gzip), RFC 8878 (zstd), the .xz file format 1.2.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from vtool.base.records import record
from vtool.files.kinds import Found, Kind, kind_of
from vtool.files.packed import READERS, unpacking
from vtool.files.regular import open_regular

_SECTOR = 512
_HEAD_BYTES = 128 << 10
"""Btrfs has its name at 64 KiB."""
QCOW2 = b"QFI\xfb"
_DISKS = (Kind.DISK, Kind.FILE_SYSTEM)


@record
class ImageFile:
    """An image: in which format, how it is packed (None: not at all), and how large a guest sees it.

    ``size_bytes`` is None where only unpacking tells. ``known``: it is of a kind that vtool knows. ``what`` says so in
    words.
    """

    what: Found
    is_qcow2: bool
    packer: str | None
    size_bytes: int | None
    known: bool


def look_at_disk(path: Path) -> ImageFile:
    """Say what an image is. OSError when it cannot be read, ValueError in words when it can be no disk's image."""
    with open_regular(path) as stream:
        head = stream.read(_HEAD_BYTES)
        file_bytes = stream.seek(0, 2)
        stream.seek(max(0, file_bytes - 1024))
        tail = stream.read()
    what = kind_of(head, file_bytes)
    packer = what.packer
    if packer is not None and packer not in READERS:
        raise ValueError(f"it is {what.words}, which vtool does not unpack")
    size: int | None = file_bytes
    if packer is not None:
        with unpacking(path, packer) as inner:
            head = inner.read(_HEAD_BYTES)
        size = _stated_bytes(packer, path, tail)
        what = kind_of(head, len(head))
        if what.packer is not None:
            raise ValueError(f"it is {what.words}, packed by {packer} once more")
    is_qcow2 = head.startswith(QCOW2)
    if is_qcow2:
        size = virtual_bytes(head)
        if packer is None:
            _require_whole_qcow2(path, head, file_bytes)
    elif what.kind not in _DISKS and what.kind is not Kind.UNKNOWN:
        raise ValueError(f"it is {what.words}, not the image of a disk")
    elif size is not None:
        require_whole(head, size)
    return ImageFile(what, is_qcow2, packer, size, what.kind in _DISKS)


def require_whole(head: bytes, size_bytes: int) -> None:
    """Raise ValueError when an image says in its head that it is larger than it is."""
    for what, least in (
        ("a file system (ext2, ext3 or ext4)", _ext_bytes(head)),
        ("a file system (squashfs)", int.from_bytes(head[40:48], "little") if head.startswith(b"hsqs") else 0),
        ("a disk with partitions (GPT)", _gpt_bytes(head)),
        ("a disk with partitions (MBR)", _mbr_bytes(head)),
    ):
        if least > size_bytes:
            raise ValueError(f"it is cut short: {what} of {least} bytes, of which {size_bytes} are there")


def virtual_bytes(head: bytes) -> int:
    """Return how large a guest sees a qcow2 image that begins so. ValueError for one that vtool does not take."""
    if len(head) < 72 or int.from_bytes(head[4:8], "big") not in (2, 3):
        raise ValueError("it is a qcow2 image of a version that vtool does not know, or cut short")
    if int.from_bytes(head[8:16], "big"):
        raise ValueError("it is a qcow2 image on top of another file, its backing file")
    if int.from_bytes(head[32:36], "big"):
        raise ValueError("it is a qcow2 image that is encrypted")
    features = int.from_bytes(head[72:80], "big") if head[7] == 3 else 0
    if features & 1 << 1:
        raise ValueError("it is a qcow2 image that is marked as corrupt")
    if features & 1 << 2:
        raise ValueError("it is a qcow2 image whose data is in another file")
    return int.from_bytes(head[24:32], "big")


def _require_whole_qcow2(path: Path, head: bytes, file_bytes: int) -> None:
    """Raise ValueError when the last cluster that counts as used, or a table that leads there, begins behind the end.

    Where the reference counts may be out of date (the feature `dirty`) only the tables are looked at.
    """
    bits, order = _number(head, 20, 4), _number(head, 96, 4) if head[7] == 3 else 4
    tables = ((_number(head, 40, 8), _number(head, 36, 4) * 8), (_number(head, 48, 8), _number(head, 56, 4) << bits))
    if not 9 <= bits <= 21 or order > 6:
        raise ValueError("it is a qcow2 image with a damaged header")
    least = max(base + size for base, size in tables)
    counted = not (head[7] == 3 and _number(head, 72, 8) & 1)
    if least <= file_bytes and counted:
        with open_regular(path) as stream:
            least = max(least, _used_bytes(stream, *tables[1], bits, order))
    if least > file_bytes:
        raise ValueError(f"it is cut short: a qcow2 image of {least} bytes, of which {file_bytes} are there")


def _used_bytes(stream: BinaryIO, table: int, table_bytes: int, bits: int, order: int) -> int:
    """Return a byte more than where the last cluster begins whose reference count is not 0."""
    stream.seek(table)
    entries = stream.read(table_bytes)
    found = [at for at in range(0, len(entries) - 7, 8) if _number(entries, at, 8)]
    if not found:
        return 0
    block = _number(entries, found[-1], 8)
    stream.seek(block)
    counts = stream.read(1 << bits).rstrip(b"\0")
    # Of counts that share a byte the first one stands for all.
    in_block = (len(counts) - 1) * 8 >> order if counts else 0
    first = found[-1] // 8 * ((8 << bits) >> order)
    return max(block + (1 << bits), (first + in_block << bits) + 1)


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _ext_bytes(head: bytes) -> int:
    """Blocks times their size; the upper half of their number counts with the feature 64bit (0x80)."""
    block = head[1024:2048]
    if block[56:58] != b"\x53\xef":
        return 0
    low, shift = int.from_bytes(block[4:8], "little"), int.from_bytes(block[24:28], "little")
    wide = int.from_bytes(block[96:100], "little") & 0x80
    high = int.from_bytes(block[0x150:0x154], "little") if wide else 0
    return (high << 32 | low) << (10 + shift) if shift < 7 else 0


def _gpt_bytes(head: bytes) -> int:
    """The second header is in the last sector."""
    return (int.from_bytes(head[544:552], "little") + 1) * _SECTOR if head[512:520] == b"EFI PART" else 0


def _mbr_bytes(head: bytes) -> int:
    if head[510:512] != b"\x55\xaa" or head[512:520] == b"EFI PART":
        return 0
    if b"FAT" in (head[54:57], head[82:85], head[5:8]) or head[3:7] == b"NTFS":
        return 0  # a file system, whose boot sector ends alike
    entries = [head[at : at + 16] for at in range(446, 510, 16)]
    if any(entry[0] not in (0, 0x80) for entry in entries):
        return 0  # the code of a boot sector
    return max(
        (int.from_bytes(e[8:12], "little") + int.from_bytes(e[12:16], "little")) * _SECTOR if e[4] else 0
        for e in entries
    )


# -- how large what is packed says that it is


def _stated_bytes(packer: str, path: Path, tail: bytes) -> int | None:
    """Return what the file says, None where it does not; whether that is true shows when it is unpacked."""
    match packer:
        case "gzip":
            size = int.from_bytes(tail[-4:], "little")
            return size if path.stat().st_size < 1 << 32 and size % _SECTOR == 0 else None
        case "zstd":
            import zstandard  # noqa: PLC0415 - seldom met

            with open_regular(path) as stream:
                stated = zstandard.frame_content_size(stream.read(18))
            return stated if stated >= 0 else None
        case "xz":
            return _xz_bytes(path)
        case _:
            return None


def _xz_bytes(path: Path) -> int | None:
    """Add up the last stream's index; None where the file does not end with one."""
    with open_regular(path) as stream:
        end = stream.seek(0, 2)
        stream.seek(max(0, end - 12))
        footer = stream.read(12)
        if footer[10:] != b"YZ":
            raise ValueError("a xz file that is cut short")
        back = (int.from_bytes(footer[4:8], "little") + 1) * 4
        stream.seek(max(0, end - 12 - back))
        index = stream.read(back)
    numbers, at = list[int](), 1
    while at < len(index) and (not numbers or len(numbers) < 1 + 2 * numbers[0]):
        number = shift = 0
        while at < len(index):
            byte, at = index[at], at + 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        numbers.append(number)
    return sum(numbers[2::2]) if numbers else None
