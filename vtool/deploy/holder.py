"""The socket through which Ansible's tasks ask the process that holds the boards.

A request is one line of JSON, ``{"task", "board", "options", "source"}``, and so is the answer: what the task
says (``vtool.deploy.tasks``). ``source`` is the inventory's: the topology that a process is to hold boards for which
nobody started with one. Only this user may connect. The other end is
``inventory/ansible_collections/vtool/vtool/plugins/plugin_utils/holder.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Request = Mapping[str, Any]
Answer = Callable[[Request], Mapping[str, Any]]


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True  # who ends vtool does not wait for what a board is asked
    request_queue_size = 256


@contextlib.contextmanager
def listen(path: Path, answer: Answer) -> Iterator[None]:
    """Answer requests at a socket until the end of the block, as many side by side as come."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request = json.loads(self.rfile.readline())
            with contextlib.suppress(OSError):  # whoever asked is gone
                self.wfile.write(json.dumps(answer(request)).encode() + b"\n")

    before = os.umask(0o177)
    try:
        server = _Server(str(path), Handler)
    finally:
        os.umask(before)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        path.unlink(missing_ok=True)
