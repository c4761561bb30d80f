"""The files that a topology names for booting: what each is, how large it gets, how a kernel was built.

No more of a large file is read than that takes. Enter at ``look_at``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from vtool.base.records import record
from vtool.base.units import MIB, align_up
from vtool.files.kernel_image import configuration_of, header_of, options_in, stated_bytes, unpacked
from vtool.files.kinds import HEAD_BYTES, Found, Kind, kind_of
from vtool.files.regular import open_regular

_WALKED_BYTES = 32 * MIB
"""A packed ramdisk up to this size is unpacked to its end, to see how large it gets and that it is whole."""
_MOST_UNPACKED_BYTES = 256 * MIB
"""So much of it, or of a kernel, is looked at: what compresses too much, or is a hole, never ends."""
_LINUX, _XEN = b"Linux version ", b"Xen version %d"


@record
class BootFile:
    """What a file is, and where that was read; sizes are in bytes, None where they are not known.

    ``unpacked_bytes`` is how large a ramdisk gets, at the least. ``image_size`` is what a kernel takes where it runs,
    ``text_offset`` above a multiple of 2 MiB; ``options`` are those it was built with, None when it does not tell.
    ``efi``: it is an EFI program too.
    """

    what: Found
    source: str
    size_bytes: int | None = None
    unpacked_bytes: int | None = None
    text_offset: int = 0
    image_size: int | None = None
    is_linux: bool = False
    efi: bool = False
    options: Mapping[str, str] | None = None

    @property
    def kind(self) -> Kind:
        """Return what it is."""
        return self.what.kind


def look_at(path: Path) -> BootFile:
    """Say what a file is. OSError when it cannot be read."""
    with open_regular(path) as stream:
        head = stream.read(HEAD_BYTES)
        size_bytes = stream.seek(0, 2)
        stream.seek(0)
        found = BootFile(kind_of(head, size_bytes), str(path), size_bytes)
        try:
            if found.kind is Kind.KERNEL and found.what.packer in (None, "gzip"):
                return _kernel(found, stream)
            if found.kind is Kind.PROGRAM:
                return _program(found, stream)
            if found.kind is Kind.RAMDISK and found.what.packer in (None, "gzip"):
                return _ramdisk(found, stream)
        except ValueError as error:
            return replace(found, what=Found(Kind.OTHER, str(error)))
        return found


def _kernel(found: BootFile, stream: BinaryIO) -> BootFile:
    blocks = _no_more(unpacked(stream))
    first = next(blocks)
    header = header_of(first)
    if header is None:
        raise ValueError("a kernel that is cut short")
    stated = stated_bytes(first)
    if found.what.packer is None and found.size_bytes is not None and found.size_bytes < stated:
        raise ValueError(f"an arm64 image that is cut short: {found.size_bytes} of {stated} bytes")
    seen: set[bytes] = set()
    text = configuration_of(_watched(itertools.chain((first,), blocks), seen))
    if text is None and _XEN in seen and _LINUX not in seen:
        words = Kind.XEN.value + (", packed by gzip" if found.what.packer else "")
        found = replace(found, what=Found(Kind.XEN, words, found.what.packer))
    offset, size = header
    return replace(
        found,
        text_offset=offset,
        image_size=size or None,
        is_linux=text is not None or _LINUX in seen,
        efi=first.startswith(b"MZ"),
        options=None if text is None else options_in(text),
    )


def _program(found: BootFile, stream: BinaryIO) -> BootFile:
    """Say whether an ELF file is Linux, as vmlinux is."""
    seen: set[bytes] = set()
    blocks = iter(lambda: stream.read(1 * MIB), b"")
    is_linux = any(_LINUX in seen for _ in _watched(_no_more(blocks), seen))
    return replace(found, is_linux=is_linux)


def _watched(blocks: Iterable[bytes], seen: set[bytes]) -> Iterator[bytes]:
    """Pass blocks on, and note which of the two names goes by."""
    before = b""
    for block in blocks:
        whole = before + block
        seen.update(name for name in (_LINUX, _XEN) if name in whole)
        before = whole[-len(_LINUX) :]
        yield block


def _no_more(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass on so much of a file as is looked at."""
    left = _MOST_UNPACKED_BYTES
    for block in blocks:
        yield block
        left -= len(block)
        if left <= 0:
            return


def _ramdisk(found: BootFile, stream: BinaryIO) -> BootFile:
    assert found.size_bytes is not None
    if found.what.packer is None:
        if found.size_bytes <= _WALKED_BYTES:
            _walk_archive(stream, found.size_bytes)
        return replace(found, unpacked_bytes=found.size_bytes)
    if found.size_bytes > _WALKED_BYTES:
        return found
    return replace(found, unpacked_bytes=sum(map(len, _no_more(unpacked(stream)))))


def _walk_archive(stream: BinaryIO, size_bytes: int) -> None:
    """Follow the entries of an archive, up to what is none. ValueError when one ends beyond the file.

    Linux Documentation/driver-api/early-userspace/buffer-format.rst: a header of 110 bytes, the name, the content, the
    latter two padded to 4 bytes; zeros may stand between archives.
    """
    at = 0
    while at < size_bytes:
        stream.seek(at)
        header = stream.read(110)
        if not header[:4].strip(b"\0"):
            at += 4
            continue
        if header[:6] not in (b"070701", b"070702"):
            return
        try:
            content, name = int(header[54:62], 16), int(header[94:102], 16)
        except ValueError:
            return
        end = at + align_up(110 + name, 4) + content
        if end > size_bytes:
            raise ValueError(f"a ramdisk (cpio archive) that is cut short: {size_bytes} bytes, an entry ends at {end}")
        at = align_up(end, 4)
