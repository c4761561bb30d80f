"""The verbs that change or look at boards: deploy, verify, roll back, tear down. Each is a playbook of the collection.

Ansible takes as long to start as vtool takes to read a topology and to reach its boards, so both begin at once: Ansible
waits at its inventory until it is told the boards. Nothing that takes long to import is imported here before that.
Enter at ``playing``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtool.base.progress import Progress
from vtool.deploy.holder import Request
from vtool.deploy.playbook import Run, running
from vtool.deploy.this_machine import require_this_machine
from vtool.diagnostics import VtoolError

if TYPE_CHECKING:
    from vtool.deploy.deployment import Boards, Target
    from vtool.deploy.job import Report


def _no_images(reference: str) -> Path:
    raise AssertionError(f"nothing is deployed that could want '{reference}'")


class Play:
    """A playbook that waits for its boards."""

    def __init__(self, run: Run, variables: Mapping[str, Any], progress: Progress) -> None:
        self._run = run
        self._variables = variables
        self._progress = progress
        self.told: Future[Boards] = Future()

    def on(
        self, topology: str, targets: Sequence[Target], image_path: Callable[[str], Path] = _no_images
    ) -> list[Report]:
        """Run it on boards; return the report of each that was worked on, failures in them.

        What Ansible leaves neither confirmed nor taken back, as when it ended early, is taken back here.
        """
        from vtool.deploy.deployment import boards  # noqa: PLC0415 - read while Ansible starts

        with boards(topology, targets, image_path, self._progress) as held:
            reports = self.on_held(held)
            held.settle(keep=self._variables.get("vtool_keep", False))
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
        finally:  # after Ctrl-C, too: Ansible ends before the boards are let go of, or it would take them back
            self._run.kill()
        for job in jobs:
            if job.board.name in failures and job.report.proven:
                job.report.failure = failures[job.board.name]
        return [job.report for job in jobs if job.begun]


@contextlib.contextmanager
def playing(playbook: str, progress: Progress, variables: Mapping[str, Any] = {}, *, tags: str = "") -> Iterator[Play]:
    """Start Ansible on a playbook of the collection, while whoever asks for it still reads what the boards are.

    ``variables`` are those that the playbook names, without ``vtool_``; None is left out.
    Raises VtoolError as ``require_this_machine``.
    """
    require_this_machine()
    given = {f"vtool_{name}": value for name, value in variables.items() if value is not None}

    def answer(request: Request) -> Mapping[str, Any]:
        try:
            return play.told.result().answer(request)
        except CancelledError:
            return {"failed": True, "msg": "there are no boards"}

    with running(playbook, answer, given, progress, tags=tags) as run:
        play = Play(run, given, progress)
        try:
            yield play
        finally:
            play.told.cancel()  # whoever waits for it is answered
