"""One vtool at a board at a time: a lock on the board itself, kept by a connection that stays open.

The process that keeps the lock runs vtool-board's other verbs when asked: a deploy needs one connection and one start
of Python on the board, and one more of each after a boot.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import queue
import secrets
import shlex
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from vtool.board.protocols import Board, BoardClock, CommandResult, SshTarget
from vtool.board.reaching import no_answer
from vtool.deploy.asking import IF_THERE, NOT_THERE, ON_BOARD, board_json, checked, not_deployed
from vtool.deploy.board_program import Sent, sent_program
from vtool.deploy.interpreter import REFUSED, answer, bring_it, cannot_be_brought, is_asked_for
from vtool.deploy.reached import Piece, Reached, reach
from vtool.diagnostics import board_failed

_HEARTBEAT_S = 5.0
_OWNED = (
    *("apply", "confirm", "revert", "rollback", "keep", "reboot", "clean"),
    *("start_uplinks", "release_uplinks"),
)
_SEND = "send"
"""What the board's shell says when it lacks the program."""
_NO_SYSTEMD = "no systemd"
_SYSTEMD = f"test -d /run/systemd/system || {{ echo {_NO_SYSTEMD}; exit 1; }}; "
"""What it looks at before anything is put there (sd_booted(3))."""


@dataclass(frozen=True)
class Held:
    """A board that is ours: the token its program asks for, who and when.

    ``reached`` is the connection: what ``vtool-board hold`` reads and says.
    """

    reached: Reached
    token: str
    who: str
    since: str
    said: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)

    @property
    def _owner(self) -> list[str]:
        return ["--lock", self.token, "--by", self.who, "--at", self.since]

    def run(
        self, verb: str, *words: str, stdin: str | Iterable[Piece] = "", timeout_s: float = 180.0
    ) -> dict[str, Any]:
        """Run a verb of vtool-board in the process that holds the board. Raises VtoolError of what it says, VT603.

        ``stdin`` is a text or, for what is large, pieces of bytes; the time that they take to send is not counted. A
        board that is slow has longer than ``timeout_s``, as its patience says.
        """
        timeout_s *= self.reached.board.patience
        board, line = self.reached.board, [verb, *words, *(self._owner if verb in _OWNED else ())]
        text, pieces = (stdin, None) if isinstance(stdin, str) else (None, stdin)
        request = {"id": secrets.token_hex(4), "words": line, "stdin": text}
        self._tell(json.dumps(request).encode() + b"\n", pieces)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                text = self.said.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise no_answer(board, timeout_s, f"'vtool-board {verb}' did not end") from None
            if not text:
                self.said.put("")  # so it is for whoever asks next
                last = self.reached.words().splitlines()[-1:]
                why = f": {last[0]}" if last else ""
                raise no_answer(board, timeout_s, f"the connection that holds it ended{why}")
            answer = board_json(text, "")
            if answer.get("id") == request["id"]:  # an earlier one may have come too late
                return checked(answer["said"])

    def _tell(self, line: bytes, pieces: Iterable[Piece] | None) -> None:
        """Send a request, and what follows it; a connection that ended says so when the answer is read."""
        if pieces is None:
            self.reached.write(line)
            return
        going = self.reached.write(line, flush=False)
        try:
            for piece in filter(len, pieces):  # an empty one would be the end
                going = going and self.reached.write(b"%x\n" % len(piece), piece, flush=False)
                if not going:
                    return
        finally:
            self.reached.write(b"0\n")

    def listen(self) -> None:
        """Take what the process says, line by line, and an empty text when it ends."""
        with contextlib.suppress(ValueError):
            while line := self.reached.line():
                self.said.put(line)
        self.said.put("")


