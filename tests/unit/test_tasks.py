"""What becomes of work on a board for which nobody waits any more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vtool.deploy import tasks
from vtool.deploy.job import Job, Report

BOARD: Any = SimpleNamespace(name="board0")
PLAN: Any = SimpleNamespace(name="board0")


@pytest.mark.parametrize("given_up", [True, False])
def test_what_breaks_after_ctrl_c_is_no_bug_and_anything_else_is(
    monkeypatch: pytest.MonkeyPatch, given_up: bool
) -> None:
    """The folder for staging is gone once the boards are let go of, while a thread still writes into it."""

    def staging(*_: object, **__: object) -> tasks.Said:
        raise FileNotFoundError("/dev/shm/vtool-stage-0/board0/base.dtb")

    monkeypatch.setattr(tasks, "stand_ready", staging)
    monkeypatch.setattr(tasks, "TASKS", {"send": staging})
    job, work = Job(BOARD, Report(PLAN)), tasks.Work("t", lambda _: pytest.fail(), None, None)  # type: ignore[arg-type]
    job.given_up = given_up
    if given_up:
        tasks.stand_ready_early(job, work)
        assert tasks.run("send", job, work, {}) == {"failed": True, "msg": "interrupted"}
        return
    for act in (lambda: tasks.stand_ready_early(job, work), lambda: tasks.run("send", job, work, {})):
        with pytest.raises(FileNotFoundError):
            act()
