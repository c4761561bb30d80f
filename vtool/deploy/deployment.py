"""The boards of a verb or of somebody's play, on several at once; one board's failure is that board's alone.

This process holds them while a playbook's tasks ask for what is to be done. Prints nothing; tells progress. Enter at
``boards``.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vtool.base.progress import Progress
from vtool.board.protocols import Board
from vtool.deploy import tasks
from vtool.deploy.asking import MOST_AT_ONCE
from vtool.deploy.holder import Request
from vtool.deploy.job import Job, Report, each
from vtool.deploy.stage import stage_folder
from vtool.deploy.tasks import Images, Work
from vtool.diagnostics import Diagnostic, VtoolError, nearest
from vtool.plan.types import BoardPlan

Target = tuple[BoardPlan, Board]


class Boards:
    """The boards of a verb, or of somebody's play, and what they are worked on with."""

    def __init__(self, work: Work, jobs: Sequence[Job]) -> None:
        self.work = work
        self.jobs = {job.board.name: job for job in jobs}

    def answer(self, request: Request) -> Mapping[str, Any]:
        """Do what a task asks for, or tell the inventory which boards there are."""
        if request["task"] == "boards":
            return {"boards": list(self.jobs)}
        job = self.jobs.get(request["board"])
        if job is None:
            message = f"no board '{request['board']}' in topology '{self.work.topology}'"
            return tasks.failed(VtoolError(Diagnostic("VT441", message, hints=nearest(request["board"], self.jobs))))
        return tasks.run(request["task"], job, self.work, request["options"])

    def stand_ready(self) -> None:
        """Begin what deploying to each board begins with, while Ansible starts; what fails is said when it is asked."""
        for job in [*self.jobs.values()][:MOST_AT_ONCE]:
            threading.Thread(target=tasks.stand_ready_early, args=(job, self.work), daemon=True).start()

    def settle(self, *, keep: bool) -> None:
        """Take back what was applied and neither confirmed nor taken back, as when Ansible itself ended early."""

        def one(job: Job) -> None:
            with job.one_at_a_time:  # a task that was asked for is not stopped by Ansible's end
                if job.report.went_back_to is None and not job.report.proven:
                    tasks.revert(job, self.work, keep)

        each(one, [job for job in self.jobs.values() if job.begun], failed_too=True)


@contextlib.contextmanager
def boards(topology: str, targets: Sequence[Target], image_path: Images, progress: Progress) -> Iterator[Boards]:
    """Yield the boards, none of which is held yet; each is let go of at the end."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(stage_folder(len(targets)))
        jobs = [stack.enter_context(Job(board, Report(plan))) for plan, board in targets]
        try:
            yield Boards(Work(topology, image_path, folder, progress), jobs)
        finally:
            for job in jobs:
                job.given_up = True
                if job.one_at_a_time.locked():  # Ctrl-C: nobody waits for what is being done
                    job.cut()
        each(Job.let_go, jobs, failed_too=True)  # side by side, where the stack would do it one by one
