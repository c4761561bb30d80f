"""The file: a tar without compression, of which every byte follows from the manifest and the members' content.

So it is read by comparing: each header has to be the one that vtool would write. What is a link, a device, absolute,
there twice or out of place is none, and nothing but what the manifest names is ever written anywhere. Enter at
``write_bundle`` and ``read_bundle``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pydantic_core
from pydantic import ValidationError

from vtool.bundle import MANIFEST, is_bundle
from vtool.bundle.failures import refused
from vtool.bundle.manifest import FORMAT, VERSION, Manifest, Member
from vtool.files.regular import open_regular, reason_of
from vtool.files.replacing import replacing
from vtool.report.summary import printable

Content = bytes | Path
MOST_MANIFEST_BYTES = 8 << 20
"""Room for some 40,000 members; what is read before anything is checked."""
MOST_BYTES = 16 << 30
_PIECE = 1 << 20
_SEAL = f"{MANIFEST}.sha256"
"""The last member: the manifest's own digest, as `sha256sum --check` reads it."""
_TYPES = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.DIRTYPE: "a folder",
    tarfile.FIFOTYPE: "a named pipe",
}


def manifest_text(manifest: Manifest) -> bytes:
    """Return a manifest's only spelling."""
    said = manifest.model_dump(mode="json", exclude_defaults=False)
    return json.dumps(said, indent=1, sort_keys=True).encode() + b"\n"


def member_of(name: str, content: Content) -> Member:
    """Describe a file of a bundle. OSError when it cannot be read, ValidationError for a name that cannot be."""
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(content):
        digest.update(piece)
        size += len(piece)
    return Member(path=name, bytes=size, digest=digest.hexdigest())


def _header(name: str, size: int) -> bytes:
    """Return what stands before a member. ValueError for a name that is too long."""
    about = tarfile.TarInfo(name)
    about.size, about.mode = size, 0o644
    return about.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")


def _end(text: bytes) -> bytes:
    """Return what comes after the members: the seal on the manifest, and the zeros that end a tar."""
    seal = f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n".encode()
    return _header(_SEAL, len(seal)) + seal + _padding(len(seal)) + bytes(2 * tarfile.BLOCKSIZE)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _pieces(content: Content) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with open_regular(content) as stream:
        while piece := stream.read(_PIECE):
            yield piece


# ---------------------------------------------------------------- writing


def write_bundle(path: Path, manifest: Manifest, contents: Mapping[str, Content]) -> str:
    """Write a bundle, whole or not at all; return its SHA-256. VtoolError VT962, VT964, VT969."""
    if path.is_symlink() or (path.exists() and not is_bundle(path)):
        raise refused("VT969", path, "is there and is no bundle, so that it is not overwritten")
    text = manifest_text(manifest)
    total = len(text) + sum(member.bytes for member in manifest.members)
    if len(text) > MOST_MANIFEST_BYTES or total > MOST_BYTES:
        raise refused("VT964", path, f"would have {len(manifest.members)} members of {total} bytes")
    digest = hashlib.sha256()
    try:
        with replacing(path) as new, new.open("wb") as file:
            for block in _blocks(path, manifest, text, contents):
                digest.update(block)
                file.write(block)
    except OSError as error:
        raise refused("VT969", path, f"cannot be written: {reason_of(error)}") from None
    return digest.hexdigest()


def _blocks(path: Path, manifest: Manifest, text: bytes, contents: Mapping[str, Content]) -> Iterator[bytes]:
    yield _header(MANIFEST, len(text)) + text + _padding(len(text))
    for member in manifest.members:
        yield _header(member.path, member.bytes)
        digest = hashlib.sha256()
        for piece in _pieces(contents[member.path]):
            digest.update(piece)
            yield piece
        if digest.hexdigest() != member.digest:
            raise refused("VT962", path, f"'{member.path}' changed while it was read")
        yield _padding(member.bytes)
    yield _end(text)


# ---------------------------------------------------------------- reading


def read_bundle(path: Path, places: Callable[[Manifest], Mapping[str, Path]]) -> Manifest:
    """Check a whole bundle and write those members that ``places`` wants to where it says; return the manifest.

    Its places are new files, in folders that nobody else writes to. What is wrong is said after some were written:
    VtoolError VT100, VT960 to VT964, VT969.
    """
    try:
        stream = open_regular(path)
    except OSError as error:
        raise refused("VT100", path, f"cannot be read: {reason_of(error)}") from None
    with stream:
        text, manifest = _read_manifest(path, stream)
        wanted = places(manifest)
        seen: set[str] = set()
        for member in manifest.members:
            _require_header(path, stream, member, manifest, seen)
            seen.add(member.path)
            _take(path, stream, member, wanted.get(member.path))
        _require_end(path, stream, _end(text))
        if stream.read(1):
            raise refused("VT963", path, "something comes after its end")
    return manifest


