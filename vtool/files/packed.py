"""Packed files, read as what is in them. Enter at ``unpacking``."""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from vtool.files.regular import open_regular

_PIECE_BYTES = 256 << 10


def _gzip(stream: IO[bytes]) -> IO[bytes]:
    import gzip  # noqa: PLC0415 - seldom met, as the others

    return cast("IO[bytes]", gzip.GzipFile(fileobj=stream))


def _bzip2(stream: IO[bytes]) -> IO[bytes]:
    import bz2  # noqa: PLC0415

    return bz2.BZ2File(stream)


def _lzma(stream: IO[bytes]) -> IO[bytes]:
    import lzma  # noqa: PLC0415

    return lzma.LZMAFile(stream)


class _Frames(io.RawIOBase):
    """What zstd packed, frame by frame; its own reader takes a frame that is cut short for a whole one."""

    def __init__(self, stream: IO[bytes]) -> None:
        import zstandard  # noqa: PLC0415 - Python has its own from 3.14 on (compression.zstd)

        self._stream, self._new = stream, zstandard.ZstdDecompressor().decompressobj
        self._frame, self._packed, self._ready = self._new(), b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            packed = self._packed or self._stream.read(_PIECE_BYTES)
            if not packed:
                if not self._frame.eof:
                    raise EOFError
                return 0
            if self._frame.eof:
                self._frame = self._new()
            self._ready = memoryview(self._frame.decompress(packed))
            self._packed = self._frame.unused_data if self._frame.eof else b""
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _zstd(stream: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", io.BufferedReader(_Frames(stream), _PIECE_BYTES))


READERS: Mapping[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "gzip": _gzip,
    "bzip2": _bzip2,
    "xz": _lzma,
    "lzma": _lzma,
    "zstd": _zstd,
}
"""Of the packers of ``vtool.files.kinds``, those that vtool unpacks."""


@contextlib.contextmanager
def unpacking(path: Path, packer: str | None) -> Iterator[IO[bytes]]:
    """Open a file as what is packed in it. ValueError when that is damaged or cut short; OSError when unreadable."""
    with open_regular(path) as stream:
        if packer is None:
            yield stream
            return
        try:
            with READERS[packer](stream) as inner:
                yield inner
        except EOFError:
            raise ValueError(f"a {packer} file that is cut short") from None
        except (zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(f"a damaged {packer} file") from None
        except Exception as error:  # LZMAError and ZstdError, whose modules are not read for it
            if type(error).__name__ not in ("LZMAError", "ZstdError"):
                raise
            raise ValueError(f"a damaged {packer} file") from None
