"""A vhost-user backend that answers QEMU's questions and serves nothing: enough for a device to be realized.

Protocol: QEMU docs/interop/vhost-user.rst. Messages are request, flags and size (32 bits each), then the payload.
"""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

GET_FEATURES, GET_VRING_BASE, GET_PROTOCOL_FEATURES, GET_QUEUE_NUM, GET_CONFIG, GET_MAX_MEM_SLOTS = (
    1,
    11,
    15,
    17,
    24,
    36,
)
VERSION_1, PROTOCOL_FEATURES, MQ, CONFIG = 1 << 32, 1 << 30, 1 << 0, 1 << 9
NUMBERS = {
    GET_FEATURES: VERSION_1 | PROTOCOL_FEATURES,
    GET_PROTOCOL_FEATURES: MQ | CONFIG,
    GET_QUEUE_NUM: 16,
    GET_MAX_MEM_SLOTS: 32,
}


def listen(path: Path) -> None:
    """Serve every connection to a socket in threads that end with the test."""
    path.parent.mkdir(parents=True, exist_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    threading.Thread(target=_accept, args=(server,), daemon=True).start()


def _accept(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        while len(header := connection.recv(12, socket.MSG_WAITALL)) == 12:
            request, _, size = struct.unpack("<III", header)
            payload = connection.recv(size, socket.MSG_WAITALL) if size else b""
            answer = None
            if request in NUMBERS:
                answer = struct.pack("<Q", NUMBERS[request])
            elif request in (GET_CONFIG, GET_VRING_BASE):
                answer = payload
            if answer is not None:
                connection.sendall(struct.pack("<III", request, 1 | 4, len(answer)) + answer)