def _read_manifest(path: Path, stream: BinaryIO) -> tuple[bytes, Manifest]:
    head = stream.read(tarfile.BLOCKSIZE)
    name = MANIFEST.encode() + b"\0"
    if not head.startswith(name):
        raise refused("VT960", path, "is no bundle", hints=("vtool bundle TOPOLOGY -o FILE makes one",))
    if len(head) < tarfile.BLOCKSIZE:
        raise refused("VT963", path, "is cut short in its first header")
    try:
        size = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape").size
    except tarfile.HeaderError as error:
        raise refused("VT961", path, f"the first header is damaged: {error}") from None
    if not 0 <= size <= MOST_MANIFEST_BYTES:
        raise refused("VT964", path, f"its manifest has {size} bytes, at most {MOST_MANIFEST_BYTES} are read")
    if head != _header(MANIFEST, size):
        raise refused("VT961", path, "the first header is not as vtool writes it")
    text = stream.read(size)
    if len(text) < size:
        raise refused("VT963", path, "is cut short in its manifest")
    manifest = _understood(path, text)
    total = sum(member.bytes for member in manifest.members)
    if total > MOST_BYTES:
        raise refused("VT964", path, f"its members have {total} bytes, at most {MOST_BYTES} are read")
    _require(path, stream, _padding(size), f"'{MANIFEST}'")
    return text, manifest


def _understood(path: Path, text: bytes) -> Manifest:
    """Return what a manifest says. VtoolError VT960 for another version, VT961 for one that no vtool wrote."""
    try:
        said = pydantic_core.from_json(text)
    except ValueError as error:
        raise refused("VT961", path, f"its manifest is not JSON: {error}") from None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise refused("VT960", path, f"is not of format {FORMAT}")
    if said.get("version") != VERSION or isinstance(said["version"], bool):
        hints = (f"vtool {printable(said['vtool'][:40])} wrote it",) if isinstance(said.get("vtool"), str) else ()
        shown = printable(repr(said.get("version"))[:40])
        raise refused("VT960", path, f"is a bundle of version {shown}, this vtool reads {VERSION}", hints=hints)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise refused("VT961", path, f"its manifest is damaged: {_told(error)}") from None
    if faults := manifest.faults():
        raise refused("VT961", path, f"its manifest is damaged: {printable(faults[0])}", detail=faults[1:4])
    if manifest_text(manifest) != text:
        raise refused("VT961", path, "its manifest is not as vtool writes it")
    return manifest


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return printable(f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:300])


def _require(path: Path, stream: BinaryIO, wanted: bytes, what: str) -> None:
    found = stream.read(len(wanted))
    if found != wanted:
        words = "something comes after" if len(found) == len(wanted) else "is cut short after"
        raise refused("VT963", path, f"{words} {what}")


def _require_end(path: Path, stream: BinaryIO, wanted: bytes) -> None:
    """Raise VT962 for another member, VT961 for another seal, VT963 for less than all of it."""
    found = stream.read(len(wanted))
    if found == wanted:
        return
    if found == wanted[: len(found)]:
        raise refused("VT963", path, "is cut short at its end")
    if found[: tarfile.BLOCKSIZE] == wanted[: tarfile.BLOCKSIZE]:
        raise refused("VT961", path, "its manifest is not the one that was written, or the end is damaged")
    with contextlib.suppress(tarfile.HeaderError):
        name = tarfile.TarInfo.frombuf(found[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape").name
        raise refused("VT962", path, f"'{printable(name)[:200]}' is not in its manifest")
    raise refused("VT963", path, "something else comes after its members")


def _require_header(path: Path, stream: BinaryIO, member: Member, manifest: Manifest, seen: set[str]) -> None:
    """Raise VT962 or VT963, with what stands there instead, unless a member's header is the one vtool writes."""
    found = stream.read(tarfile.BLOCKSIZE)
    try:
        wanted = _header(member.path, member.bytes)
    except ValueError:
        raise refused("VT961", path, f"the name '{member.path}' is too long") from None
    if found == wanted:
        return
    if len(found) < tarfile.BLOCKSIZE or not found.strip(b"\0"):
        raise refused("VT963", path, f"is cut short before '{member.path}'")
    try:
        about = tarfile.TarInfo.frombuf(found, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise refused("VT962", path, f"no header stands where '{member.path}' should begin") from None
    name = printable(about.name)[:200]
    if about.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        what = f"'{name}' is {_TYPES.get(about.type, 'no plain file')}"
    elif about.name in seen:
        what = f"'{name}' is there twice"
    elif about.name not in {known.path for known in manifest.members}:
        what = f"'{name}' is not in its manifest"
    elif about.name != member.path:
        what = f"'{name}' stands where '{member.path}' should be"
    elif about.size != member.bytes:
        what = f"'{name}' has {about.size} bytes, and {member.bytes} by the manifest"
    else:
        what = f"'{name}' has another owner, mode or time than vtool writes"
    raise refused("VT962", path, what)


def _take(path: Path, stream: BinaryIO, member: Member, place: Path | None) -> None:
    """Read one member's content, and write it to its place if it has one."""
    digest, left = hashlib.sha256(), member.bytes
    try:
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") if place is not None else contextlib.nullcontext() as file:
            while left:
                piece = stream.read(min(left, _PIECE))
                if not piece:
                    raise refused("VT963", path, f"is cut short in '{member.path}'")
                digest.update(piece)
                left -= len(piece)
                if file is not None:
                    file.write(piece)
    except OSError as error:
        raise refused("VT969", path, f"'{member.path}' cannot be unpacked: {reason_of(error)}") from None
    if digest.hexdigest() != member.digest:
        raise refused("VT962", path, f"the content of '{member.path}' is not what its manifest says")
    _require(path, stream, _padding(member.bytes), f"'{member.path}'")
