"""The verbs that change or look at a board: deploy, verify, tear down. One board at a time for now.

Raises VtoolError; prints nothing; tells progress.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vtool.board.emulated import EmulatedBoard, EmulatedImages, runtime_folder
from vtool.board.shell import no_answer, open_shell, wait_for_sshd
from vtool.deploy.playbook import Events, run_playbook
from vtool.deploy.proof import Proof, Row, proofs, steps_of
from vtool.deploy.stage import PROGRAM, Staged, stage
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError, board_failed
from vtool.images import BOARD_IMAGES
from vtool.images.build import ensure
from vtool.plan.types import BoardPlan
from vtool.progress import Progress
from vtool.render import render

BOOT_DEADLINE_S = 120
START_DEADLINE_S = 120
_OBSERVE_TASK = "Observe what runs"
_ASK_TASK = "Ask what the board lacks"
_APPLY_TASK = "Apply the generation"


@dataclass
class Report:
    """What a deploy or verify of one board came to."""

    board: BoardPlan
    rows: list[Row]
    changed: bool = False
    rebooted: bool = False
    restarted: list[str] = field(default_factory=list)
    generation: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def proven(self) -> bool:
        """Tell whether every row is proven."""
        return all(row.proven for row in self.rows)


class Timer:
    """Seconds by phase, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure one phase."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - begin, 1)