class HeldCommands:
    """Commands on a board that is held, where everything is root's."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def as_root(self, *words: str) -> str:
        """Return the command line that runs a program."""
        return shlex.join(words)

    def run(self, command: str, *, timeout_s: float = 60.0) -> CommandResult:
        """Run a command and collect what it says. VtoolError VT603, VT704."""
        step = {"op": "run", "id": "run", "command": command, "timeout_s": timeout_s}
        answer = self._held.run(
            "observe",
            stdin=json.dumps({"steps": [step], "patience": self._held.reached.board.patience}),
            timeout_s=timeout_s + _HEARTBEAT_S,
        )
        said = checked(answer["results"]["run"])
        return CommandResult(said["code"], said["output"], said["errors"])


def _send_interpreter(reached: Reached, asked: str) -> str:
    """Send the board a Python if it is to have another, and return what it says next. VtoolError VT459, VT5xx."""
    reached.write(*answer(asked))
    said = reached.line()
    if not said or said.strip() == REFUSED:
        raise cannot_be_brought(reached.board.name, reached.words())
    return said


def _start(target: SshTarget, program: Sent, owner: str, *, if_there: bool) -> str:
    """Return the line that puts the program there, unless it is there, and starts it to hold the board.

    sudo permits one name beside it, root needs none. What arrives is looked at before it takes the program's place.
    """
    root, new = "".join(f"{word} " for word in target.escalation), "$P.new" if target.escalation else "$P.$$"
    hold_it = shlex.join([*target.escalation, ON_BOARD, "hold", owner])
    same = f'same() {{ echo "{program.sha256}  $1" | sha256sum -c >/dev/null; }}'
    return (
        f"{IF_THERE if if_there else ''}{_SYSTEMD}P={ON_BOARD}; {same}; "
        f"test -e $P && same $P || {{ {bring_it(root)}echo {_SEND}; head -c {len(program.packed)} | gzip -d "
        f"| {root}install -m 0755 /dev/stdin {new} && same {new} && {root}mv {new} $P; }} && exec {hold_it}"
    )


@contextlib.contextmanager
def hold(board: Board, *, if_there: bool = False) -> Iterator[Held]:
    """Reach a board and hold it. Raises VtoolError of ``reach`` and ``hold_reached``."""
    with reach(board) as reached, hold_reached(reached, if_there=if_there) as held:
        yield held


@contextlib.contextmanager
def hold_reached(reached: Reached, *, if_there: bool = False) -> Iterator[Held]:
    """Put the board's program there and hold the board; VtoolError VT605 says who has it and since when, VT456 that
    vtool has nothing to do there.

    With ``if_there`` a board that vtool never deployed to is left as it is (VT703).
    The lock ends with this block, with this process, or a lease after the connection went silent.
    """
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    held = Held(reached, secrets.token_hex(8), who, time.strftime("%Y-%m-%d %H:%M:%S"))
    # A board that counts instructions is at the end of a lease as soon as it has nothing to do; what it hears while it
    # is measured is counted, too.
    leased = reached.board.clock is not BoardClock.INSTRUCTIONS
    lease = {} if leased else {"lease_s": None}
    owner = json.dumps({"token": held.token, "who": held.who, "since": held.since, **lease})
    program = sent_program()
    reached.write(_start(reached.board.ssh(), program, owner, if_there=if_there).encode() + b"\n")
    said = reached.line()
    if said.strip() == _NO_SYSTEMD:
        hint = "vtool's units, and the way back from a trial, are systemd's; nothing was changed"
        message = f"the init of board '{reached.board.name}' is not systemd, and vtool starts domains by its units"
        raise board_failed("VT456", message, hints=(hint,))
    if is_asked_for(said):
        said = _send_interpreter(reached, said)
    if said.strip() == _SEND:
        reached.write(program.packed)
        said = reached.line()
    if not said:
        refusal = reached.refusal()
        raise not_deployed(reached.board) if reached.process.returncode == NOT_THERE else refusal
    board_json(said, "")
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(held, stop), daemon=True)
    listener = threading.Thread(target=held.listen, daemon=True)
    if leased:
        beat.start()
    listener.start()
    try:
        yield held
    finally:
        stop.set()
        reached.close()
        listener.join(5)  # it ends with what it listens to


def _beat(held: Held, stop: threading.Event) -> None:
    """Say now and then that this vtool lives."""
    while not stop.wait(_HEARTBEAT_S):
        if not held.reached.write(b"\n"):
            return
