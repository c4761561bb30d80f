"""What is sent to a board: the objects that it lacks as one tar, the large ones by what differs where that is less."""

from __future__ import annotations

import base64
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from vtool.base.once import once_per_file
from vtool.deploy.on_board.delta import BLOCK_BYTES, CHECKSUM_BYTES, SUFFIX, block_checksums

_PIECE_BYTES = 64 << 10
"""What the C library takes from memory that it keeps: larger pieces cost page faults each."""


def changed_runs(blocks: bytes, known: bytes) -> list[list[int]]:
    """Return which blocks are not the same in both (checksums of each): [first, how many] each, in order."""
    runs: list[list[int]] = []
    for number in range(len(blocks) // CHECKSUM_BYTES):
        place = slice(number * CHECKSUM_BYTES, (number + 1) * CHECKSUM_BYTES)
        if blocks[place] == known[place]:
            continue
        if runs and sum(runs[-1]) == number:
            runs[-1][1] += 1
        else:
            runs.append([number, 1])
    return runs


def transfer(objects: Mapping[str, Path], bases: Mapping[str, Mapping[str, str]]) -> Iterator[bytes]:
    """Yield the tar that ``vtool-board receive`` takes, in pieces.

    ``objects`` are files by digest, ``bases`` what ``delta.base_of`` said of what the board has. Raises OSError for a
    file that cannot be read.
    """
    for digest, path in objects.items():
        size = path.stat().st_size
        runs, head = [[0, -(-size // BLOCK_BYTES)]], b""
        if digest in bases:
            fewer = changed_runs(checksums_of(path), base64.b64decode(bases[digest]["blocks"]))
            if fewer != runs:
                runs, about = fewer, {"base": bases[digest]["object"], "size_bytes": size, "runs": fewer}
                head = json.dumps(about).encode() + b"\n"
        lengths = [min(count * BLOCK_BYTES, size - first * BLOCK_BYTES) for first, count in runs]
        member = tarfile.TarInfo(digest + (SUFFIX if head else ""))
        member.size = len(head) + sum(lengths)
        yield member.tobuf() + head
        with path.open("rb", buffering=0) as stream:
            for (first, _), length in zip(runs, lengths, strict=True):
                stream.seek(first * BLOCK_BYTES)
                yield from _pieces(stream, length)
        yield bytes(-member.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _pieces(stream: IO[bytes], left: int) -> Iterator[bytes]:
    while left > 0:
        most = min(left, _PIECE_BYTES)
        piece = stream.read(most) or bytes(most)  # the board finds one that shrank
        yield piece
        left -= len(piece)


checksums_of = once_per_file(block_checksums)
