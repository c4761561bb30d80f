"""What is wrong with a bundle: codes that more than one module gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vtool.diagnostics import Diagnostic, VtoolError
from vtool.diagnostics.codes import declare

declare(
    "VT960",
    what="this is no bundle that vtool reads",
    why="What another version wrote may mean something else.",
    example="a topology given to vtool bundle --check",
    fix="Name a file that vtool bundle wrote; read it with the vtool that made it, or with a newer one.",
)
declare(
    "VT961",
    what="the manifest of a bundle is damaged, or no vtool wrote it",
    why="A bundle comes from elsewhere: a name in it that is absolute or has `..` would be written to anywhere.",
    example='"path": "files/../../.ssh/authorized_keys"',
    fix="Get the file again, from somebody whom you trust.",
)
declare(
    "VT962",
    what="a member of a bundle is not what its manifest says",
    why="Every byte of a bundle is in its manifest. Links, devices, other names and other content are not.",
    example="a bundle into which tar put another file",
    fix="Get the file again. To change a lab, unpack it, change the topology, and make a bundle of that.",
)
declare(
    "VT963",
    what="a bundle is cut short, or something comes after its end",
    why="Only a whole file says that nothing is missing.",
    example="a download that was interrupted",
    fix="Get the file again.",
)
declare(
    "VT964",
    what="a bundle is larger than vtool makes or reads",
    why="A file from elsewhere could fill the disk.",
    example="a member of 9 GiB",
    fix="Leave the images out: make it without --with-images.",
)
declare(
    "VT969",
    what="a bundle cannot be written, or not be unpacked",
    why="The disk is full, the folder is not the user's, or the name belongs to something else.",
    example="vtool bundle pair.yaml -o pair.yaml",
    fix="Make room, or write to another file.",
)


def refused(code: str, path: Path, what: str, *, hints: Sequence[str] = (), detail: Sequence[str] = ()) -> VtoolError:
    """Make the error for a bundle as a whole."""
    return VtoolError(Diagnostic(code, f"'{path}': {what}", hints=tuple(hints), detail=tuple(detail)))
