"""The process that holds the boards, as a task finds it: a local socket, one line of JSON each way.

``vtool deploy`` is that process, and its socket is the inventory (``plugins/inventory/held.py``). In a play of
somebody's own the first task starts the process, which ends with the play: it watches the process of
``ansible-playbook``. The other end is ``vtool.deploy.holder``. Nothing of vtool is imported where it holds the boards
already: this runs once a task.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail


def ask(request: dict[str, Any], path: str | None) -> dict[str, Any]:
    """Send a request to a socket, or to that of this play, and wait for its answer, however long that takes."""
    with _connected(path) if path else _started() as connection:
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    if not answer.endswith(b"\n"):
        raise AnsibleActionFail("the process that holds the board ended before it answered")
    said: dict[str, Any] = json.loads(answer)
    return said


def _connected(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _started() -> socket.socket:
    """Connect to the process that holds boards for this play; start it if nobody has."""
    try:
        from vtool.base.runtime import own_runtime_folder  # noqa: PLC0415 - the error below names its absence
    except ImportError as error:
        raise AnsibleActionFail(f"vtool is not installed for the Python that runs Ansible: {error}") from error
    play = _play()
    path = own_runtime_folder() / f"ansible-{play}.sock"
    with path.with_suffix(".start").open("w") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        try:
            return _connected(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            path.unlink(missing_ok=True)  # one of an earlier process of this number
        words = [sys.executable, "-m", "vtool.cli.holder", str(path), str(play)]
        quiet = subprocess.DEVNULL
        # Ctrl-C is for Ansible; this one lets go of the boards when Ansible has ended.
        with subprocess.Popen(
            words, stdin=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            if said != "ready\n":
                raise AnsibleActionFail(f"vtool does not hold boards: {said}{process.stdout.read()}".strip())
            process.returncode = 0  # it is left running
        return _connected(str(path))


def _play() -> int:
    """Return the process of ansible-playbook: that of a task is forked from it, and has the same command line.

    Without it, whoever inherited the task's process would be watched instead, and the boards held as long as that runs.
    """
    play = os.getppid()
    try:
        here, there = (Path(f"/proc/{of}/cmdline").read_bytes() for of in ("self", play))
    except OSError:
        here, there = b"task", b"none"
    if here != there:
        raise AnsibleActionFail("the play that this task is of has ended")
    return play
