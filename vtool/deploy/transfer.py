"""What is sent to a board: the objects that it lacks, the large ones by what differs, packed where the way is slow."""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from vtool.base.once import once_per_file
from vtool.deploy.on_board.delta import (
    BLOCK_BYTES,
    BLOCK_STEPS,
    CHECKSUM_BYTES,
    COPY,
    DATA,
    END,
    LEAST_BYTES,
    LZMA,
    PIECE_BYTES,
    PLAIN,
    STEP_BYTES,
    ZEROS,
    ZLIB,
    ZSTD,
    block_checksums,
    checksum,
)

Runs = list[list[int]]
_OF_ZEROS, _ZERO_STEP = checksum(bytes(BLOCK_BYTES)), bytes(STEP_BYTES)


def runs_of(path: Path, blocks: bytes) -> Runs:
    """Return what an object is made of, [kind, first step of the base, how many steps] each, in order.

    ``blocks`` are the checksums of the base's blocks, none without one. Raises OSError.
    """
    own, size = checksums_of(path), CHECKSUM_BYTES
    known = {blocks[at : at + size]: at // size for at in range(0, len(blocks), size)}
    whole = -(-path.stat().st_size // BLOCK_BYTES)
    runs: Runs = []
    with path.open("rb", buffering=0) as stream:
        changed = 0
        for number, at in enumerate(range(0, len(own), size)):
            mine = own[at : at + size]
            if mine != _OF_ZEROS and mine != blocks[at : at + size]:
                continue
            _look_for(stream, known, runs, changed, number)
            changed = number + 1
            _add(runs, ZEROS if mine == _OF_ZEROS else COPY, number * BLOCK_STEPS, BLOCK_STEPS)
        _look_for(stream, known, runs, changed, whole)
    return runs


checksums_of = once_per_file(block_checksums)


def _look_for(stream: IO[bytes], known: Mapping[bytes, int], runs: Runs, first: int, end: int) -> None:
    """Look for blocks of the base at each page of what changed: blocks [first, end) of the object."""
    at, last = first * BLOCK_STEPS, end * BLOCK_STEPS
    while at < last:
        stream.seek(at * STEP_BYTES)
        window = stream.read(BLOCK_BYTES)
        if not window:
            return
        number = known.get(checksum(window)) if known and at + BLOCK_STEPS <= last else None
        if number is not None:
            _add(runs, COPY, number * BLOCK_STEPS, BLOCK_STEPS)
            at += BLOCK_STEPS
            continue
        _add(runs, ZEROS if window.startswith(_ZERO_STEP) else DATA, at, 1)
        at += 1


def _add(runs: Runs, kind: int, first: int, count: int) -> None:
    last = runs[-1] if runs else None
    if last and last[0] == kind and (kind != COPY or last[1] + last[2] == first):
        last[2] += count
    else:
        runs.append([kind, first, count])


def transfer(
    objects: Mapping[str, Path], bases: Mapping[str, Mapping[str, str]], unpacks: Sequence[str] = ()
) -> Iterator[bytes]:
    """Yield what ``vtool-board receive`` takes, in pieces.

    ``objects`` are files by digest, ``bases`` what ``delta.base_of`` said of what the board has, ``unpacks`` what it
    can unpack besides. Raises OSError for a file that cannot be read.
    """
    packing = Packing(unpacks)
    for digest, path in objects.items():
        size, base = path.stat().st_size, bases.get(digest, {})
        runs, packed = [[DATA, 0, -(-size // STEP_BYTES)]], b""
        if size >= LEAST_BYTES or base:
            runs = runs_of(path, base64.b64decode(base.get("blocks", "")))
            packed = zlib.compress(json.dumps(runs).encode())
        head = {"object": digest, "size_bytes": size, "packed_runs": len(packed), "base": base.get("base")}
        yield json.dumps(head).encode() + b"\n" + packed
        with path.open("rb", buffering=0) as stream:
            yield from packing.pieces(_data(stream, runs, size))
        yield bytes(5)
    yield END


def _data(stream: IO[bytes], runs: Runs, size: int) -> Iterator[bytes]:
    """Yield what an object's runs have as data; short ones are put together."""
    at, held = 0, b""
    for kind, _, count in runs:
        left = min(count * STEP_BYTES, size - at)
        stream.seek(at)
        at += left
        while kind == DATA and left > 0:
            most = min(left, PIECE_BYTES - len(held))
            held += stream.read(most) or bytes(most)  # the board finds one that shrank
            left = at - stream.tell() if stream.tell() < at else 0
            if len(held) == PIECE_BYTES:
                yield held
                held = b""
    if held:
        yield held


def _as_it_is(piece: bytes) -> bytes:
    return piece


def _quickly(piece: bytes) -> bytes:
    return zlib.compress(piece, 1)


def _by_zstd(level: int) -> Callable[[bytes], bytes]:
    def pack(piece: bytes) -> bytes:
        import zstandard  # noqa: PLC0415 - only for large files

        return zstandard.ZstdCompressor(level=level).compress(piece)

    return pack


def _well(piece: bytes) -> bytes:
    import lzma  # noqa: PLC0415 - seldom met

    return lzma.compress(piece, check=lzma.CHECK_NONE, preset=1)


class Packing:
    """Packs pieces as well as there is time for: where sending one is waited for longer than packing it better takes.

    ``unpacks`` is what the board can unpack. What is sent first fills memory on the way, and nothing is waited for.
    """

    _SKIPPED = 4
    """Pieces that are not tried after one that did not get smaller."""
    _REMEMBERED = 4
    """Pieces over which waiting is averaged: it comes in bursts, as what is on the way is taken in bursts."""
    _FORGOTTEN = 0.95
    _FEW_S = 0.002
    _LEAST_BYTES = 64 << 10

    def __init__(self, unpacks: Sequence[str]) -> None:
        ways: list[tuple[int, Callable[[bytes], bytes], float]] = [(PLAIN, _as_it_is, 0.0)]
        if "zstd" in unpacks:
            ways += [(ZSTD, _by_zstd(3), 0.005), (ZSTD, _by_zstd(9), 0.025)]
        else:
            ways += [(ZLIB, _quickly, 0.017), *([(LZMA, _well, 0.07)] if "lzma" in unpacks else [])]
        self._ways = [(kind, pack) for kind, pack, _ in ways]
        self._takes_s = [takes_s for _, _, takes_s in ways]
        self._way, self._skip = 1, 0
        self._waited_s = 0.0

    def pieces(self, content: Iterator[bytes]) -> Iterator[bytes]:
        """Yield each piece with its kind and length, packed or not."""
        for piece in content:
            kind, packed = self._packed(piece)
            begin = time.monotonic()
            yield bytes([kind]) + len(packed).to_bytes(4, "big") + packed
            self._waited_s += (time.monotonic() - begin - self._waited_s) / self._REMEMBERED
            self._choose()

    def _choose(self) -> None:
        """Pack better when there is time for it, less well when packing is what is waited for."""
        better = self._way + 1
        if better < len(self._ways):
            self._takes_s[better] *= self._FORGOTTEN  # it may have been a busy moment
        if better < len(self._ways) and self._waited_s > self._takes_s[better]:
            self._way = better
        elif self._waited_s < self._FEW_S:
            self._way = max(0, self._way - 1)

    def _packed(self, piece: bytes) -> tuple[int, bytes]:
        kind, pack = self._ways[self._way]
        if self._skip or kind == PLAIN or len(piece) < self._LEAST_BYTES:
            self._skip = max(0, self._skip - 1)
            return PLAIN, piece
        begin = time.monotonic()
        packed = pack(piece)
        self._takes_s[self._way] += (time.monotonic() - begin - self._takes_s[self._way]) / self._REMEMBERED
        if len(packed) > 0.95 * len(piece):
            self._skip = self._SKIPPED
            return PLAIN, piece
        return kind, packed
