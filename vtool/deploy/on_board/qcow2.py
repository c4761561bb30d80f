"""What a guest sees of a qcow2 file that QEMU has open: read here, since qemu-img need not be on a board.

vtool writes such files itself, without what is not read here: backing files, compressed clusters, subclusters.
Source: QEMU docs/interop/qcow2.rst.
"""

from __future__ import annotations

from .typed import BinaryIO

MAGIC = b"QFI\xfb"
OFFSET = 0x00FFFFFFFFFFFE00
ALL_ZEROS = 1
COMPRESSED = 1 << 62


def read(stream: BinaryIO, at: int, size: int) -> bytes:
    """Return what a guest sees in [at, at + size). ValueError for what is not read here."""
    stream.seek(0)
    head = stream.read(112)
    if not head.startswith(MAGIC) or int.from_bytes(head[8:16], "big"):
        raise ValueError("it is no qcow2 file, or one on top of another")
    cluster = 1 << int.from_bytes(head[20:24], "big")
    first_table = int.from_bytes(head[40:48], "big")
    if head[7] > 2 and int.from_bytes(head[72:80], "big") & 0b10100:
        raise ValueError("its data is elsewhere, or it has subclusters")
    seen = b""
    while len(seen) < size:
        place = at + len(seen)
        inside = place % cluster
        number = place // cluster
        entries = cluster // 8
        table = _entry(stream, first_table, number // entries) & OFFSET
        entry = _entry(stream, table, number % entries) if table else 0
        if entry & COMPRESSED:
            raise ValueError("it has compressed clusters")
        most = min(cluster - inside, size - len(seen))
        if entry & OFFSET and not entry & ALL_ZEROS:
            stream.seek((entry & OFFSET) + inside)
            seen += stream.read(most).ljust(most, b"\0")
        else:
            seen += bytes(most)
    return seen


def size_of(head: bytes) -> int:
    """Return how large a guest sees the file whose beginning this is."""
    return int.from_bytes(head[24:32], "big")


def _entry(stream: BinaryIO, table: int, number: int) -> int:
    stream.seek(table + 8 * number)
    return int.from_bytes(stream.read(8), "big")
