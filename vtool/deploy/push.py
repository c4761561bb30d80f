"""A generation laid out on a board, through the connection that holds it: asked, sent, applied.

No Ansible: three requests to a process that runs there already, whatever the number of files.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from vtool.base.progress import Progress
from vtool.deploy.board_lock import Held
from vtool.deploy.bundle import bundle
from vtool.deploy.failures import DamagedTransfer
from vtool.deploy.job import Job
from vtool.deploy.playbook import JOB_DEADLINE_S
from vtool.diagnostics import Diagnostic, VtoolError
from vtool.files.regular import reason_of


def push(job: Job, prefix: str, progress: Progress) -> None:
    """Make what is staged run on a held board, unconfirmed, or set to boot once; sends what it lacks, and no more.

    ``prefix`` is what the names of the tasks begin with. Raises VtoolError VT705, VT706, VT707, VT716 of the board,
    VT100 for a file that cannot be read here.
    """
    assert job.staged is not None, "it is staged first"
    report, held = job.report, job.held_board
    wanted = json.dumps(job.staged.generation, sort_keys=True)
    with job.phase("compare"), _task(progress, f"{prefix}Ask what the board lacks", "ok"):
        said = held.run("compare", stdin=wanted, timeout_s=JOB_DEADLINE_S)
    job.boot_before, job.applied = said["boot_id"], said["current"]
    report.confirmed = said["current"] and said["confirmed"]
    if job.applied:
        return
    with job.phase("push"):
        missing = {file.sha256: file.path for file in job.staged.files if file.sha256 in said["missing"]}
        if missing:
            with _task(progress, f"{prefix}Send what is missing", "changed"):
                try:
                    send(held, missing, said["bases"])
                except OSError as error:
                    message = f"'{error.filename}' cannot be read: {reason_of(error)}"
                    raise VtoolError(Diagnostic("VT100", message)) from None
        with _task(progress, f"{prefix}Apply the generation", "changed"):
            done = held.run("apply", stdin=wanted, timeout_s=JOB_DEADLINE_S)
    job.applied = True
    report.changed, report.rebooted, report.restarted = done["changed"], done["reboot"], done["restarted"]


def send(held: Held, missing: Mapping[str, Path], bases: Mapping[str, Mapping[str, str]]) -> None:
    """Send what is missing by what differs, and once more as a whole when that did not make it."""
    try:
        held.run("receive", stdin=bundle(missing, bases), timeout_s=JOB_DEADLINE_S)
    except DamagedTransfer:
        if not bases:
            raise
        held.run("receive", stdin=bundle(missing, {}), timeout_s=JOB_DEADLINE_S)


@contextlib.contextmanager
def _task(progress: Progress, name: str, outcome: str) -> Iterator[None]:
    begin = time.monotonic()
    progress.start(name)
    try:
        yield
    except BaseException:
        outcome = "failed"
        raise
    finally:
        progress.finish(name, outcome, time.monotonic() - begin)
