"""Running a playbook: ansible-runner, an inventory made from the board, events turned into progress.

Ansible never templates: it moves finished files and runs vtool-board, whose JSON comes back through
the events.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtool.board.protocols import Board
from vtool.board.shell import CONSOLE_TAIL_LINES, no_answer, wrong_host_key
from vtool.deploy.connection import connection_variables
from vtool.diagnostics import VtoolError, board_failed
from vtool.progress import Progress
from vtool.rooms import room

JOB_DEADLINE_S = 900


@dataclass
class Events:
    """What a run's events said: each task's JSON, the time each took, the first failure."""

    board: Board
    progress: Progress
    outputs: dict[str, Any] = field(default_factory=dict)
    failure: VtoolError | None = None
    changed: int = 0
    _begin: float = 0.0

    def handle(self, event: Mapping[str, Any]) -> bool:
        """Take one event of ansible-runner."""
        kind, data = event.get("event", ""), event.get("event_data", {})
        task = str(data.get("task", ""))
        if kind == "playbook_on_task_start":
            self._begin = time.monotonic()
            self.progress.start(task)
        elif kind in ("runner_on_ok", "runner_on_skipped"):
            result = data.get("res", {})
            self.outputs[task] = _json_of(result.get("stdout", ""))
            self.changed += bool(result.get("changed"))
            word = "skipped" if kind == "runner_on_skipped" else "changed" if result.get("changed") else "ok"
            self.progress.finish(task, word, time.monotonic() - self._begin)
        elif kind in ("runner_on_failed", "runner_on_unreachable") and self.failure is None:
            self.progress.finish(task, "failed", time.monotonic() - self._begin)
            self.failure = self._failure(task, kind, data.get("res", {}))
        return True

    def _failure(self, task: str, kind: str, result: Mapping[str, Any]) -> VtoolError:
        said = _json_of(result.get("stdout", ""))
        if isinstance(said, dict) and "error" in said:
            error = said["error"]
            return board_failed(error["code"], error["message"], hints=error["hints"], detail=error["detail"])
        message = str(result.get("msg", "")).strip()
        if kind == "runner_on_unreachable":
            if "host key" in message.lower():
                return wrong_host_key(self.board)
            return no_answer(self.board, 20.0, message.splitlines()[-1] if message else "ssh ended")
        stderr = "\n".join(str(result.get(key, "")) for key in ("stdout", "stderr", "module_stderr"))
        return board_failed(
            "VT712",
            f"board '{self.board.name}': '{task}' failed: {message or 'no message'}",
            detail=(
                *[line for line in stderr.splitlines() if line][-10:],
                *self.board.console.tail(CONSOLE_TAIL_LINES),
            ),
        )


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def run_playbook(name: str, board: Board, variables: Mapping[str, Any], progress: Progress) -> Events:
    """Run ``playbooks/<name>.yml`` on one board. Raises VtoolError of what failed (VT6xx, VT7xx)."""
    import ansible_runner  # noqa: PLC0415 - only deploying may pay for it

    events = Events(board, progress)
    with tempfile.TemporaryDirectory(prefix="vtool-run-") as private, _interruption() as interrupted:
        result = ansible_runner.run(
            private_data_dir=private,
            playbook=str(room("playbooks") / f"{name}.yml"),
            inventory=_inventory(board),
            extravars=dict(variables),
            envvars=_environment(Path(private)),
            settings={"job_timeout": JOB_DEADLINE_S, "suppress_env_files": True},
            event_handler=events.handle,
            cancel_callback=interrupted,
            quiet=True,
        )
        status, output = result.status, result.stdout.read() if result.stdout else ""
    if status == "canceled":
        raise KeyboardInterrupt
    if events.failure is not None:
        raise events.failure
    if status != "successful":
        tail = [line for line in output.splitlines() if line.strip()][-10:]
        raise board_failed("VT712", f"playbook '{name}' ended with status '{status}'", detail=tail)
    return events


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


def _inventory(board: Board) -> dict[str, Any]:
    return {"boards": {"hosts": {board.name: connection_variables(board.ssh())}}}


def _environment(private: Path) -> dict[str, str]:
    binaries = str(Path(sys.executable).parent)
    return {
        "PATH": f"{binaries}:{os.environ.get('PATH', '')}",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(private / "cp"),
        "ANSIBLE_SSH_ARGS": "-C -F /dev/null -o ControlMaster=auto -o ControlPersist=20s "
        "-o ServerAliveInterval=10 -o ServerAliveCountMax=3",
        "ANSIBLE_TIMEOUT": "20",
    }
