"""The Python that vtool brings to a board that has none, or one that is too old: sent once, removed by ``vtool down``.

What a board's shell runs to find out, and what it is sent then. Enter at ``bring_it`` and ``sent_interpreter``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vtool.base.once import once
from vtool.base.progress import Silent
from vtool.diagnostics import VtoolError, board_failed
from vtool.diagnostics.codes import declare
from vtool.images.board_python import HOME
from vtool.images.build import ensure

LEAST = (3, 8)
"""What vtool-board is written for."""
WANTED, REFUSED = "python", "no python"
"""What the board's shell says when it lacks one, and when what it was sent cannot be used."""

declare(
    "VT459",
    what="a board has no Python, and cannot be given one",
    why="vtool-board is written in Python 3.8; a board that has none, or an older one, gets an interpreter from vtool.",
    example="a board without Python whose /var/lib is full or read-only, or that is not arm64",
    fix="Make room in /var/lib/vtool, permit what the message names, or install Python 3.8 or newer on the board.",
)


@dataclass(frozen=True)
class Interpreter:
    """A packed interpreter as it is sent: a line that says what follows, and the file."""

    sha256: str
    path: Path

    @property
    def head(self) -> bytes:
        """Return the line before it."""
        return f"{self.sha256} {self.path.stat().st_size}\n".encode()


@once
def sent_interpreter() -> Interpreter:
    """Return the interpreter, built if need be. Raises VtoolError VT5xx."""
    image = ensure(["board-python"], Silent())["board-python"]
    return Interpreter(image.sha256, image.path)


def bring_it(root: str) -> str:
    """Return the shell line that asks for an interpreter where the board lacks one; ``root`` comes before commands.

    It ends the shell where what arrives cannot be put there.
    """
    # Where it is called as its version is, as Debian's is, it need not be started to say so.
    has = (
        f'test -x {HOME}/bin/python3 || case $(readlink -f "$(command -v python3)" 2>/dev/null) in '
        f"*/python3.[{LEAST[1]}-9] | */python3.[1-9][0-9]) ;; "
        f"*) python3 -c 'import sys; sys.exit(sys.version_info < {LEAST})' 2>/dev/null ;; esac"
    )
    take = (
        f"IFS=' ' read -r S N && F=$(mktemp) && head -c $N >$F && echo \"$S  $F\" | sha256sum -c >/dev/null "
        f"&& {root}install -d {HOME}.new && {root}tar -xzf $F -C {HOME}.new && {root}mv {HOME}.new {HOME} "
        f"&& {HOME}/bin/python3 -c 1"
    )
    return f"{has} || {{ echo {WANTED}; {take} || {{ echo {REFUSED}; exit 1; }}; rm -f $F; }}; "


def cannot_be_brought(board: str, words: str) -> VtoolError:
    """Make the error for a board that could not take it."""
    message = f"board '{board}' has no Python {LEAST[0]}.{LEAST[1]} or newer, and could not be given vtool's"
    hint = "install python3 on the board, or look at what it says"
    return board_failed("VT459", message, hints=(hint,), detail=words.strip().splitlines()[-5:])
