"""What is sent to a board: the objects that it lacks, the large ones by what differs, packed where the way is slow."""

from __future__ import annotations

import itertools
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vtool.base.once import once_per_file
from vtool.deploy.on_board.delta import (
    BLOCK_PAGES,
    CHECKSUM_BYTES,
    COPY,
    DATA,
    END,
    LEAST_BYTES,
    LZMA,
    OF_ZEROS,
    PAGE_BYTES,
    PIECE_BYTES,
    PLAIN,
    ZEROS,
    ZLIB,
    ZSTD,
    block_checksums,
    page_checksums,
    understood,
)

Runs = list[list[int]]
Range = tuple[int, int]
"""[first, end)"""
_MOVED_PAGES = 4
"""So many in a row are looked for elsewhere: the checksum of one is too short to be looked for among all."""


@dataclass(frozen=True)
class Base:
    """What the board has of an object: its name there, the checksums of its pages."""

    name: str
    pages: bytes


def bases_of(
    objects: Mapping[str, Path],
    told: Mapping[str, Mapping[str, str]],
    ask: Callable[[str, Sequence[Range]], str | None],
) -> dict[str, Base]:
    """Return what objects can be built on, by digest.

    ``told`` is what ``delta.base_of`` said of each, ``ask`` what ``vtool-board pages`` says of blocks of a base. Raises
    OSError.
    """
    found = {}
    for digest, base in told.items():
        own = checksums_of(objects[digest])
        blocks = understood(base["blocks"])
        differ = _differing(block_checksums(own), blocks)
        pages = ask(base["base"], differ) if differ else ""
        if pages is not None:
            found[digest] = Base(base["base"], _pages(own, len(blocks), differ, understood(pages) if pages else b""))
    return found


def _differing(own: bytes, blocks: bytes) -> list[Range]:
    """Return which blocks of a base are others than those at the same place, by the checksums of both."""
    one, found = CHECKSUM_BYTES, list[Range]()
    for number, at in enumerate(range(0, len(blocks), one)):
        if blocks[at : at + one] != own[at : at + one]:
            begins = found.pop()[0] if found and found[-1][1] == number else number
            found.append((begins, number + 1))
    return found


def _pages(own: bytes, blocks_bytes: int, differ: Sequence[Range], told: bytes) -> bytes:
    """Return the checksums of all pages of a base: where blocks do not differ, they are the object's own."""
    size, found, at, known = BLOCK_PAGES * CHECKSUM_BYTES, bytearray(), 0, 0
    for first, end in differ:
        found += own[known * size : first * size]
        found += told[at : at + (end - first) * size]
        at, known = at + (end - first) * size, end
    return bytes(found + own[known * size : blocks_bytes * BLOCK_PAGES])


def runs_of(path: Path, base: bytes) -> Runs:
    """Return what an object is made of, [kind, first page of the base, how many pages] each, in order.

    ``base`` are the checksums of the base's pages, none without one. Raises OSError.
    """
    own, one = checksums_of(path), CHECKSUM_BYTES

    def kind(at: int) -> int:
        mine = own[at : at + one]
        return ZEROS if mine == OF_ZEROS else COPY if mine == base[at : at + one] else DATA

    several = _MOVED_PAGES * one
    moved = {base[at : at + several]: at // one for at in range(0, len(base) + 1 - several, several)}
    runs: Runs = []
    for found, group in itertools.groupby(range(0, len(own), one), kind):
        places = list(group)
        if found == DATA and moved:
            _look_for(own[places[0] : places[-1] + one], moved, runs)
        else:
            _add(runs, found, places[0] // one, len(places))
    if path.stat().st_size % PAGE_BYTES:
        _add(runs, DATA, len(own) // one, 1)
    return runs


checksums_of = once_per_file(page_checksums)


def _look_for(changed: bytes, moved: Mapping[bytes, int], runs: Runs) -> None:
    """Add the runs of pages that changed, by their checksums: those that the base has elsewhere are copied."""
    one = CHECKSUM_BYTES
    several, at = _MOVED_PAGES * one, 0
    while at < len(changed):
        first = moved.get(changed[at : at + several])
        _add(runs, *((DATA, 0, 1) if first is None else (COPY, first, _MOVED_PAGES)))
        at += one if first is None else several


def _add(runs: Runs, kind: int, first: int, count: int) -> None:
    last = runs[-1] if runs else None
    if last and last[0] == kind and (kind != COPY or last[1] + last[2] == first):
        last[2] += count
    else:
        runs.append([kind, first, count])


def transfer(objects: Mapping[str, Path], bases: Mapping[str, Base], unpacks: Sequence[str] = ()) -> Iterator[bytes]:
    """Yield what ``vtool-board receive`` takes, in pieces.

    ``objects`` are files by digest, ``bases`` what the board has of some of them, ``unpacks`` what it can unpack
    besides. Raises OSError for a file that cannot be read.
    """
    packing = Packing(unpacks)
    for digest, path in objects.items():
        size, base = path.stat().st_size, bases.get(digest)
        runs, packed = [[DATA, 0, -(-size // PAGE_BYTES)]], b""
        if size >= LEAST_BYTES or base:
            runs = runs_of(path, base.pages if base else b"")
            packed = zlib.compress(json.dumps(runs).encode())
        head = {"object": digest, "size_bytes": size, "packed_runs": len(packed), "base": base and base.name}
        yield json.dumps(head).encode() + b"\n" + packed
        with path.open("rb", buffering=0) as stream:
            yield from packing.pieces(_data(stream, runs, size))
        yield bytes(5)
    yield END


def _data(stream: IO[bytes], runs: Runs, size: int) -> Iterator[bytes]:
    """Yield what an object's runs have as data; short ones are put together."""
    at, held = 0, b""
    for kind, _, count in runs:
        left = min(count * PAGE_BYTES, size - at)
        stream.seek(at)
        at += left
        while kind == DATA and left > 0:
            most = min(left, PIECE_BYTES - len(held))
            piece = stream.read(most) or bytes(most)  # the board finds one that shrank
            held, left = held + piece, left - len(piece)
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

    ``unpacks`` is what the board can unpack. What is sent first fills memory on the way, and nothing is waited for: it
    says nothing of the way, and is packed.
    """

    _MEMORY_BYTES = 4 << 20
    """As much may be on the way: two pipes of 1 MiB, and OpenSSH's window of 2 MiB (CHAN_SES_WINDOW_DEFAULT)."""

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
        self._waited_s, self._sent_bytes = 0.0, 0

    def pieces(self, content: Iterator[bytes]) -> Iterator[bytes]:
        """Yield each piece with its kind and length, packed or not."""
        for piece in content:
            kind, packed = self._packed(piece)
            begin = time.monotonic()
            yield bytes([kind]) + len(packed).to_bytes(4, "big") + packed
            self._waited_s += (time.monotonic() - begin - self._waited_s) / self._REMEMBERED
            self._sent_bytes += len(packed)
            self._choose()

    def _choose(self) -> None:
        """Pack better when there is time for it, less well when packing is what is waited for."""
        better = self._way + 1
        if better < len(self._ways):
            self._takes_s[better] *= self._FORGOTTEN  # it may have been a busy moment
        if better < len(self._ways) and self._waited_s > self._takes_s[better]:
            self._way = better
        elif self._waited_s < self._FEW_S and self._sent_bytes > self._MEMORY_BYTES:
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
