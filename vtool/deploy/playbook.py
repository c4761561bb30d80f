"""Running a playbook of the collection on boards: ansible-runner, and its events turned into progress.

Ansible decides what comes after what, on which board, and what is done when something fails. What its tasks do is done
here, in the process that holds the boards, through ``vtool.deploy.holder``. Enter at ``running``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vtool.base.progress import Progress
from vtool.base.rooms import room
from vtool.base.runtime import own_runtime_folder
from vtool.deploy.asking import MOST_AT_ONCE
from vtool.deploy.holder import Answer, listen
from vtool.diagnostics import VtoolError, board_failed

COLLECTION = "vtool.vtool"
PLAY_DEADLINE_S = 4 * 3600.0
_CANCELLED_WITHIN_S = 0.1
"""How often the runner looks whether it shall end Ansible."""
_UNTOLD = ("ansible.builtin.fail", "fail")
"""What only says again why a board is taken back."""


class Run:
    """A playbook on its way, and what its events said: times go to the progress, failures are kept by board."""

    def __init__(self, name: str, progress: Progress) -> None:
        self.name = name
        self.several = False
        """Whether progress says which board it is about."""
        self._failures: dict[str, VtoolError] = {}
        self._progress = progress
        self._begin: dict[str, float] = {}
        self._over, self._through, self._cancelled = threading.Event(), False, threading.Event()
        self._thread = threading.Thread(daemon=True)
        self._status, self._tail = "", list[str]()

    def start(self, socket: Path, variables: Mapping[str, Any], tags: str) -> None:
        """Start Ansible, which asks for its boards at a socket."""
        self._thread = threading.Thread(target=self._run, args=(socket, variables, tags), daemon=True)
        self._thread.start()

    def wait(self) -> dict[str, VtoolError]:
        """Return what failed as Ansible tells it, by board, once nothing is left to do on any.

        Raises VtoolError VT712 when Ansible itself ends otherwise than it should.
        """
        in_time = self._over.wait(PLAY_DEADLINE_S)
        if not self._through and not self._failures:
            status = self._status if in_time else "timeout"
            raise board_failed("VT712", f"playbook '{self.name}' ended with status '{status}'", detail=self._tail)
        return self._failures

    def end(self) -> None:
        """End Ansible and its children, if there are any left, and wait until they have."""
        if not self._through:
            self._cancelled.set()
        self._thread.join()

    def _run(self, socket: Path, variables: Mapping[str, Any], tags: str) -> None:
        import ansible_runner  # noqa: PLC0415 - only deploying may pay for it

        try:
            with tempfile.TemporaryDirectory(prefix="vtool-run-") as private:
                result = ansible_runner.run(
                    private_data_dir=private,
                    playbook=f"{COLLECTION}.{self.name}",
                    inventory=str(socket),
                    extravars=dict(variables),
                    envvars=_environment(),
                    settings={"suppress_env_files": True, "pexpect_timeout": _CANCELLED_WITHIN_S},
                    event_handler=self._handle,
                    cancel_callback=self._cancelled.is_set,
                    quiet=True,
                    **({"tags": tags} if tags else {}),
                )
                with result.stdout as stream:
                    self._tail = [line for line in stream.read().splitlines() if line.strip()][-10:]
                self._status = result.status
        finally:
            self._over.set()

    def _handle(self, event: Mapping[str, Any]) -> bool:
        """Take one event; nothing of it is to be kept in a file."""
        kind, data = event.get("event", ""), event.get("event_data", {})
        task, host = str(data.get("task", "")), str(data.get("host", ""))
        shown = f"{host}: {task}" if self.several else task
        if kind == "playbook_on_stats":
            self._through = True  # what is left is Ansible's own end, which nobody waits for here
            self._over.set()
        elif data.get("task_action") in _UNTOLD:
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
            self._failures[host] = board_failed("VT712", message, detail=words.splitlines()[1:])
        return False

    def _finish(self, shown: str, outcome: str) -> None:
        now = time.monotonic()
        self._progress.finish(shown, outcome, now - self._begin.pop(shown, now))


@contextlib.contextmanager
def running(
    name: str, answer: Answer, progress: Progress, variables: Mapping[str, Any], *, tags: str = ""
) -> Iterator[Run]:
    """Start Ansible on a playbook of the collection; its inventory and its tasks ask for an answer.

    It is ended with the block, unless it is through.
    """
    socket = own_runtime_folder() / f"{secrets.token_hex(4)}.sock"
    run = Run(name, progress)
    with listen(socket, answer):
        run.start(socket, variables, tags)
        try:
            yield run
        finally:
            run.end()


def _environment() -> dict[str, str]:
    binaries = str(Path(sys.executable).parent)
    return {
        "PATH": f"{binaries}:{os.environ.get('PATH', '')}",
        "ANSIBLE_INVENTORY_ENABLED": f"{COLLECTION}.held",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
        "ANSIBLE_COLLECTIONS_PATH": str(room("inventory")),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_FORKS": str(MOST_AT_ONCE),
    }
