"""Who works on the board: one at a time, as long as that one is heard of.

``hold`` keeps the lock while its standard input brings a line now and then; it ends with the connection,
or when nothing was heard for the lease. A lock therefore outlives a dead controller by the lease at most.
A line that is not empty asks for a verb, so that its owner does not pay for a start of Python each time.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .base import BoardError, read_json

LOCK = Path("/run/vtool-board.lock")
LEASE_S = 30.0


def keep(owner: dict[str, Any], answer: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """Take the lock, say so, and keep it until stdin ends or is silent for the lease; VT605 when it is taken.

    ``owner`` is ``{"token", "who", "since"}``; the time is the controller's. Each line of stdin that is not empty is
    a JSON object for ``answer``, whose result goes to stdout as one line.
    """
    with LOCK.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise taken() from None
        file.truncate(0)
        file.write(json.dumps(owner))
        file.flush()
        print(json.dumps({"held": True}), flush=True)
        heard = b""
        while select.select([0], [], [], LEASE_S)[0] and (data := os.read(0, 1 << 16)):
            *lines, heard = (heard + data).split(b"\n")
            for line in filter(None, lines):
                print(json.dumps(answer(json.loads(line))), flush=True)
        file.truncate(0)
    return {"held": False}


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
