"""Running a playbook of the collection on boards: Ansible's process, and what it says turned into progress.

Ansible decides what comes after what, on which board, and what is done when something fails. What its tasks do is done
here, in the process that holds the boards, through ``vtool.deploy.holder``. Enter at ``running``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vtool.base.progress import Progress
from vtool.base.rooms import room
from vtool.base.runtime import own_runtime_folder, working_folder
from vtool.deploy.holder import Answer, listen
from vtool.diagnostics import VtoolError, board_failed

COLLECTION = "vtool.vtool"
_START = Path(__file__).with_name("ansible_start.py")
PLAY_DEADLINE_S = 4 * 3600.0
_UNTOLD = ("ansible.builtin.fail", "fail")
"""What only says again why a board is taken back."""


class Run:
    """A playbook on its way, and what Ansible says: times go to the progress, failures are kept by board."""

    def __init__(self, name: str, progress: Progress, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.several = False
        """Whether progress says which board it is about."""
        self._progress = progress
        self._process = process
        self._failures: dict[str, VtoolError] = {}
        self._begin: dict[str, float] = {}
        self._over = False

    def wait(self) -> dict[str, VtoolError]:
        """Return what failed as Ansible tells it, by board, once nothing is left to do on any.

        Raises VtoolError VT712 when Ansible itself ends otherwise than it should.
        """
        assert self._process.stdout is not None
        deadline = threading.Timer(PLAY_DEADLINE_S, self.kill)
        deadline.daemon = True
        deadline.start()
        tail: deque[str] = deque(maxlen=10)
        for line in self._process.stdout:
            if line.startswith('{"event": '):  # the rest is what Ansible says besides, such as why it cannot start
                self._take(json.loads(line))
            elif line.strip():
                tail.append(line.rstrip())
            if self._over:  # what is left is Ansible's own end, which nobody waits for here
                break
        deadline.cancel()
        if not self._over and not self._failures:
            message = f"playbook '{self.name}' ended with status {self._process.wait()}"
            raise board_failed("VT712", message, detail=list(tail))
        return self._failures

    def kill(self) -> None:
        """End Ansible at once; what it does when nothing is left to do is of no use."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _take(self, event: Mapping[str, str]) -> None:
        kind, task, host = event["event"], event.get("task", ""), event.get("host", "")
        shown = f"{host}: {task}" if self.several else task
        if kind == "over":
            self._over = True
        elif event["action"] in _UNTOLD:
            pass
        elif kind == "start":
            self._begin[shown] = time.monotonic()
            self._progress.start(shown)
        else:
            now = time.monotonic()
            self._progress.finish(shown, kind, now - self._begin.pop(shown, now))
            if kind == "failed":
                words = event["why"].splitlines() or ["no message"]
                message = f"board '{host}': '{task}' failed: {words[0]}"
                self._failures[host] = board_failed("VT712", message, detail=words[1:])


@contextlib.contextmanager
def running(
    name: str, answer: Answer, variables: Mapping[str, Any], progress: Progress, *, tags: str = ""
) -> Iterator[Run]:
    """Start Ansible on a playbook of the collection; its inventory and its tasks ask for an answer.

    It is ended with the block.
    """
    with working_folder(own_runtime_folder(), "play-") as folder:
        socket = folder / "s"
        # Not its program, which may be in another folder than Python; -P: nothing is imported from this file's.
        words = [sys.executable, "-P", str(_START), "-i", str(socket), f"{COLLECTION}.{name}"]
        words += ["-e", json.dumps(variables), *(["--tags", tags] if tags else [])]
        # A user's settings are for plays of their own.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        environment |= {"ANSIBLE_CONFIG": str(room("inventory") / "ansible.cfg"), "ANSIBLE_LOCAL_TEMP": str(folder)}
        environment["LC_ALL"] = "C.UTF-8"  # it refuses any other encoding, and what it says is for vtool
        with (
            listen(socket, answer),
            subprocess.Popen(
                words,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,  # Ctrl-C is for vtool, which ends it
            ) as process,
        ):
            run = Run(name, progress, process)
            try:
                yield run
            finally:
                run.kill()
