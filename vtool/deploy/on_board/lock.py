"""Who works on the board: one at a time, as long as that one is heard of.

``hold`` keeps the lock while its standard input brings a line now and then; it ends with the connection,
or when nothing was heard for the lease. A lock therefore outlives a dead controller by the lease at most.
Who is gone while a verb of theirs still works keeps the lock until it ends; somebody else waits for that then.
A line that is not empty asks for a verb, so that its owner does not pay for a start of Python each time. What such
a verb reads may follow its line in pieces: how many bytes, in hexadecimal, on a line; the bytes; at the end a zero.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .base import BoardError, read_json, replace_file
from .typed import IO, Any

LOCK = Path("/run/vtool-board.lock")
GONE = Path("/run/vtool-board.gone")
"""The token of the last owner whose connection ended."""
LEASE_S = 30.0
F_SETPIPE_SZ = 1031
"""Of Linux's <linux/fcntl.h>: Python's fcntl has had it since 3.10."""
PIPE_BYTES = 1 << 20
"""Linux's most for one pipe of an ordinary user (pipe(7)): when it is full, ssh waits for Python, or sshd does."""
LAST_VERB_S = 120.0
"""So long somebody waits for what is left of a vtool that is gone."""


class Heard:
    """What the owner sends: lines, and between them bytes."""

    def __init__(self, lease_s: float | None = LEASE_S) -> None:
        self._bytes = bytearray()
        self._lease_s = lease_s

    def is_heard(self) -> bool:
        """Whether the owner says something, or has gone, within the lease; for ever without one."""
        return bool(select.select([0], [], [], self._lease_s)[0])

    def line(self) -> bytes:
        """Return the next line that is not empty, without its end; nothing once the owner is gone."""
        while True:
            end = self._bytes.find(b"\n")
            if end < 0:
                data = os.read(0, 1 << 16) if self.is_heard() else b""
                if not data:
                    return b""
                self._bytes += data
                continue
            line = bytes(self._bytes[:end])
            del self._bytes[: end + 1]
            if line:
                return line

    def readinto(self, buffer: memoryview) -> int:
        """Take bytes as they come, at most as many as fit; none once the owner is gone."""
        if not self._bytes:
            return os.readv(0, [buffer]) if self.is_heard() else 0
        size = min(len(buffer), len(self._bytes))
        buffer[:size] = self._bytes[:size]
        del self._bytes[:size]
        return size


class Data(io.RawIOBase):
    """The pieces that follow a request, read as one stream; a stream that ends early ends as one that is whole."""

    def __init__(self, heard: Heard) -> None:
        self._heard, self._left, self._ended = heard, 0, False

    def readable(self) -> bool:
        """Whether it can be read: always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes; none at the end."""
        if self._left == 0 and not self._ended:
            self._left = int(self._heard.line() or b"0", 16)
            self._ended = self._left == 0
        size = self._heard.readinto(memoryview(buffer)[: self._left]) if self._left else 0
        self._ended, self._left = self._ended or not size, self._left - size
        return size

    def skip(self) -> None:
        """Read what is left, so that the next line is a line again."""
        while not self._ended:
            self.readinto(bytearray(1 << 16))


def keep(owner: dict[str, Any], answer: Callable[[dict[str, Any], io.RawIOBase], dict[str, Any]]) -> dict[str, Any]:
    """Take the lock, say so, and keep it until stdin ends or is silent for the lease; VT605 when somebody has it.

    ``owner`` is ``{"token", "who", "since"}``; the time is the controller's. Its ``lease_s`` may be another than ours,
    or null: on a board whose time is no time of the controller's. Each line of stdin that is not empty is
    a JSON object for ``answer``, whose result goes to stdout as one line; pieces follow it if its ``stdin`` is null.
    """
    with LOCK.open("a+") as file:
        take(file)
        file.truncate(0)
        file.write(json.dumps(owner))
        file.flush()
        threading.Thread(target=say_when_gone, args=(owner["token"],), daemon=True).start()
        print(json.dumps({"held": True}), flush=True)
        with contextlib.suppress(OSError):  # a socket, or no more is allowed: sshd then has to wait more often
            fcntl.fcntl(0, F_SETPIPE_SZ, PIPE_BYTES)
        heard = Heard(owner.get("lease_s", LEASE_S))
        while line := heard.line():
            request, data = json.loads(line), Data(heard)
            said = answer(request, data)
            if request["stdin"] is None:
                data.skip()
            print(json.dumps(said), flush=True)
        file.truncate(0)
    return {"held": False}


def take(file: IO[str]) -> None:
    """Take the lock, as soon as what a vtool that is gone began has ended; VT605 when its owner is there."""
    deadline = time.monotonic() + LAST_VERB_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            found = holder()
            if found is not None and not (is_gone(found["token"]) and time.monotonic() < deadline):
                raise taken() from None
            time.sleep(0.1)  # polling a lock that has no queue; the loop has the deadline
        else:
            return


def say_when_gone(token: str) -> None:
    """Wait until nobody can write to stdin any more, whatever a verb does meanwhile, and write that down."""
    poll = select.poll()
    poll.register(0, select.POLLRDHUP)
    poll.poll()
    replace_file(GONE, token.encode())


def is_gone(token: str) -> bool:
    """Whether the owner of a lock is known to have gone away."""
    return GONE.exists() and GONE.read_text() == token


def holder() -> dict[str, Any] | None:
    """Return who holds the lock now, or None."""
    try:
        with LOCK.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except OSError:
        return read_json(LOCK) or {"token": "", "who": "somebody", "since": "?"}
    return None


def require(token: str) -> None:
    """Raise VT605 when somebody holds the board whose token is another one."""
    found = holder()
    if found is not None and found["token"] != token:
        raise taken()


def taken() -> BoardError:
    """Make the error that says who has the board and since when."""
    found = holder() or {"who": "somebody", "since": "?"}
    return BoardError(
        "VT605",
        f"another vtool is working on this board: {found['who']}, since {found['since']}",
        [f"wait for it; a lock whose owner is gone ends by itself within {LEASE_S:.0f} s"],
    )
