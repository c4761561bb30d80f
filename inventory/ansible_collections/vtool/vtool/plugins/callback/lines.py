"""What happens in a play as lines of JSON, for the vtool that started it (``vtool/deploy/playbook.py``)."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: lines
type: stdout
short_description: What happens in a play as lines of JSON
description:
  - Each line says which task began or ended on which host.
options: {}
"""


class CallbackModule(CallbackBase):
    """Prints a line an event: beginnings and ends of tasks on hosts, and the end of it all."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "vtool.vtool.lines"

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Tell that a task begins on a host."""
        self._tell("start", host, task)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Tell that a task succeeded."""
        self._tell("changed" if result.result.get("changed") else "ok", result.host, result.task)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Tell that a task was not wanted."""
        self._tell("skipped", result.host, result.task)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002 - Ansible's
        """Tell that a task failed, and why."""
        self._tell("failed", result.host, result.task, str(result.result.get("msg", "")))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Tell the same of a host that cannot be reached."""
        self.v2_runner_on_failed(result)

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002 - Ansible's
        """Tell that nothing is left to do."""
        self._tell("over")

    def _tell(self, event: str, host: Any = None, task: Any = None, why: str = "") -> None:
        line: dict[str, str] = {"event": event, "why": why}
        if host is not None:
            line |= {"host": host.get_name(), "task": task.name, "action": str(task.action)}
        try:
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            os._exit(1)  # that vtool was killed; Ansible would go on for ever, with no task that anybody answers
