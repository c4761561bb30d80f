"""Large objects by what differs: blocks at the same places of an object that the board has.

The board tells a checksum of each of its object's blocks; ``vtool.deploy.transfer`` sends the blocks that differ.
Whether the result is right is decided by the whole object's digest, as for any object: what the board tells of its
base is trusted for nothing, and where two blocks have one checksum the object is sent whole.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from pathlib import Path

from .typed import IO, Any, BinaryIO

LEAST_BYTES = 8 << 20
"""Smaller objects are sent whole."""
BLOCK_BYTES = 128 << 10
PIECE_BYTES = 256 << 10
HURRY_BYTES = 8 << 20
CHECKSUM_BYTES = 4
SUFFIX = ".delta"


class Damaged(ValueError):
    """What arrived is no delta."""


def base_of(path: Path, digest: str) -> dict[str, str] | None:
    """Return an object as something to build on: its name, its blocks' checksums; None when it cannot be read."""
    try:
        blocks = block_checksums(path)
    except OSError:
        return None
    return {"object": digest, "blocks": base64.b64encode(blocks).decode()}


def block_checksums(path: Path) -> bytes:
    """Return the CRC-32 of each of a file's blocks, one after the other: three times as fast as a digest."""
    checksums, block = bytearray(), bytearray(BLOCK_BYTES)
    with path.open("rb", buffering=0) as stream:
        while size := stream.readinto(block):
            checksums += zlib.crc32(memoryview(block)[:size]).to_bytes(CHECKSUM_BYTES, "big")
    return bytes(checksums)


def apply_delta(stream: IO[bytes], store: Path, target: BinaryIO) -> str:
    """Write what base and blocks make to ``target``, in order; return its digest. Damaged when they do not fit."""
    try:
        head: dict[str, Any] = json.loads(stream.readline(1 << 20))
        name, size, runs = Path(head["base"]).name, int(head["size_bytes"]), [(int(f), int(c)) for f, c in head["runs"]]
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"a delta begins with something else: {error}") from None
    whole, place = hashlib.sha256(), 0
    with (store / name).open("rb", buffering=0) as base:
        for first, count in runs:
            base.seek(place)
            copy(base, target, whole, first * BLOCK_BYTES - place)
            place = min((first + count) * BLOCK_BYTES, size)
            copy(stream, target, whole, place - first * BLOCK_BYTES)
        base.seek(place)
        copy(base, target, whole, size - place)
    return whole.hexdigest()


def copy(source: IO[bytes], target: BinaryIO, whole: Any, left: int) -> None:
    """Copy so many bytes, and into a digest. Damaged when the source has fewer."""
    block = memoryview(bytearray(min(PIECE_BYTES, max(left, 0))))
    while left > 0:
        size = source.readinto(block[: min(left, len(block))])  # type: ignore[attr-defined]
        if not size:
            raise Damaged("an object ends early")
        whole.update(block[:size])
        target.write(block[:size])
        left -= size
        if not left or target.tell() % HURRY_BYTES < size:
            # Linux begins to write what it is told that nobody will read: the wait at the end is for what is left.
            os.posix_fadvise(target.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
