"""The verbs that change or look at boards: deploy, verify, roll back, tear down; on several boards at once.

Each is a playbook of the collection (``playbooks/``), run on the boards that this process holds meanwhile. One board's
failure is that board's, and the others go on. Prints nothing; tells progress. Enter at ``playing``.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

from vtool.base.progress import Progress
from vtool.board.protocols import Board
from vtool.deploy import tasks
from vtool.deploy.asking import MOST_AT_ONCE
from vtool.deploy.holder import Request
from vtool.deploy.job import Job, Report, each
from vtool.deploy.playbook import Run, running
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


@contextlib.contextmanager
def boards(topology: str, targets: Sequence[Target], image_path: Images, progress: Progress) -> Iterator[Boards]:
    """Yield the boards, none of which is held yet; each is let go of at the end."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(stage_folder(len(targets)))
        jobs = [stack.enter_context(Job(board, Report(plan))) for plan, board in targets]
        try:
            yield Boards(Work(topology, image_path, Path(folder), progress), jobs)
        finally:
            for job in jobs:
                if job.one_at_a_time.locked():  # Ctrl-C: nobody waits for what is being done
                    job.cut()
        each(Job.let_go, jobs, failed_too=True)  # side by side, where the stack would do it one by one


def _no_images(reference: str) -> Path:
    raise AssertionError(f"nothing is deployed that could want '{reference}'")


class Play:
    """A playbook that waits for its boards."""

    def __init__(self, run: Run, variables: Mapping[str, Any], progress: Progress) -> None:
        self._run = run
        self._variables = variables
        self._progress = progress
        self.told: Future[Boards] = Future()

    def on(self, topology: str, targets: Sequence[Target], image_path: Images = _no_images) -> list[Report]:
        """Run it on boards; return the report of each that was worked on, failures in them.

        What Ansible leaves neither confirmed nor taken back, as when it ended early, is taken back here.
        """
        with boards(topology, targets, image_path, self._progress) as held:
            reports = self.on_held(held)

            def settle(job: Job) -> None:
                if job.report.went_back_to is None and not job.report.proven:
                    tasks.revert(job, held.work, self._variables.get("vtool_keep", False))

            each(settle, [job for job in held.jobs.values() if job.begun], failed_too=True)
            return reports

    def on_held(self, held: Boards) -> list[Report]:
        """Run it on boards that are let go of by somebody else, who takes back what is left unsettled."""
        if not held.jobs:
            return []
        if self._run.name == "deploy" and "vtool_rolling" not in self._variables:
            held.stand_ready()
        self._run.several = len(held.jobs) > 1
        self.told.set_result(held)
        jobs = list(held.jobs.values())
        try:
            failures = self._run.wait()
        except VtoolError as error:
            failures = {job.board.name: error for job in jobs if job.begun}
            if not failures:
                raise
        except BaseException:  # Ctrl-C: Ansible ends before the boards are let go of, or it would take them back
            self._run.end()
            raise
        for job in jobs:
            if job.board.name in failures and job.report.proven:
                job.report.failure = failures[job.board.name]
        return [job.report for job in jobs if job.begun]


@contextlib.contextmanager
def playing(playbook: str, progress: Progress, variables: Mapping[str, Any] = {}, *, tags: str = "") -> Iterator[Play]:
    """Start Ansible on a playbook of the collection, while whoever asks for it still reads what the boards are.

    ``variables`` are those that the playbook names, without ``vtool_``; None is left out.
    """
    given = {f"vtool_{name}": value for name, value in variables.items() if value is not None}

    def answer(request: Request) -> Mapping[str, Any]:
        try:
            return play.told.result().answer(request)
        except CancelledError:
            return {"failed": True, "msg": "there are no boards"}

    with running(playbook, answer, progress, given, tags=tags) as run:
        play = Play(run, given, progress)
        try:
            yield play
        finally:
            play.told.cancel()  # whoever waits for it is answered
