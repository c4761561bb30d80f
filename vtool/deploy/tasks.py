"""What a playbook's tasks do to a board: one function a task, asked for by its name.

They run in the process that holds the boards; Ansible's action plugins (``inventory/ansible_collections``) only ask for
them. Each works on a board's ``Job``, fills in its report, and returns what the task says: Ansible's ``changed`` and
``failed``, ``msg``, and facts for the tasks that follow. Enter at ``run``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtool.base.progress import Progress
from vtool.board.live_tree import running_tree
from vtool.board.own_system import own_system
from vtool.deploy import uplinks
from vtool.deploy.asking import require_deployed
from vtool.deploy.board_lock import Held, HeldCommands
from vtool.deploy.booting import bring_up_and_hold, go_back, require_suite, wait_for_boot
from vtool.deploy.difference import Difference, differences
from vtool.deploy.failures import DamagedTransfer
from vtool.deploy.for_installation import asks, for_installation, look
from vtool.deploy.job import TASK_DEADLINE_S, Job
from vtool.deploy.needed_devices import not_to_be_had
from vtool.deploy.proof import proofs, saved, steps_of
from vtool.deploy.secrets import secrets_of
from vtool.deploy.stage import begin, stage_on
from vtool.deploy.transfer import Range, bases_of, transfer
from vtool.diagnostics import Diagnostic, VtoolError, format_diagnostic, refusal_of
from vtool.files.regular import reason_of
from vtool.report.summary import proof_lines, rows_data

Said = dict[str, Any]
Images = Callable[[str], Path]
"""From an image's reference to its file."""


def _not_shown(difference: Difference) -> list[str]:
    return [f"{change.change} {change.place}/{change.name}" for change in difference.changes]


@dataclass(frozen=True)
class Work:
    """What all boards of a play are worked on with; ``folder`` is for staging. ``describe`` writes a difference."""

    topology: str
    image_path: Images
    folder: Path
    progress: Progress
    describe: Callable[[Difference], list[str]] = field(default=_not_shown)


def run(name: str, job: Job, work: Work, options: Mapping[str, Any]) -> Said:
    """Do a task; what fails is the board's failure too, the first one."""
    with job.one_at_a_time:
        job.begun = True
        try:
            return TASKS[name](job, work, **options)
        except VtoolError as error:
            job.report.failure = job.report.failure or error
            return failed(error)
        except Exception as error:
            if job.given_up:  # after Ctrl-C its files may be gone
                return {"failed": True, "msg": "interrupted"}
            if refused := refusal_of(error):
                job.report.failure = job.report.failure or refused
                return failed(refused)
            raise


def failed(error: VtoolError) -> Said:
    """Return what a task says that could not do what it should."""
    found = error.diagnostics
    words = "\n".join(map(format_diagnostic, found))
    return {"failed": True, "msg": words, "diagnostics": [diagnostic.to_json() for diagnostic in found]}


# ---------------------------------------------------------------- laying a generation out


def stand_ready(job: Job, work: Work) -> None:
    """Hold the board, made and switched on if need be, and stage what it is to run; once."""
    if job.failed_early:
        raise job.failed_early
    plan = job.report.board
    if job.staged is None:
        begin(plan, work.image_path)
    with job.phase("board"):
        secrets_of(plan.guests)  # what cannot be read is said before anything is done
        _bring_up(job, work)
    if job.staged is None:
        with job.phase("stage"):
            folder = work.folder / job.board.name
            folder.mkdir()
            commands = HeldCommands(job.held_board)
            if asks(plan.facts.boot):
                plan = for_installation(plan, look(commands))
            if found := not_to_be_had(plan, job.held_board, commands):
                raise VtoolError(found)
            running = running_tree(commands) if plan.facts.firmware_unknown else None
            base = job.board.base_device_tree(commands)
            own = own_system(plan.name, commands) if plan.control.takes_the_boards_own else None
            job.staged = stage_on(work.topology, plan, base, work.image_path, folder, running, own)
            job.report.board = job.staged.board
            job.report.generation, job.proofs = job.staged.generation["generation"], job.staged.proofs


def stand_ready_early(job: Job, work: Work) -> None:
    """Do the same before a task asks, which is told then what failed."""
    with job.one_at_a_time:
        job.begun = True
        try:
            stand_ready(job, work)
        except VtoolError as error:
            job.failed_early = error
        except Exception as error:
            if refused := refusal_of(error):
                job.failed_early = refused
            elif not job.given_up:
                raise


