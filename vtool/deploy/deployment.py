"""The verbs that change or look at boards: deploy, verify, roll back, tear down; on several boards at once.

A generation runs on trial until what was seen on the board is what was planned; then it is confirmed, or
the board goes back to its last good one. One board's failure is that board's, and the others go on.
Prints nothing; tells progress.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vtool.base.progress import Progress
from vtool.board.live_tree import running_tree
from vtool.board.protocols import Board
from vtool.deploy.asking import packed, require_deployed
from vtool.deploy.booting import bring_up_and_hold, go_back, require_suite, wait_for_boot
from vtool.deploy.job import Job, Report, each
from vtool.deploy.playbook import JOB_DEADLINE_S, Events, Host, run_playbook
from vtool.deploy.proof import proofs, saved, steps_of
from vtool.deploy.push import push
from vtool.deploy.stage import stage_folder, stage_on
from vtool.diagnostics import VtoolError
from vtool.plan.types import BoardPlan

Target = tuple[BoardPlan, Board]
Images = Callable[[str], Path]
"""From an image's reference to its file."""


@contextlib.contextmanager
def _jobs(targets: Sequence[Target]) -> Iterator[list[Job]]:
    with contextlib.ExitStack() as stack:
        jobs = [stack.enter_context(Job(board, Report(plan))) for plan, board in targets]
        yield jobs
        each(Job.let_go, jobs, failed_too=True)  # side by side, where the stack would do it one by one


@contextlib.contextmanager
def pushed_jobs(
    topology: str, targets: Sequence[Target], image_path: Images, progress: Progress
) -> Iterator[list[Job]]:
    """Yield the boards' jobs: each board is held, and what it shall run is applied; failures in them."""
    with _jobs(targets) as jobs, stage_folder(len(targets)) as folder:

        def prepare(job: Job) -> None:
            plan, work = job.report.board, Path(folder) / job.board.name
            with job.phase("board"):
                job.own()
                require_suite(job.board, plan.suite)
                bring_up_and_hold(job, progress)
            with job.phase("stage"):
                work.mkdir()
                running = running_tree(job.board) if plan.facts.firmware_unknown else None
                job.staged = stage_on(topology, plan, job.board.base_device_tree(), image_path, work, running)
                job.report.generation, job.proofs = job.staged.generation["generation"], job.staged.proofs
            push(job, f"{job.board.name}: " if len(jobs) > 1 else "", progress)

        each(prepare, jobs)
        yield jobs


def deploy(
    topology: str,
    targets: Sequence[Target],
    image_path: Images,
    progress: Progress,
    *,
    keep: bool = False,
) -> list[Report]:
    """Make the plans what runs on the boards, and prove it. Returns a report a board, failures in them.

    What is not proven is taken back; with ``keep`` it is left running, unconfirmed, to be looked at.
    """
    with pushed_jobs(topology, targets, image_path, progress) as jobs:

        def boot(job: Job) -> None:
            with job.phase("boot"):
                job.let_go()
                wait_for_boot(job, job.boot_before, progress)
                job.hold()

        play("deploy", "start and prove", jobs, progress)
        each(boot, [job for job in jobs if job.report.rebooted])
        play("start", "start and prove", [job for job in jobs if job.report.rebooted], progress)
        each(lambda job: _settle(job, progress, keep=keep), jobs, failed_too=True)
        return [job.report for job in jobs]


def verify(topology: str, targets: Sequence[Target], progress: Progress) -> list[Report]:
    """Look at what runs and whether it shows what it was deployed with; changes nothing but verify's scratch space."""
    with _jobs(targets) as jobs:

        def prepare(job: Job) -> None:
            with job.phase("board"):
                job.own()
                job.hold(if_there=True)
                running = job.held_board.run("state")["deployed"]
                require_deployed(topology, job.board, running)
                kept = job.held_board.run("proof")["proof"]
                if kept is None:
                    job.proofs = saved.none_kept(running["generation"], proofs(job.report.board))
                else:
                    job.proofs = saved.from_json(kept)

        each(prepare, jobs)
        play("verify", "verify", jobs, progress)
        return [job.report for job in jobs]


