"""Large objects by what differs: blocks at the same places of an object that the board has.

The board tells the digests of its object's blocks; ``vtool-board send``, run beside the new objects, sends the
blocks that differ. Whether the result is right is decided by the whole object's digest, as for any object.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

LEAST_BYTES = 8 << 20
"""Smaller objects are sent whole."""
BLOCK_BYTES = 128 << 10
DIGEST_BYTES = 12
SUFFIX = ".delta"


def base_of(path: Path, digest: str) -> dict[str, str] | None:
    """Return an object as something to build on: its name, its blocks' digests; None when it is damaged or gone."""
    whole, blocks = hashlib.sha256(), bytearray()
    try:
        with path.open("rb") as stream:
            for block in iter(lambda: stream.read(BLOCK_BYTES), b""):
                whole.update(block)
                blocks += block_digest(block)
    except OSError:
        return None
    if whole.hexdigest() != digest:
        return None
    return {"object": digest, "blocks": base64.b64encode(blocks).decode()}


def block_digest(block: bytes) -> bytes:
    """Return the short digest of one block."""
    return hashlib.blake2b(block, digest_size=DIGEST_BYTES).digest()


def changed_runs(path: Path, base: dict[str, str]) -> list[list[int]]:
    """Return which blocks of a file are not the base's: [first, how many] each, in order."""
    blocks = base64.b64decode(base["blocks"])
    known = [blocks[i : i + DIGEST_BYTES] for i in range(0, len(blocks), DIGEST_BYTES)]
    runs: list[list[int]] = []
    with path.open("rb") as stream:
        for number, block in enumerate(iter(lambda: stream.read(BLOCK_BYTES), b"")):
            if number < len(known) and known[number] == block_digest(block):
                continue
            if runs and sum(runs[-1]) == number:
                runs[-1][1] += 1
            else:
                runs.append([number, 1])
    return runs


def send(objects: Path, missing: list[str], bases: dict[str, dict[str, str]], out: BinaryIO) -> None:
    """Write the tar that ``receive`` takes: each object whole, or as a delta where that is less."""
    with tarfile.open(fileobj=out, mode="w|", dereference=True) as tar:
        for digest in missing:
            path = objects / digest
            runs = changed_runs(path, bases[digest]) if digest in bases else None
            if runs is None or sum(count for _, count in runs) * BLOCK_BYTES >= path.stat().st_size:
                tar.add(path, digest)
                continue
            size = path.stat().st_size
            head = json.dumps({"base": bases[digest]["object"], "size_bytes": size, "runs": runs}).encode() + b"\n"
            member = tarfile.TarInfo(digest + SUFFIX)
            member.size = len(head) + sum(min(count * BLOCK_BYTES, size - first * BLOCK_BYTES) for first, count in runs)
            with path.open("rb") as stream:
                tar.addfile(member, _Joined(head, _blocks(stream, runs)))


def _blocks(stream: BinaryIO, runs: list[list[int]]) -> Iterator[bytes]:
    for first, count in runs:
        stream.seek(first * BLOCK_BYTES)
        for _ in range(count):
            yield stream.read(BLOCK_BYTES)


class _Joined(io.RawIOBase):
    """A head and blocks, read as one stream."""

    def __init__(self, head: bytes, blocks: Iterator[bytes]) -> None:
        self._left, self._blocks = head, blocks

    def read(self, size: int = -1) -> bytes:
        while len(self._left) < size and (block := next(self._blocks, None)) is not None:
            self._left += block
        taken, self._left = self._left[:size], self._left[size:]
        return taken


def apply_delta(stream: IO[bytes], store: Path, target: BinaryIO) -> None:
    """Write base and blocks to ``target``, which is read and written. ValueError when they do not fit together."""
    head: dict[str, Any] = json.loads(stream.readline(1 << 20))
    with (store / Path(head["base"]).name).open("rb") as base:
        for block in iter(lambda: base.read(1 << 20), b""):
            target.write(block)
    target.truncate(head["size_bytes"])
    for first, count in head["runs"]:
        target.seek(first * BLOCK_BYTES)
        left = min(count * BLOCK_BYTES, head["size_bytes"] - first * BLOCK_BYTES)
        while left > 0:
            block = stream.read(min(left, 1 << 20))
            if not block:
                raise ValueError("a delta ends early")
            target.write(block)
            left -= len(block)
