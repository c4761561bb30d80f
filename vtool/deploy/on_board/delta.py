"""Objects on their way to the board: by what differs from one that it has, without what is nothing but zeros.

The board tells a checksum of each block of what it has, and then of each page in the blocks that differ: all of a large
disk's would take long over a slow link. ``vtool.deploy.transfer`` looks for pages in the new object, at the same place
first and then, several in a row, wherever a page begins, since file systems move whole pages. What arrives says in runs
what is copied, what is zeros (a hole in the file) and what is data. Whether the result is right is decided by the whole
object's digest: what the board tells of its base is trusted for nothing, and what does not fit is sent again, whole.
"""

from __future__ import annotations

import argparse
import base64
import errno
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from .base import FOLDER
from .typed import IO, Any, BinaryIO

LEAST_BYTES = 8 << 20
"""Smaller objects are sent whole."""
PAGE_BYTES = 4 << 10
BLOCK_PAGES = 16
HURRY_BYTES = 8 << 20
PIECE_BYTES = 1 << 20
CHECKSUM_BYTES = 4
DATA, ZEROS, COPY = 0, 1, 2
"""Kinds of runs; each is [kind, first page of the base, how many pages]."""
PLAIN, ZLIB, LZMA, ZSTD = 0, 1, 2, 3
"""How a piece is packed: before its length, of four bytes."""
END = b"end\n"
_NOTHING = bytes(PIECE_BYTES)
_ZERO_PAGE = bytes(PAGE_BYTES)
_CRC_OF_ZEROS = zlib.crc32(_ZERO_PAGE)
OF_ZEROS = _CRC_OF_ZEROS.to_bytes(CHECKSUM_BYTES, "little")
"""The checksum of a page of zeros, and of nothing else."""


class Damaged(ValueError):
    """What arrived is no object."""


def verb_pages(_: argparse.Namespace) -> dict[str, Any]:
    """Tell the checksums of pages: stdin names a base and blocks of it, [first, end) each. Null if it is unreadable."""
    wanted = json.load(sys.stdin)
    try:
        return {"pages": told(pages_in(FOLDER / wanted["base"], wanted["blocks"]))}
    except OSError:
        return {"pages": None}


def base_of(path: Path, name: str) -> dict[str, str] | None:
    """Return a file as something to build on: its name for the board, its blocks' checksums; None if unreadable."""
    try:
        return {"base": name, "blocks": told(block_checksums(page_checksums(path)))}
    except OSError:
        return None


def first_base(found: Iterable[tuple[Path, str]]) -> dict[str, str] | None:
    """Return the first of some files, each with its name for the board, that can be built on; None if none can."""
    return next(filter(None, (base_of(path, name) for path, name in found)), None)


def told(checksums: bytes) -> str:
    """Write checksums as text, packed for those of zeros: a disk may be much larger than what is in it."""
    return base64.b64encode(zlib.compress(checksums, 1)).decode()


def understood(text: str) -> bytes:
    """Read what was told."""
    return zlib.decompress(base64.b64decode(text))


def block_checksums(pages: bytes) -> bytes:
    """Return the checksum of each block, made of its pages': the last block may have fewer."""
    size = BLOCK_PAGES * CHECKSUM_BYTES
    blocks = [zlib.crc32(pages[at : at + size]) for at in range(0, len(pages), size)]
    return b"".join([block.to_bytes(CHECKSUM_BYTES, "little") for block in blocks])


def pages_in(path: Path, blocks: Any) -> bytes:
    """Return the checksums of a file's pages in blocks, [first, end) each."""
    return b"".join([page_checksums(path, first * BLOCK_PAGES, end * BLOCK_PAGES) for first, end in blocks])