@contextlib.contextmanager
def board_lock(name: str) -> Iterator[None]:
    """Hold the board for this vtool; VtoolError VT605 says who has it and since when."""
    folder = runtime_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise board_failed(
                "VT605", f"another vtool is working on board '{name}' ({lock.read().strip() or 'unknown'})"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, since {time.strftime('%H:%M:%S')}")
        lock.flush()
        yield


def bring_up(board: EmulatedBoard, progress: Progress) -> bool:
    """Make the board if need be, switch it on, wait for ssh. Returns whether it was off."""
    if not board.exists():
        images = ensure(BOARD_IMAGES, progress)
        begin = time.monotonic()
        progress.start(f"make board {board.name}")
        board.create(EmulatedImages(images["firmware"].path, images["linux"].path, images["root-disk"].path))
        progress.finish(f"make board {board.name}", "made", time.monotonic() - begin)
    was_off = not board.is_on()
    begin = time.monotonic()
    if was_off:
        progress.start(f"switch {board.name} on")
        board.on()
    wait_for_sshd(board, board.ssh(), BOOT_DEADLINE_S)
    if was_off:
        progress.finish(f"switch {board.name} on", "answers", time.monotonic() - begin)
    return was_off


def deploy(
    topology: str,
    plan: BoardPlan,
    board: EmulatedBoard,
    image_path: Callable[[str], Path],
    progress: Progress,
) -> Report:
    """Make the plan what runs on the board, and prove it. Raises VtoolError VT5xx to VT7xx.

    A report whose rows are not all proven is returned, not raised.
    """
    timer, wanted = Timer(), proofs(plan)
    with board_lock(board.name), tempfile.TemporaryDirectory(prefix="vtool-stage-") as folder:
        work = Path(folder)
        with timer.phase("board"):
            bring_up(board, progress)
        with timer.phase("stage"):
            staged = stage(topology, plan, render(plan), board.base_device_tree(), image_path, work)
            staged.write(work / "push")
        with timer.phase("push"):
            events = run_playbook("deploy", board, _variables(staged, work, wanted), progress)
        applied = events.outputs.get(_APPLY_TASK) or {"changed": False, "reboot": False, "restarted": []}
        if applied["reboot"]:
            with timer.phase("boot"):
                wait_for_boot(board, events.outputs[_ASK_TASK]["boot_id"], progress)
            with timer.phase("start and verify"):
                events = run_playbook("start", board, _variables(staged, work, wanted), progress)
    return Report(
        board=plan,
        rows=_rows(events, wanted),
        changed=bool(applied["changed"]),
        rebooted=bool(applied["reboot"]),
        restarted=list(applied["restarted"]),
        generation=str(staged.generation["generation"]),
        seconds=timer.seconds,
    )


def boot_id(board: EmulatedBoard) -> str:
    """Return the running system's boot id."""
    with open_shell(board) as shell:
        return shell.run("cat /proc/sys/kernel/random/boot_id").stdout.strip()


def wait_for_boot(board: EmulatedBoard, before: str, progress: Progress) -> None:
    """Wait until another boot than ``before`` answers; VT603 with the console's tail past the deadline."""
    task, begin = f"boot {board.name}", time.monotonic()
    progress.start(task)
    while True:
        left = BOOT_DEADLINE_S - (time.monotonic() - begin)
        if left <= 0:
            progress.finish(task, "failed", time.monotonic() - begin)
            raise no_answer(board, BOOT_DEADLINE_S, "the new system did not boot")
        try:
            if boot_id(board) not in ("", before):
                break
        except VtoolError as error:
            if error.diagnostics[0].code == "VT604" or left < 20:
                raise
        time.sleep(0.5)  # between two looks at a board that is booting; the loop has the deadline
    progress.finish(task, "answers", time.monotonic() - begin)


def verify(topology: str, plan: BoardPlan, board: EmulatedBoard, progress: Progress) -> Report:
    """Look at what runs and compare it with the plan; changes nothing but verify's own scratch space."""
    timer, wanted = Timer(), proofs(plan)
    with board_lock(board.name):
        require_deployed(topology, board)
        with timer.phase("verify"):
            events = run_playbook("verify", board, _look(wanted), progress)
    return Report(board=plan, rows=_rows(events, wanted), seconds=timer.seconds)


def tear_down(board: EmulatedBoard, progress: Progress) -> dict[str, float]:
    """Leave the board clean and running the system it came with; returns seconds by phase."""
    timer = Timer()
    with board_lock(board.name), timer.phase("tear down"):
        if not board.is_on():
            bring_up(board, progress)
        before = boot_id(board)
        events = run_playbook("teardown", board, {"vtool_program": _packed(PROGRAM.read_bytes())}, progress)
        if events.outputs["Stop and remove"]["reboot"]:
            wait_for_boot(board, before, progress)
    return timer.seconds


def require_deployed(topology: str, board: EmulatedBoard) -> None:
    """Raise VT703 unless that topology is what vtool has deployed to the board."""
    deployed = board_state(board).get("deployed")
    if deployed is None or deployed["topology"] != topology:
        instead = f"'{deployed['topology']}' is deployed" if deployed else "nothing is deployed"
        raise board_failed(
            "VT703", f"{instead} on board '{board.name}', not '{topology}'", hints=("run: vtool deploy TOPOLOGY",)
        )


def board_state(board: EmulatedBoard) -> dict[str, Any]:
    """Return what vtool-board says of the board; ``deployed`` is None when vtool is not there."""
    with open_shell(board) as shell:
        result = shell.run("test -x /usr/local/sbin/vtool-board || exit 100; vtool-board state")
    if result.code == 100:
        return {"deployed": None, "domains": {}, "backends": {}, "damaged": []}
    return board_json(result.stdout, result.stderr)


def board_json(stdout: str, stderr: str) -> dict[str, Any]:
    """Read what vtool-board printed; its errors become VtoolError."""
    try:
        said = json.loads(stdout)
    except ValueError:
        raise board_failed(
            "VT704", "vtool-board did not answer with JSON", detail=(stdout + stderr).splitlines()[-10:]
        ) from None
    if isinstance(said, dict) and "error" in said:
        error = said["error"]
        raise VtoolError(
            Diagnostic(error["code"], error["message"], hints=tuple(error["hints"]), detail=tuple(error["detail"])),
            ExitCode.BOARD_FAILED,
        )
    assert isinstance(said, dict)
    return said


def domain_tails(plan: BoardPlan, board: EmulatedBoard) -> list[str]:
    """Return the last lines of every domain's console and of its backends' journals."""
    lines: list[str] = []
    with open_shell(board) as shell:
        for guest in plan.guests:
            said = shell.run(f"vtool-board logs --lines 15 -- {guest.name}")
            lines += [f"tail of domain '{guest.name}':"]
            lines += [f"  | {line}" for line in said.stdout.replace("\r", "").splitlines()]
    return lines


def _packed(data: bytes) -> str:
    """Write bytes as a word that a shell line can carry."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def _look(wanted: list[Proof]) -> dict[str, Any]:
    """Return the playbook variables that looking needs."""
    steps = json.dumps({"steps": steps_of(wanted)})
    return {"vtool_program": _packed(PROGRAM.read_bytes()), "vtool_steps": _packed(steps.encode())}


def _variables(staged: Staged, work: Path, wanted: list[Proof]) -> dict[str, Any]:
    generation = json.dumps(staged.generation, sort_keys=True)
    return {
        **_look(wanted),
        "vtool_generation": _packed(generation.encode()),
        "vtool_objects": str(work / "push" / "objects"),
        "vtool_bundle": str(work / "bundle.tar"),
        "vtool_start_deadline": START_DEADLINE_S,
    }


def _rows(events: Events, wanted: list[Proof]) -> list[Row]:
    results = events.outputs[_OBSERVE_TASK]["results"]
    return [proof.read(results) for proof in wanted]
