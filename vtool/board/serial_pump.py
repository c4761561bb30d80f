"""A serial port that a thread reads: everything goes into a log, and to the user's terminal when it is joined."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from vtool.board.console_log import tail_of
from vtool.board.terminal import join_terminal

_READ_TIMEOUT_S = 0.2


class SerialPump:
    """Owns an open port (pyserial) until the end of its block; ``log`` grows by what the port says."""

    can_join = True

    def __init__(self, board: str, port: Any, log: Path) -> None:
        self._board = board
        self._port = port
        self._log = log
        self._ends = threading.Event()
        self._terminal: socket.socket | None = None
        self._thread = threading.Thread(target=self._read, name=f"console of {board}", daemon=True)

    def __enter__(self) -> SerialPump:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._port.timeout = _READ_TIMEOUT_S
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._thread.join(5)
        with contextlib.suppress(Exception):
            self._port.close()

    def log_path(self) -> Path:
        """Return the log."""
        return self._log

    def tail(self, lines: int) -> tuple[str, ...]:
        """Return the last lines of the log."""
        return tail_of(self._log, lines)

    def interact(self) -> int:
        """Join terminal and port until Ctrl-] is typed."""
        print(f"console of '{self._board}'; leave with Ctrl-]", file=sys.stderr)  # noqa: T201
        near, far = socket.socketpair()
        with near, far:
            writer = threading.Thread(target=self._write, args=(far,), daemon=True)
            writer.start()
            self._terminal = far
            try:
                return join_terminal(near)
            finally:
                self._terminal = None
                near.shutdown(socket.SHUT_RDWR)
                writer.join(5)

    def _read(self) -> None:
        with self._log.open("ab", buffering=0) as log:
            while not self._ends.is_set():
                try:
                    data = self._port.read(max(1, min(self._port.in_waiting, 65536)))
                except Exception as error:  # pyserial's exceptions differ by kind of port
                    log.write(f"\n[vtool: the console is lost: {error}]\n".encode())
                    self._hang_up()
                    return
                if not data:
                    continue
                log.write(data)
                if (terminal := self._terminal) is not None:
                    with contextlib.suppress(OSError):
                        terminal.sendall(data)

    def _hang_up(self) -> None:
        if (terminal := self._terminal) is not None:
            with contextlib.suppress(OSError):
                terminal.shutdown(socket.SHUT_RDWR)

    def _write(self, typed: socket.socket) -> None:
        with contextlib.suppress(Exception):
            while data := typed.recv(4096):
                self._port.write(data)
