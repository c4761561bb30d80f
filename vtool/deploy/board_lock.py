"""One vtool at a board at a time: a lock on the board itself, kept by a connection that stays open.

The process that keeps the lock runs vtool-board's other verbs when asked: a deploy needs one connection and one start
of Python on the board, and one more of each after a boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import queue
import secrets
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vtool.board.protocols import Board, SshTarget
from vtool.board.reaching import no_answer, refusal
from vtool.deploy.asking import IF_THERE, NOT_THERE, ON_BOARD, board_json, checked, not_deployed
from vtool.deploy.board_program import sent_program
from vtool.deploy.connection import ssh_command
from vtool.deploy.on_board.lock import PIPE_BYTES
from vtool.diagnostics import VtoolError

_HEARTBEAT_S = 5.0
_CONNECT_S = 20.0
Piece = bytes | memoryview
_OWNED = ("apply", "confirm", "revert", "rollback", "keep", "reboot", "clean")


@dataclass(frozen=True)
class Held:
    """A board that is ours: the token its program asks for, who and when.

    ``process`` is the connection: what ``vtool-board hold`` reads and says.
    """

    board: Board
    token: str
    who: str
    since: str
    process: subprocess.Popen[bytes]
    said: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    writing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def _owner(self) -> list[str]:
        return ["--lock", self.token, "--by", self.who, "--at", self.since]

    def run(
        self, verb: str, *words: str, stdin: str | Iterable[Piece] = "", timeout_s: float = 180.0
    ) -> dict[str, Any]:
        """Run a verb of vtool-board in the process that holds the board. Raises VtoolError of what it says, VT603.

        ``stdin`` is a text or, for what is large, pieces of bytes; the time that they take to send is not counted.
        """
        line = [verb, *words, *(self._owner if verb in _OWNED else ())]
        text, pieces = (stdin, None) if isinstance(stdin, str) else (None, stdin)
        request = {"id": secrets.token_hex(4), "words": line, "stdin": text}
        self._tell(json.dumps(request).encode() + b"\n", pieces)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                text = self.said.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise no_answer(self.board, timeout_s, f"'vtool-board {verb}' did not end") from None
            if not text:
                self.said.put("")  # so it is for whoever asks next
                assert self.process.stderr is not None
                last = self.process.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
                why = f": {last[0]}" if last else ""
                raise no_answer(self.board, timeout_s, f"the connection that holds it ended{why}")
            answer = board_json(text, "")
            if answer.get("id") == request["id"]:  # an earlier one may have come too late
                return checked(answer["said"])

    def _tell(self, line: bytes, pieces: Iterable[Piece] | None) -> None:
        """Send a request, and what follows it; a connection that ended says so when the answer is read."""
        if pieces is None:
            self.write(line)
            return
        going = self.write(line, flush=False)
        try:
            for piece in filter(len, pieces):  # an empty one would be the end
                going = going and self.write(b"%x\n" % len(piece), piece, flush=False)
                if not going:
                    return
        finally:
            self.write(b"0\n")

    def write(self, *pieces: Piece, flush: bool = True) -> bool:
        """Send bytes to the process that holds the board; return whether it is still there to read them."""
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

    def listen(self) -> None:
        """Take what the process says, line by line, and an empty text when it ends."""
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in self.process.stdout:
                self.said.put(line.decode(errors="replace"))
        self.said.put("")


def _install(target: SshTarget) -> str:
    """Return the command line that puts the program there; sudo permits one name beside it, root needs none."""
    root, new = "".join(f"{word} " for word in target.escalation), "$P.new" if target.escalation else "$P.$$"
    return (
        f"P={ON_BOARD}; printf %s {sent_program()} | base64 -d | gzip -d "
        f"| {root}install -m 0755 /dev/stdin {new} && {root}mv {new} $P"
    )


@contextlib.contextmanager
def hold(board: Board, *, if_there: bool = False) -> Iterator[Held]:
    """Put the board's program there and hold the board; VtoolError VT605 says who has it and since when.

    With ``if_there`` a board that vtool never deployed to is left as it is (VT703).
    The lock ends with this block, with this process, or a lease after the connection went silent.
    """
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    token = secrets.token_hex(8)
    target = board.ssh()
    owner = json.dumps({"token": token, "who": who, "since": since})
    hold_it = shlex.join([*target.escalation, ON_BOARD, "hold", owner])
    command = f"{IF_THERE if if_there else ''}{_install(target)} && exec {hold_it}"
    process = subprocess.Popen(
        [*ssh_command(target), command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=1 << 18,
        start_new_session=True,  # Ctrl-C is for vtool, which lets go when it has cleaned up
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    with contextlib.suppress(OSError):  # one of many may get no more
        fcntl.fcntl(process.stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    held = Held(board, token, who, since, process)
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(held, stop), daemon=True)
    listener = threading.Thread(target=held.listen, daemon=True)
    try:
        said = process.stdout.readline()
        if not said:
            words = process.stderr.read().decode(errors="replace").strip()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            raise _refused(board, words, process.returncode)
        board_json(said.decode(errors="replace"), "")
        beat.start()
        listener.start()
        yield held
    finally:
        stop.set()
        with contextlib.suppress(OSError):
            process.stdin.close()
        if listener.is_alive():
            listener.join(5)  # it ends with what it listens to, and wait() would look for that now and then
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def _beat(held: Held, stop: threading.Event) -> None:
    """Say now and then that this vtool lives."""
    while not stop.wait(_HEARTBEAT_S):
        if not held.write(b"\n"):
            return


def _refused(board: Board, words: str, code: int | None) -> VtoolError:
    if code == NOT_THERE:
        return not_deployed(board)
    return refusal(board, words, _CONNECT_S)
