"""Running a playbook on boards: ansible-runner, an inventory made from them, events turned into progress.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtool.base.progress import Progress
from vtool.base.rooms import room
from vtool.board.protocols import Board
from vtool.board.shell import CONSOLE_TAIL_LINES, may_not_be_root, no_answer, wrong_host_key
from vtool.deploy.connection import connection_variables
from vtool.diagnostics import VtoolError, board_failed

JOB_DEADLINE_S = 1800


@dataclass(frozen=True)
class Host:
    """A board that a playbook runs on: its variables, and the control socket of an open connection if there is one."""

    board: Board
    variables: Mapping[str, Any]
    control_path: Path | None = None


@dataclass
class Events:
    """What a run's events said of one board: each task's JSON, the first failure."""

    outputs: dict[str, Any] = field(default_factory=dict)
    failure: VtoolError | None = None


class _Listener:
    """Takes ansible-runner's events: results to each board's Events, times to the progress."""

    def __init__(self, hosts: Sequence[Host], progress: Progress) -> None:
        self.events = {host.board.name: Events() for host in hosts}
        self._boards = {host.board.name: host.board for host in hosts}
        self._progress = progress
        self._begin: dict[str, float] = {}

    def handle(self, event: Mapping[str, Any]) -> bool:
        """Take one event."""
        kind, data = event.get("event", ""), event.get("event_data", {})
        task, host = str(data.get("task", "")), str(data.get("host", ""))
        shown = task if len(self.events) == 1 else f"{host}: {task}"
        if kind == "runner_on_start":
            self._begin[shown] = time.monotonic()
            self._progress.start(shown)
        elif kind in ("runner_on_ok", "runner_on_skipped"):
            result = data.get("res", {})
            self.events[host].outputs[task] = _json_of(result.get("stdout", ""))
            word = "skipped" if kind == "runner_on_skipped" else "changed" if result.get("changed") else "ok"
            self._finish(shown, word)
        elif kind in ("runner_on_failed", "runner_on_unreachable") and self.events[host].failure is None:
            self._finish(shown, "failed")
            self.events[host].failure = _failure(self._boards[host], task, kind, data.get("res", {}))
        return True

    def _finish(self, shown: str, outcome: str) -> None:
        now = time.monotonic()
        self._progress.finish(shown, outcome, now - self._begin.pop(shown, now))


def _failure(board: Board, task: str, kind: str, result: Mapping[str, Any]) -> VtoolError:
    said = _json_of(result.get("stdout", ""))
    if isinstance(said, dict) and "error" in said:
        error = said["error"]
        return board_failed(error["code"], error["message"], hints=error["hints"], detail=error["detail"])
    message = str(result.get("msg", "")).strip()
    if kind == "runner_on_unreachable":
        if "host key" in message.lower():
            return wrong_host_key(board)
        return no_answer(board, 20.0, message.splitlines()[-1] if message else "ssh ended")
    stderr = "\n".join(str(result.get(key, "")) for key in ("stdout", "stderr", "module_stderr"))
    refused = [line for line in stderr.splitlines() if line.startswith("sudo: ")]
    if refused:
        return may_not_be_root(board, "\n".join(refused))
    return board_failed(
        "VT712",
        f"board '{board.name}': '{task}' failed: {message or 'no message'}",
        detail=(*[line for line in stderr.splitlines() if line][-10:], *board.console.tail(CONSOLE_TAIL_LINES)),
    )


def _json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def run_playbook(name: str, hosts: Sequence[Host], progress: Progress) -> dict[str, Events]:
    """Run ``playbooks/<name>.yml`` on boards; return each board's events, its failure among them.

    Raises VtoolError VT712 when Ansible itself ends otherwise than it should.
    """
    import ansible_runner  # noqa: PLC0415 - only deploying may pay for it

    listener = _Listener(hosts, progress)
    with tempfile.TemporaryDirectory(prefix="vtool-run-") as private, _interruption() as interrupted:
        result = ansible_runner.run(
            private_data_dir=private,
            playbook=str(room("playbooks") / f"{name}.yml"),
            inventory={"boards": {"hosts": {host.board.name: _host_variables(host) for host in hosts}}},
            envvars=_environment(Path(private), len(hosts)),
            settings={"job_timeout": JOB_DEADLINE_S, "suppress_env_files": True},
            event_handler=listener.handle,
            cancel_callback=interrupted,
            quiet=True,
        )
        with result.stdout as stream:
            status, output = result.status, stream.read()
    if status == "canceled":
        raise KeyboardInterrupt
    failed = any(events.failure for events in listener.events.values())
    if status != "successful" and not failed:
        tail = [line for line in output.splitlines() if line.strip()][-10:]
        raise board_failed("VT712", f"playbook '{name}' ended with status '{status}'", detail=tail)
    return listener.events


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


def _host_variables(host: Host) -> dict[str, Any]:
    target = host.board.ssh()
    return {
        **host.variables,
        **connection_variables(target),
        # The words before a program that needs root's rights; what is no such program never gets them.
        "vtool_as_root": "".join(f"{word} " for word in target.escalation),
        **({"ansible_control_path": str(host.control_path)} if host.control_path else {}),
    }


def _environment(private: Path, boards: int) -> dict[str, str]:
    binaries = str(Path(sys.executable).parent)
    return {
        "PATH": f"{binaries}:{os.environ.get('PATH', '')}",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_FORKS": str(min(boards, 50)),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(private / "cp"),
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=20s",
        "ANSIBLE_TIMEOUT": "20",
    }
