"""Running a playbook of the collection on boards: ansible-runner, and its events turned into progress.

Ansible decides what comes after what, on which board, and what is done when something fails. What its tasks do is done
here, in the process that holds the boards, through ``vtool.deploy.holder``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vtool.base.progress import Progress
from vtool.base.rooms import room
from vtool.deploy.asking import MOST_AT_ONCE
from vtool.diagnostics import VtoolError, board_failed

COLLECTION = "vtool.vtool"
PLAY_DEADLINE_S = 4 * 3600
_UNTOLD = ("ansible.builtin.fail", "fail")
"""What only says again why a board is taken back."""


class _Listener:
    """Takes ansible-runner's events: times to the progress, the last failure of each board."""

    def __init__(self, boards: Sequence[str], progress: Progress) -> None:
        self.failures: dict[str, VtoolError] = {}
        self._several = len(boards) > 1
        self._progress = progress
        self._begin: dict[str, float] = {}

    def handle(self, event: Mapping[str, Any]) -> bool:
        """Take one event; nothing of it is to be kept in a file."""
        kind, data = event.get("event", ""), event.get("event_data", {})
        task, host = str(data.get("task", "")), str(data.get("host", ""))
        shown = f"{host}: {task}" if self._several else task
        if data.get("task_action") in _UNTOLD:
            pass
        elif kind == "runner_on_start":
            self._begin[shown] = time.monotonic()
            self._progress.start(shown)
        elif kind in ("runner_on_ok", "runner_on_skipped"):
            changed = data.get("res", {}).get("changed")
            self._finish(shown, "skipped" if kind == "runner_on_skipped" else "changed" if changed else "ok")
        elif kind in ("runner_on_failed", "runner_on_unreachable"):
            self._finish(shown, "failed")
            words = str(data.get("res", {}).get("msg", "")) or "no message"
            message = f"board '{host}': '{task}' failed: {words.splitlines()[0]}"
            self.failures[host] = board_failed("VT712", message, detail=words.splitlines()[1:])
        return False

    def _finish(self, shown: str, outcome: str) -> None:
        now = time.monotonic()
        self._progress.finish(shown, outcome, now - self._begin.pop(shown, now))


def run_playbook(
    name: str,
    boards: Sequence[str],
    socket: Path,
    progress: Progress,
    variables: Mapping[str, Any],
    *,
    tags: str = "",
) -> dict[str, VtoolError]:
    """Run a playbook of the collection on boards; return what failed as Ansible tells it, by board.

    Raises VtoolError VT712 when Ansible itself ends otherwise than it should, KeyboardInterrupt after Ctrl-C.
    """
    import ansible_runner  # noqa: PLC0415 - only deploying may pay for it

    listener = _Listener(boards, progress)
    with tempfile.TemporaryDirectory(prefix="vtool-run-") as private, _interruption() as interrupted:
        result = ansible_runner.run(
            private_data_dir=private,
            playbook=f"{COLLECTION}.{name}",
            inventory={"control": {"hosts": {board: {} for board in boards}}},
            extravars=dict(variables),
            envvars=_environment(socket, len(boards)),
            settings={"job_timeout": PLAY_DEADLINE_S, "suppress_env_files": True},
            event_handler=listener.handle,
            cancel_callback=interrupted,
            quiet=True,
            **({"tags": tags} if tags else {}),
        )
        with result.stdout as stream:
            status, output = result.status, stream.read()
    if status == "canceled":
        raise KeyboardInterrupt
    if status != "successful" and not listener.failures:
        tail = [line for line in output.splitlines() if line.strip()][-10:]
        raise board_failed("VT712", f"playbook '{name}' ended with status '{status}'", detail=tail)
    return listener.failures


@contextlib.contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C into the runner's own way to stop: it ends Ansible and its children first."""
    seen = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield seen.is_set
        return
    before = signal.signal(signal.SIGINT, lambda *_: seen.set())
    try:
        yield seen.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _environment(socket: Path, boards: int) -> dict[str, str]:
    binaries = str(Path(sys.executable).parent)
    return {
        "PATH": f"{binaries}:{os.environ.get('PATH', '')}",
        "VTOOL_SOCKET": str(socket),
        "ANSIBLE_COLLECTIONS_PATH": str(room("inventory")),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_FORKS": str(min(boards, MOST_AT_ONCE)),
    }
