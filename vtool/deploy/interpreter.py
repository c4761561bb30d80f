"""The Python that vtool brings to a board that has none, or one that is too old; ``vtool down`` removes it.

It lies in a folder that is named by its digest, to which a link leads: another one takes its place in one step. What a
board's shell runs to find out, and what it is sent then. Enter at ``bring_it`` and ``answer``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vtool.base.once import once
from vtool.base.progress import Silent
from vtool.diagnostics import VtoolError, board_failed
from vtool.diagnostics.codes import declare
from vtool.images.board_python import HOME, PROGRAM
from vtool.images.build import ensure

LEAST = (3, 8)
"""What vtool-board is written for."""
WANTED, REFUSED = "python", "no python"
"""What the board's shell says when it lacks one, or has vtool's, whose digest follows; and when it cannot take it."""
_KEEP = b"keep\n"

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


def is_asked_for(said: str) -> bool:
    """Whether a board's shell asks for an interpreter."""
    return said.split()[:1] == [WANTED]


def answer(said: str) -> Iterator[bytes]:
    """Yield what a board is sent that asks for an interpreter: none if it has that, or another and none can be made."""
    there = said.split()[1:]
    try:
        interpreter = sent_interpreter()
    except VtoolError:
        if not there:
            raise
        yield _KEEP
        return
    if there == [interpreter.sha256]:
        yield _KEEP
    else:
        yield from (interpreter.head, interpreter.path.read_bytes())


def bring_it(root: str) -> str:
    """Return the shell line that asks for an interpreter where the board lacks one, or has one of vtool's.

    ``root`` comes before commands. It ends the shell where what arrives cannot be put there. A power cut leaves the one
    before, or the new one: it is on the disk before the link leads there.
    """
    # Where it is called as its version is, as Debian's is, it need not be started to say so.
    has = (
        f'test ! -x {PROGRAM} && case $(readlink -f "$(command -v python3)" 2>/dev/null) in '
        f"*/python3.[{LEAST[1]}-9] | */python3.[1-9][0-9]) ;; "
        f"*) python3 -c 'import sys; sys.exit(sys.version_info < {LEAST})' 2>/dev/null ;; esac"
    )
    take = (
        f'F=$(mktemp) && head -c $N >$F && echo "$S  $F" | sha256sum -c >/dev/null '
        f"&& {root}install -d {HOME}/$S && {root}tar -xzf $F -C {HOME}/$S && {HOME}/$S/bin/python3 -c 1 && sync "
        f"&& {root}ln -sf $S/bin/python3 {PROGRAM}.new && {root}mv -f {PROGRAM}.new {PROGRAM}"
    )
    return (
        f"{has} || {{ L=$(readlink {PROGRAM}); echo {WANTED} ${{L%%/*}}; IFS=' ' read -r S N; "
        f"test $S = keep || {{ {take}; }} || {{ echo {REFUSED}; exit 1; }}; rm -f $F; }}; "
    )


def cannot_be_brought(board: str, words: str) -> VtoolError:
    """Make the error for a board that could not take it."""
    message = f"board '{board}' has no Python {LEAST[0]}.{LEAST[1]} or newer, and could not be given vtool's"
    hint = "install python3 on the board, or look at what it says"
    return board_failed("VT459", message, hints=(hint,), detail=words.strip().splitlines()[-5:])