def rollback(targets: Sequence[Target], generation: str, progress: Progress, *, keep: bool = False) -> list[Report]:
    """Go to an earlier generation: the one whose name begins so, else the one before the last good one.

    It has to show what it was deployed with; what is not proven is taken back, as by ``deploy``. One that an older
    vtool deployed has nothing to show: it is confirmed once its domains are ready, and its report is not proven.
    """
    with _jobs(targets) as jobs:

        def work(job: Job) -> None:
            with job.phase("board"):
                job.own()
                bring_up_and_hold(job, progress)
            with job.phase("roll back"):
                said = job.held_board.run("rollback", *([generation] if generation else []))
                job.applied, job.report.changed = True, True
                job.report.generation, job.report.topology = said["generation"], said["topology"]
                job.report.rebooted, job.report.restarted = said["reboot"], said["restarted"]
                if said["reboot"]:
                    job.held_board.run("reboot")
                    job.let_go()
                    wait_for_boot(job, said["boot_id"], progress)
                    job.hold()
                job.held_board.run("converge", timeout_s=JOB_DEADLINE_S)
                kept = job.held_board.run("proof")["proof"]
                job.shows_nothing = kept is None
                job.proofs = saved.none_kept(said["generation"]) if kept is None else saved.from_json(kept)

        each(work, jobs)
        play("verify", "prove", jobs, progress)
        each(lambda job: _settle(job, progress, keep=keep), jobs, failed_too=True)
        return [job.report for job in jobs]


def tear_down(targets: Sequence[Target], progress: Progress) -> list[Report]:
    """Leave the boards clean and running the system they came with."""
    with _jobs(targets) as jobs:

        def prepare(job: Job) -> None:
            with job.phase("board"):
                job.own()
                bring_up_and_hold(job, progress)
                job.boot_before = job.held_board.run("state")["boot_id"]

        def boot(job: Job) -> None:
            with job.phase("boot"):
                job.let_go()
                wait_for_boot(job, job.boot_before, progress)

        each(prepare, jobs)
        play("teardown", "tear down", jobs, progress)
        each(boot, [job for job in jobs if job.report.rebooted])
        return [job.report for job in jobs]


def play(playbook: str, phase: str, jobs: Sequence[Job], progress: Progress) -> None:
    """Run a playbook on the boards that nothing has failed on, and take over what its tasks said."""
    jobs = [job for job in jobs if job.well]
    if not jobs:
        return
    with contextlib.ExitStack() as stack:
        for job in jobs:
            stack.enter_context(job.phase(phase))
        try:
            found = run_playbook(playbook, [_host(job) for job in jobs], progress)
        except VtoolError as error:
            found = {job.board.name: Events(failure=error) for job in jobs}
    for job in jobs:
        events = found[job.board.name]
        job.report.failure = events.failure
        _take_over(job, events)


def _host(job: Job) -> Host:
    variables: dict[str, Any] = {
        "vtool_steps": packed(json.dumps({"steps": steps_of(job.proofs)}).encode()),
        "vtool_owner": job.held_board.owner,
    }
    if job.staged is not None:
        variables["vtool_reboot"] = job.report.rebooted
    return Host(job.board, variables, job.held_board.control_path)


def _take_over(job: Job, events: Events) -> None:
    report = job.report
    seen, cleaned = (events.outputs.get(task) or {} for task in ("Observe what runs", "Stop and remove"))
    if seen:
        report.rows = [proof.read(seen["results"]) for proof in job.proofs]
    if cleaned:
        report.changed, report.rebooted = cleaned["removed"], cleaned["reboot"]


def _settle(job: Job, progress: Progress, *, keep: bool) -> None:
    """Confirm what is proven; take back what is not, if it was applied and never confirmed."""
    report = job.report
    if not job.applied or report.confirmed:
        return
    with job.phase("settle"):
        if report.proven or (job.shows_nothing and job.well):
            job.held_board.run("confirm", report.generation)
            report.confirmed = True
        elif keep and job.is_held:
            job.held_board.run("keep")
        else:
            report.went_back_to = go_back(job, progress)
