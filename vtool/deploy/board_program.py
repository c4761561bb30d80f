"""vtool-board in one file: as a generation has it, and as it is installed on a board that is to be held."""

from __future__ import annotations

import gzip
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from vtool.base.once import once
from vtool.files import kernel_image
from vtool.images.board_python import PROGRAM

SOURCES = Path(__file__).with_name("on_board")
KERNEL_IMAGE = Path(kernel_image.__file__)
"""Read alike on both sides."""
_START = f"""\
#!/bin/sh
P={PROGRAM}; if [ -x $P ]; then PATH=$PATH:${{P%/*}}; else P=python3; fi; exec $P -IS "$0" "$@"
""".encode()
"""By the Python that vtool brought, else by the board's own."""


@dataclass(frozen=True)
class Sent:
    """A program as it is sent: ``packed`` by gzip, with the digest of what that becomes."""

    sha256: str
    packed: bytes


@once
def board_program() -> bytes:
    """Pack vtool-board into one executable file (a zipapp); the same sources give the same bytes."""
    sources = {f"on_board/{path.name}": path.read_bytes() for path in sorted(SOURCES.glob("*.py"))}
    sources["on_board/kernel_image.py"] = KERNEL_IMAGE.read_bytes()
    start = sources.pop("on_board/__main__.py")
    sources |= {"modules": "\n".join(sources).encode(), "__main__.py": start}
    program = io.BytesIO(_START)
    program.seek(0, io.SEEK_END)
    with zipfile.ZipFile(program, "a") as archive:  # not compressed: another zlib would make other bytes
        for name, source in sources.items():
            archive.writestr(zipfile.ZipInfo(name), source)
    return program.getvalue()


@once
def sent_program() -> Sent:
    """Return the program as it is sent to a board that does not have it."""
    program = board_program()
    return Sent(hashlib.sha256(program).hexdigest(), gzip.compress(program, mtime=0))
