"""A board that is reached: one ssh connection, which says what booted and stays open for what comes next.

Everything that a deploy asks of a board goes through it; ``vtool.deploy.board_lock`` holds the board with it. Enter at
``reach``.
"""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from vtool.board.protocols import Board
from vtool.board.reaching import refusal
from vtool.deploy.connection import ssh_command
from vtool.deploy.on_board.lock import PIPE_BYTES
from vtool.diagnostics import VtoolError, not_installed

Piece = bytes | memoryview
_BOOTED = ("/proc/sys/kernel/random/boot_id", "/proc/cmdline")
_CONNECT_S = 20.0
_GO_ON = 'IFS= read -r LINE && eval "$LINE"'


@dataclass(frozen=True)
class Reached:
    """A board's running system: its boot id, and the generation of vtool's that booted (empty: none).

    ``process`` is the connection. The shell at its other end waits for one line to go on with.
    """

    board: Board
    process: subprocess.Popen[bytes]
    boot_id: str
    generation: str
    writing: threading.Lock = field(default_factory=threading.Lock)

    def write(self, *pieces: Piece, flush: bool = True) -> bool:
        """Send bytes; return whether the other end is still there to read them."""
        assert self.process.stdin is not None
        try:
            with self.writing:
                for piece in pieces:
                    self.process.stdin.write(piece)
                if flush:
                    self.process.stdin.flush()
        except (OSError, ValueError):
            return False
        return True

    def line(self) -> str:
        """Return the next line of what it says; empty once it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode(errors="replace")

    def words(self) -> str:
        """Return what it said on standard error, once it has ended."""
        return _words(self.process)

    def refusal(self) -> VtoolError:
        """Make the error for a connection that ended, of what it said then."""
        return refusal(self.board, self.words(), _CONNECT_S)

    def cut(self) -> None:
        """End the connection, so that whoever waits for an answer does not any more."""
        self.process.kill()

    def close(self) -> None:
        """Tell the other end that nothing follows."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()


@contextlib.contextmanager
def reach(board: Board) -> Iterator[Reached]:
    """Connect to a board until the end of the block. Raises VtoolError VT501, VT602, VT603, VT604."""
    command = [*ssh_command(board.ssh()), f"cat {' '.join(_BOOTED)} && {_GO_ON}"]
    pipe = subprocess.PIPE
    try:
        # Ctrl-C is for vtool, which lets go when it has cleaned up.
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=1 << 18, start_new_session=True
        )
    except (FileNotFoundError, PermissionError):
        raise not_installed("ssh") from None
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    with contextlib.suppress(OSError):  # one of many may get no more
        fcntl.fcntl(process.stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    try:
        boot_id, line = (process.stdout.readline().decode(errors="replace") for _ in _BOOTED)
        if not line.endswith("\n"):
            raise refusal(board, _words(process), _CONNECT_S)
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        yield Reached(board, process, boot_id.strip(), words.get("vtool.generation", ""))
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def _words(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace").strip()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    return said
