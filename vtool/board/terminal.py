"""Join the user's terminal to a byte stream: raw mode, Ctrl-] leaves."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty

_LEAVE = b"\x1d"


def join_terminal(stream: socket.socket) -> int:
    """Copy both ways until Ctrl-], end of input or end of stream; returns 0."""
    standard_input = sys.stdin.fileno()
    saved = termios.tcgetattr(standard_input) if os.isatty(standard_input) else None
    if saved is not None:
        tty.setraw(standard_input)
    try:
        sources = [stream.fileno(), standard_input]
        while True:
            ready, _, _ = select.select(sources, [], [])
            if stream.fileno() in ready:
                data = stream.recv(65536)
                if not data:
                    return 0
                os.write(sys.stdout.fileno(), data)
            if standard_input in ready:
                typed = os.read(standard_input, 4096)
                if not typed or _LEAVE in typed:
                    return 0
                stream.sendall(typed)
    finally:
        if saved is not None:
            termios.tcsetattr(standard_input, termios.TCSADRAIN, saved)
