"""What a board's own system was started with: the kernel that runs now, and its ramdisk, found on the board.

A file is the running kernel when it has that kernel's banner, which names its build (Linux init/version.c). A ramdisk
is found by its name, which is the distribution's (Debian's, Fedora's, Yocto's): Linux keeps nothing of it.
Enter at ``own_system``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vtool.board.protocols import Commands
from vtool.diagnostics import VtoolError, board_failed
from vtool.diagnostics.codes import declare
from vtool.files.kernel_image import header_of, options_in

_SCRIPT = Path(__file__).with_name("own_system.sh")
_LOOK_S = 300.0

declare(
    "VT455",
    what="what a board runs now cannot be taken",
    why=(
        "`kernel: board` takes the file of the kernel that runs, which its banner tells, and the ramdisk of that "
        "release: from the board's own /boot."
    ),
    example="a kernel package that was upgraded and not booted yet, or a kernel that lies on no file system of Linux",
    fix="Boot the board's own system (vtool down), reboot it after an upgrade, or name the files in the topology.",
)


@dataclass(frozen=True)
class OwnFile:
    """A file that is on the board: what is in it once it is unpacked, if it is ``packed``; sizes are in bytes.

    ``head`` are the first bytes of a kernel, with its header.
    """

    path: str
    sha256: str
    size_bytes: int
    packed: bool = False
    head: bytes = b""

    @property
    def header(self) -> tuple[int, int] | None:
        """Return a kernel's text_offset and image_size."""
        return header_of(self.head)


@dataclass(frozen=True)
class OwnSystem:
    """A board's own kernel and ramdisk; the latter is None where there is none.

    ``options`` are those that the kernel was built with, None where nothing tells.
    """

    release: str
    kernel: OwnFile
    ramdisk: OwnFile | None
    options: Mapping[str, str] | None = None


def own_system(board: str, commands: Commands) -> OwnSystem:
    """Find what a board runs now. Raises VtoolError VT455 when it cannot be found, and those of ssh."""
    said = commands.run(commands.as_root("/bin/sh", "-c", _SCRIPT.read_text()), timeout_s=_LOOK_S)
    rows = [line.split(" ", 1) for line in said.stdout.splitlines() if " " in line]
    told = dict(rows)
    if said.code != 0 or "release" not in told:
        raise _not_found(board, "it does not tell", tuple((said.stdout + said.stderr).splitlines()[-5:]))
    release = told["release"]
    if "kernel" not in told:
        others = tuple(value for key, value in rows if key == "other")
        if any(path.endswith(f"-{release}") for path in others):
            why = f"what lies under the name of its kernel {release} is another build"
            raise _not_found(board, why, others, "it was upgraded: reboot the board, and deploy again")
        raise _not_found(board, f"no file in /boot is the kernel that runs, {release}", others)
    if "ramdisk" not in told and "ramdisk-given" in told and "of-vtool" not in told:
        raise _not_found(board, f"its kernel {release} was started with a ramdisk that is not in /boot", ())
    ramdisk = _file(told["ramdisk"]) if "ramdisk" in told else None
    options = options_in("\n".join(value for key, value in rows if key == "option"))
    return OwnSystem(release, _file(told["kernel"]), ramdisk, options or None)


def _file(row: str) -> OwnFile:
    """Read a row: digest, size, how it is packed, the first bytes in hexadecimal, path."""
    digest, size, packed, head, path = row.split(" ", 4)
    return OwnFile(path, digest, int(size), packed == "gzip", bytes.fromhex(head))


def _not_found(board: str, why: str, detail: tuple[str, ...], *hints: str) -> VtoolError:
    own = "vtool down makes the board run its own system again" if not hints else hints[0]
    message = f"board '{board}' cannot be given what it runs now: {why}"
    return board_failed("VT455", message, hints=(own, "or name the files: `kernel`, `ramdisk`"), detail=detail)
