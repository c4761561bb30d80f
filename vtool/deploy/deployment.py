"""The verbs that change or look at boards: deploy, verify, roll back, tear down; on several boards at once.

Each is a playbook of the collection (``playbooks/``), run on the boards that this process holds meanwhile. One board's
failure is that board's, and the others go on. Prints nothing; tells progress. Enter at ``deploy``.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vtool.base.progress import Progress
from vtool.base.runtime import own_runtime_folder
from vtool.board.protocols import Board
from vtool.deploy import tasks
from vtool.deploy.asking import MOST_AT_ONCE
from vtool.deploy.holder import Request, listen
from vtool.deploy.job import Job, Report, each
from vtool.deploy.playbook import run_playbook
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
        """Do what a task asks for."""
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


def play(
    playbook: str,
    held: Boards,
    variables: Mapping[str, Any] = {},
    *,
    tags: str = "",
) -> list[Report]:
    """Run a playbook on boards; return the report of each that was worked on.

    What Ansible leaves unsettled, since it ended early, is taken back here.
    """
    socket = own_runtime_folder() / f"{secrets.token_hex(4)}.sock"
    progress = held.work.progress
    jobs = list(held.jobs.values())
    try:
        with listen(socket, held.answer):
            failures = run_playbook(playbook, list(held.jobs), socket, progress, variables, tags=tags)
    except VtoolError as error:
        failures = {job.board.name: error for job in jobs if job.begun}
        if not failures:
            raise
    for job in jobs:
        if job.board.name in failures and job.report.proven:
            job.report.failure = failures[job.board.name]
    return [job.report for job in jobs if job.begun]


def deploy(
    topology: str,
    targets: Sequence[Target],
    image_path: Images,
    progress: Progress,
    *,
    keep: bool = False,
    rolling: int | None = None,
) -> list[Report]:
    """Make the plans what runs on the boards, and prove it. Returns a report a board, failures in them.

    What is not proven is taken back; with ``keep`` it is left running, unconfirmed, to be looked at. ``rolling``: so
    many boards at a time, and no more once one failed; those have no report.
    """
    variables = {"vtool_keep": keep} | ({"vtool_rolling": rolling} if rolling else {})
    with boards(topology, targets, image_path, progress) as held:
        if not rolling:
            held.stand_ready()
        return _settled(play("deploy", held, variables), held, keep=keep)


def verify(topology: str, targets: Sequence[Target], progress: Progress) -> list[Report]:
    """Look at what runs and whether it shows what it was deployed with; changes nothing but verify's scratch space."""
    with boards(topology, targets, _no_images, progress) as held:
        return play("verify", held)


def rollback(
    topology: str, targets: Sequence[Target], generation: str, progress: Progress, *, keep: bool = False
) -> list[Report]:
    """Go to an earlier generation: the one whose name begins so, else the one before the last good one.

    It has to show what it was deployed with; what is not proven is taken back, as by ``deploy``. One that an older
    vtool deployed has nothing to show: it is confirmed once its domains are ready, and its report is not proven.
    """
    with boards(topology, targets, _no_images, progress) as held:
        variables = {"vtool_keep": keep, "vtool_generation": generation}
        return _settled(play("rollback", held, variables), held, keep=keep)


def tear_down(topology: str, targets: Sequence[Target], progress: Progress) -> list[Report]:
    """Leave the boards clean and running the system they came with."""
    with boards(topology, targets, _no_images, progress) as held:
        return play("teardown", held)


def _settled(reports: list[Report], held: Boards, *, keep: bool) -> list[Report]:
    """Take back what was applied and neither confirmed nor taken back, as when Ansible itself ended early."""

    def settle(job: Job) -> None:
        if job.report.went_back_to is None and not job.report.proven:
            tasks.revert(job, held.work, keep)

    each(settle, [job for job in held.jobs.values() if job.begun], failed_too=True)
    return reports


def _no_images(reference: str) -> Path:
    raise AssertionError(f"nothing is deployed that could want '{reference}'")