def _bring_up(job: Job, work: Work) -> None:
    if not job.is_held:
        job.own()
        require_suite(job.board, job.report.board.suite)
        bring_up_and_hold(job, work.progress)


def compare(job: Job, work: Work) -> Said:
    """Ask what the board lacks of what it is to run.

    Raises what staging does; VT428, VT470 to VT472 and VT477 of its networks; VT705, VT706, VT716.
    """
    stand_ready(job, work)
    with job.phase("compare"):
        said = job.held_board.run("compare", stdin=_wanted(job), timeout_s=TASK_DEADLINE_S)
    job.compared, job.boot_before, job.applied = said, said["boot_id"], said["current"]
    job.uplinks = said["uplinks"]
    job.report.confirmed = said["current"] and said["confirmed"]
    told = ("current", "confirmed", "running", "missing", "missing_bytes")
    return {"changed": False, "generation": job.report.generation, **{key: said[key] for key in told}}


def would_change(job: Job, work: Work) -> Said:
    """Say how what the board runs differs from what it is to run: ``compare`` in check mode, which holds nothing."""
    (found,) = differences(work.topology, [(job.report.board, job.board)], work.image_path)
    lines = work.describe(found)
    return {
        "changed": not found.empty,
        "generation": found.generation,
        "running": found.running,
        "reboot": found.reboot,
        "restart": list(found.restart),
        "msg": lines,
        "diff": {"prepared": "\n".join([*lines, ""])},
    }


def _wanted(job: Job) -> str:
    assert job.staged is not None, "compare comes first"
    return json.dumps(job.staged.generation, sort_keys=True)


def send(job: Job, _: Work) -> Said:
    """Send the objects that the board lacks. Raises VT100 for a file that cannot be read here, VT704, VT707."""
    assert job.staged is not None, "compare comes first"
    missing = {digest: path for digest, path in job.staged.objects.items() if digest in job.compared["missing"]}
    with job.phase("push"):
        try:
            send_objects(job.held_board, missing, job.compared["bases"], job.compared["unpacks"])
        except OSError as error:
            message = f"'{error.filename}' cannot be read: {reason_of(error)}"
            raise VtoolError(Diagnostic("VT100", message)) from None
    return {"changed": bool(missing), "objects": len(missing)}


def send_objects(
    held: Held, missing: Mapping[str, Path], bases: Mapping[str, Mapping[str, str]], unpacks: Sequence[str] = ()
) -> None:
    """Send what is missing by what differs, and once more as a whole when that did not make it."""
    try:
        known = bases_of(missing, bases, told_by(held))
        held.run("receive", stdin=transfer(missing, known, unpacks), timeout_s=TASK_DEADLINE_S)
    except DamagedTransfer:
        if not bases:
            raise
        held.run("receive", stdin=transfer(missing, {}, unpacks), timeout_s=TASK_DEADLINE_S)


def told_by(held: Held) -> Callable[[str, Sequence[Range]], str | None]:
    """Return how a board is asked for the checksums of pages of what it has (``transfer.bases_of``)."""

    def ask(base: str, blocks: Sequence[Range]) -> str | None:
        wanted = json.dumps({"base": base, "blocks": blocks})
        pages: str | None = held.run("pages", stdin=wanted, timeout_s=TASK_DEADLINE_S)["pages"]
        return pages

    return ask


def apply(job: Job, _: Work) -> Said:
    """Make what was sent run, unconfirmed, or set to boot once. Raises VT705, VT706."""
    with job.phase("push"):
        done = job.held_board.run("apply", stdin=_wanted(job), timeout_s=TASK_DEADLINE_S)
    return _applied(job, done)


def rollback(job: Job, work: Work, generation: str = "") -> Said:
    """Do the same for an earlier generation: the one whose name begins so, else the one before. Raises VT717."""
    with job.phase("board"):
        _bring_up(job, work)
    with job.phase("roll back"):
        done = job.held_board.run("rollback", *([generation] if generation else []))
    job.boot_before, job.report.topology = done["boot_id"], done["topology"]
    job.uplinks = done["uplinks"]
    job.report.generation = done["generation"]
    return _applied(job, {"changed": True, **done})


def _applied(job: Job, done: Mapping[str, Any]) -> Said:
    report = job.report
    job.applied, job.proofs = True, job.proofs if job.staged else []
    report.changed, report.rebooted, report.restarted = done["changed"], done["reboot"], done["restarted"]
    report.notes = done["notes"]
    told = {"generation": report.generation, "restarted": report.restarted, "msg": report.notes}
    # To Ansible it is a change, too, when what runs already is put right.
    changed = report.changed or report.rebooted or bool(report.restarted)
    return {"changed": changed, "reboot": report.rebooted, **told}


