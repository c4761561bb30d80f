"""An arm64 kernel image, as it lies or packed by gzip: its header, and how it was built (CONFIG_IKCONFIG).

Enter at ``options_of`` and ``header_of``. What runs on boards has this file too, so that both sides read alike: it
keeps to Python 3.8 and imports nothing of vtool's.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

GZIP = b"\x1f\x8b"
_MAGIC = b"ARM\x64"
_START, _END = b"IKCFG_ST", b"IKCFG_ED"
_BLOCK = 1 << 20
_MOST_CONFIGURATION = 4 << 20


def unpacked(stream: BinaryIO) -> Iterator[bytes]:
    """Yield what is in a file, unpacked when it is packed by gzip. ValueError when that is damaged or cut short."""
    data = stream.read(_BLOCK)
    if not data.startswith(GZIP):
        while data:
            yield data
            data = stream.read(_BLOCK)
        return
    decoder = zlib.decompressobj(31)
    while data or not decoder.eof:
        if not data and not (data := stream.read(_BLOCK)):
            raise ValueError("a gzip file that is cut short")
        try:
            found = decoder.decompress(data, _BLOCK)
        except zlib.error:
            raise ValueError("a damaged gzip file") from None
        data = decoder.unconsumed_tail
        if found:
            yield found
        if decoder.eof:
            data = decoder.unused_data or stream.read(_BLOCK)
            if not data.startswith(GZIP):  # what comes after is padding, as gzip has it, too
                return
            decoder = zlib.decompressobj(31)


def header_of(data: bytes) -> tuple[int, int] | None:
    """Return text_offset and image_size of an arm64 image, in bytes; None when it is none.

    Linux Documentation/arch/arm64/booting.rst: the magic stands at offset 56; before 3.17 ``image_size`` is 0.
    """
    if data[56:60] != _MAGIC:
        return None
    offset, size = struct.unpack_from("<QQ", data, 8)
    return (offset, size) if size else (0x80000, 0)


def stated_bytes(data: bytes) -> int:
    """Return where the last section of an EFI program's file ends, 0 where its beginning does not tell.

    An arm64 image is such a program too (CONFIG_EFI; Xen arch/arm/arm64/head.S), as long as its sections say.
    """
    (at,) = struct.unpack_from("<I", data, 60) if data[:2] == b"MZ" and len(data) >= 64 else (0,)
    if not at or data[at : at + 4] != b"PE\0\0" or len(data) < at + 24:
        return 0
    count, optional = struct.unpack_from("<6xH12xH", data, at)
    table = data[at + 24 + optional :][: 40 * count]
    return max((sum(struct.unpack_from("<II", table, row + 16)) for row in range(0, len(table) - 39, 40)), default=0)


def configuration_of(blocks: Iterable[bytes]) -> str | None:
    """Return the text of the configuration that a kernel carries, None when it carries none; reads no further."""
    before, inside = b"", b""
    for block in blocks:
        if not inside:
            whole = before + block
            at = whole.find(_START)
            before = whole[1 - len(_START) :]
            if at < 0:
                continue
            inside = whole[at:]
        else:
            inside += block
        end = inside.find(_END)
        if end >= 0:
            return _text_in(inside[len(_START) : end])
        if len(inside) > _MOST_CONFIGURATION:
            return None
    return None


def _text_in(packed: bytes) -> str | None:
    try:
        return zlib.decompress(packed, 31).decode()
    except (zlib.error, UnicodeDecodeError):
        return None


def options_in(text: str) -> Mapping[str, str]:
    """Return the options that a configuration's text sets: ``y``, ``m`` or a value; those not set are absent."""
    pairs = (line.split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_") and "=" in line)
    return {name[len("CONFIG_") :]: value.strip('"') for name, value in pairs}


def options_of(stream: BinaryIO) -> Mapping[str, str] | None:
    """Return the options that a kernel in a file was built with; None when it carries no configuration.

    Raises ValueError when it is packed by gzip and damaged.
    """
    text = configuration_of(unpacked(stream))
    return None if text is None else options_in(text)
