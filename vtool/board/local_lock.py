"""The lock of a board on this machine: one process of a user works on it at a time.

It is by what the board is, not by what it is called: two inventories may name one board differently, or two boards
alike. Who reaches the board from elsewhere is kept out by the lock on the board itself (``vtool.deploy.board_lock``).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator

from vtool.base.runtime import own_runtime_folder
from vtool.board.protocols import Board
from vtool.diagnostics import board_failed


@contextlib.contextmanager
def local_lock(board: Board) -> Iterator[None]:
    """Keep other processes of this machine from a board; VtoolError VT605 says who has it and since when."""
    name = hashlib.sha256(board.identity.encode()).hexdigest()[:16]
    with (own_runtime_folder() / f"{name}.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise board_failed("VT605", f"another vtool is working on board '{board.name}' ({holder})") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {time.strftime('%H:%M:%S')}")
        lock.flush()
        yield