def page_checksums(path: Path, first: int = 0, end: int | None = None) -> bytes:
    """Return the checksum of each of a file's whole pages [first, end), one after the other. Holes are not read."""
    found, size = bytearray(), CHECKSUM_BYTES
    with path.open("rb", buffering=0) as stream:
        whole = os.fstat(stream.fileno()).st_size // PAGE_BYTES
        end = whole if end is None else min(end, whole)
        for data, hole in data_ranges(stream, first * PAGE_BYTES):
            here = first + len(found) // size  # before `data`, where a page has both data and a hole
            found += OF_ZEROS * (min(data // PAGE_BYTES, end) - here)
            at = stream.seek((first + len(found) // size) * PAGE_BYTES)
            last = min(-(-hole // PAGE_BYTES), end) * PAGE_BYTES
            while at < last and (piece := stream.read(min(PIECE_BYTES, last - at))):
                pages = [piece[n : n + PAGE_BYTES] for n in range(0, len(piece), PAGE_BYTES)]
                found += b"".join(map(checksum, pages))
                at += len(piece)
            if hole >= end * PAGE_BYTES:
                break
    return bytes(found + OF_ZEROS * (end - first - len(found) // size))


def data_ranges(stream: IO[bytes], end: int = 0) -> Iterator[tuple[int, int]]:
    """Yield where a file has data from ``end`` on, [start, end) in bytes; what lies between are holes (lseek(2))."""
    while True:
        try:
            start = os.lseek(stream.fileno(), end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return
            raise
        end = os.lseek(stream.fileno(), start, os.SEEK_HOLE)
        yield start, end


def checksum(page: bytes) -> bytes:
    """Return the checksum of a page: one that is quick where a processor has no instructions for SHA-256, too."""
    found = zlib.crc32(page)
    if found == _CRC_OF_ZEROS and page != _ZERO_PAGE:
        found ^= 1
    return found.to_bytes(CHECKSUM_BYTES, "little")


def receive(stream: IO[bytes], head: dict[str, Any], base: Path | None, target: BinaryIO) -> str:
    """Write the object that ``head`` begins to ``target``; return its digest. Damaged when it does not fit."""
    try:
        size, packed = int(head["size_bytes"]), int(head["packed_runs"])
        text = zlib.decompress(stream.read(packed)) if packed else b"[[0, 0, %d]]" % -(-size // PAGE_BYTES)
        runs = [(int(kind), int(first), int(count)) for kind, first, count in json.loads(text)]
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise Damaged(f"an object begins with something else: {error}") from None
    whole, data, at = hashlib.sha256(), Data(stream), 0
    with (base or Path(os.devnull)).open("rb", buffering=0) as old:
        for kind, first, count in runs:
            left = min(count * PAGE_BYTES, size - at)
            at += left
            if kind == COPY:
                old.seek(first * PAGE_BYTES)
            while left > 0:
                piece = (
                    memoryview(_NOTHING)[:left]
                    if kind == ZEROS
                    else data.read(left)
                    if kind == DATA
                    else memoryview(old.read(min(left, PIECE_BYTES)))
                )
                if not piece:
                    raise Damaged("an object ends early")
                whole.update(piece)
                if kind == ZEROS:
                    target.seek(len(piece), os.SEEK_CUR)
                else:
                    target.write(piece)
                left -= len(piece)
                if target.tell() % HURRY_BYTES < len(piece):
                    # Linux begins to write what it is told that nobody will read: the wait at the end is for what is
                    # left.
                    os.posix_fadvise(target.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    target.truncate(at)
    data.end()
    return whole.hexdigest()


class Data:
    """The data of one object: pieces with their lengths, and one of no length at the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._piece = memoryview(b"")

    def read(self, most: int) -> memoryview:
        """Return what comes next, not more than so much; Damaged at the end."""
        if not self._piece:
            self._piece = self._next()
        if not self._piece:
            raise Damaged("an object has less data than it says")
        piece, self._piece = self._piece[:most], self._piece[most:]
        return piece

    def end(self) -> None:
        """Take the last piece; Damaged where it is not."""
        if self._piece or self._next():
            raise Damaged("an object has more data than it says")

    def _next(self) -> memoryview:
        head = self._exactly(5)
        kind, content = head[0], self._exactly(int.from_bytes(head[1:], "big"))
        try:
            if kind == ZLIB:
                return memoryview(zlib.decompress(content))
            if kind == LZMA:
                return memoryview(_unpack_lzma(content))
            if kind == ZSTD:
                return memoryview(_unpack_zstd(content))
        except (zlib.error, ValueError):
            raise Damaged("an object arrived with a piece that cannot be unpacked") from None
        return memoryview(content)

    def _exactly(self, size: int) -> bytes:
        if size > 2 * PIECE_BYTES:
            raise Damaged("an object has a piece that is too large")
        content = self._stream.read(size)
        if len(content) != size:
            raise Damaged("an object ends early")
        return content


def unpacks() -> list[str]:
    """Return what can be unpacked here besides what zlib packs; not every system has it."""
    found = ["zstd"] if _zstd() else []
    try:
        import lzma  # noqa: F401
    except ImportError:
        return found
    return [*found, "lzma"]


def _unpack_lzma(content: bytes) -> bytes:
    import lzma

    try:
        return lzma.decompress(content)
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from None


def _zstd() -> Any:
    """Return the library that systemd, dpkg and others have; Python has one of its own from 3.14 on."""
    try:
        import ctypes

        library = ctypes.CDLL("libzstd.so.1")
        library.ZSTD_decompress.restype = ctypes.c_size_t
    except (ImportError, OSError, AttributeError):
        return None
    return library


def _unpack_zstd(content: bytes) -> bytes:
    """zstd.h: what is returned is the size, or an error, which is larger than any."""
    import ctypes

    room = ctypes.create_string_buffer(PIECE_BYTES)
    source, most = ctypes.c_char_p(content), ctypes.c_size_t(PIECE_BYTES)
    size = _zstd().ZSTD_decompress(room, most, source, ctypes.c_size_t(len(content)))
    if size > PIECE_BYTES:
        raise ValueError("zstd cannot unpack it")
    return room.raw[:size]
