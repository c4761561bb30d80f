"""Files of a boot set that are the board's own: its kernel and ramdisk, copied from where its own system has them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .base import BoardError, sha256_of
from .typed import IO, Any, BinaryIO


def digests(generation: dict[str, Any]) -> set[str]:
    """Return the digests of what nobody has to send."""
    return {str(file["sha256"]) for file in generation["files"] if "own" in file}


def take(generation: dict[str, Any], store: Path) -> None:
    """Copy into the store what it lacks of the board's own files, a packed kernel unpacked.

    Raises VT455 for one that is not what it was when the generation was made.
    """
    store.mkdir(parents=True, exist_ok=True)
    for file in generation["files"]:
        digest = str(file["sha256"])
        if "own" not in file or sha256_of(store / digest) == digest:
            continue
        source, temporary = Path(file["own"]["path"]), store / f"{digest}.partial"
        try:
            with source.open("rb") as stream, temporary.open("wb") as out:
                found = _copy(stream, out, packed=file["own"]["packed"])
            if found != digest:
                message = f"{source} changed while it was taken for '{file['name']}'"
                raise BoardError("VT455", message, ["deploy again"])
            temporary.rename(store / digest)
        finally:
            if temporary.exists():
                temporary.unlink()


def _copy(stream: BinaryIO, out: IO[bytes], *, packed: bool) -> str:
    """Copy a file, unpacked if it is packed; return the digest of what that came to."""
    digest = hashlib.sha256()
    blocks = iter(lambda: stream.read(1 << 20), b"")
    if packed:
        from .kernel_image import unpacked  # it imports typing: few boards' kernels are packed

        blocks = unpacked(stream)
    try:
        for block in blocks:
            digest.update(block)
            out.write(block)
    except ValueError:  # it is damaged by now
        return ""
    return digest.hexdigest()