# ---------------------------------------------------------------- running it


def reboot(job: Job, work: Work) -> Said:
    """Reboot, and wait for what comes up. Raises VT715 when that is not what was applied, VT603."""
    with job.phase("boot"):
        job.held_board.run("reboot")
        job.let_go()
        wait_for_boot(job, job.boot_before, work.progress)
        if job.applied:
            job.hold()
    return {"changed": True}


def converge(job: Job, _: Work) -> Said:
    """Start backends and domains and wait until they are ready. Raises VT475, VT703, VT708 with a console's tail."""
    with job.phase("start and prove"):
        if job.uplinks:
            uplinks.moved(job, "start_uplinks", job.uplinks)
        job.held_board.run("converge", "--patience", f"{job.board.patience:.2f}", timeout_s=TASK_DEADLINE_S)
    return {"changed": False}


def observe(job: Job, work: Work) -> Said:
    """Look at what runs, and whether it shows what it was deployed with; fails when it does not. Raises VT703."""
    if not job.is_held:
        with job.phase("board"):
            job.own()
            job.hold(if_there=True)
            running = job.held_board.run("state")["deployed"]
            require_deployed(work.topology, job.board, running)
            instead = proofs(job.report.board)
            job.report.generation = running["generation"]
    else:
        instead = []
    with job.phase("start and prove" if job.applied else "verify"):
        if not job.proofs:
            kept = job.held_board.run("proof")["proof"]
            job.shows_nothing = kept is None
            found = saved.none_kept(job.report.generation, instead) if kept is None else saved.from_json(kept)
            job.proofs = found
        rows_asked = [[step["id"] for step in proof.steps] for proof in job.proofs]
        asked = {"steps": steps_of(job.proofs), "rows": rows_asked, "patience": job.board.patience}
        wanted = json.dumps({**asked, "secrets": secrets_of(job.report.board.guests)})
        seen = job.held_board.run("observe", stdin=wanted, timeout_s=TASK_DEADLINE_S)["results"]
        job.report.rows = [proof.read(seen) for proof in job.proofs]
    rows = rows_data(job.report.rows)
    unproven = [row for row in job.report.rows if row.failed]
    if unproven:
        words = [f"board '{job.board.name}' does not show what it should:", *proof_lines(unproven)]
        return {"failed": True, "msg": "\n".join(words), "rows": rows}
    return {"changed": False, "proven": True, "msg": list(proof_lines(job.report.rows)), "rows": rows}


# ---------------------------------------------------------------- keeping it, or not


def confirm(job: Job, _: Work) -> Said:
    """Make what runs what boots from now on. Raises VT717 when it is something else."""
    report = job.report
    if report.confirmed:
        return {"changed": False, "generation": report.generation}
    with job.phase("settle"):
        job.held_board.run("confirm", report.generation)
    report.confirmed = True
    return {"changed": True, "generation": report.generation}


def revert(job: Job, work: Work, keep: bool = False) -> Said:
    """Go back to the last good generation, if another one was applied and never confirmed.

    With ``keep`` it is left running, unconfirmed. What an older vtool deployed has nothing to show: it is confirmed.
    """
    report = job.report
    if not job.applied or report.confirmed:
        return {"changed": False}
    if job.shows_nothing and job.succeeded:
        return confirm(job, work)
    with job.phase("settle"):
        if keep and job.is_held:
            job.held_board.run("keep")
            return {"changed": False, "generation": report.generation}
        report.went_back_to = go_back(job, work.progress)
    return {"changed": True, "generation": report.went_back_to}


def clean(job: Job, work: Work) -> Said:
    """Remove everything that vtool put on the board, its program last; ``reboot`` says whether a boot is due."""
    if not job.board.exists():
        return {"changed": False, "reboot": False}
    with job.phase("board"):
        _bring_up(job, work)
        state = job.held_board.run("state")
        job.boot_before = state["boot_id"]
    with job.phase("tear down"):
        if state["uplinks"]:
            uplinks.moved(job, "release_uplinks", ())
        done = job.held_board.run("clean", timeout_s=TASK_DEADLINE_S)
    job.report.changed, job.report.rebooted = done["removed"], done["reboot"]
    job.report.notes = done["notes"]
    return {"changed": done["removed"], "reboot": done["reboot"], "msg": done["notes"]}


TASKS: Mapping[str, Callable[..., Said]] = {
    task.__name__: task
    for task in (compare, would_change, send, apply, rollback, reboot, converge, observe, confirm, revert, clean)
}
