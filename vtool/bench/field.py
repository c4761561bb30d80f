"""Where variants are deployed and measured: real and emulated boards, by vtool's own deploy. Enter at ``Field``."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from vtool.base.progress import Progress
from vtool.base.records import record
from vtool.bench import environment
from vtool.bench.cells import Ready
from vtool.bench.places import Spot
from vtool.bench.repetition import cheap
from vtool.bench.steps import BRING, TOOLS, deadline_s
from vtool.board.failures import NoAnswer
from vtool.board.local_lock import local_lock
from vtool.board.protocols import Board
from vtool.board.reaching import refusal, wait_for_sshd
from vtool.board.ssh_only import wait_for_end
from vtool.deploy.board_lock import Held, hold
from vtool.deploy.booting import bring_up
from vtool.deploy.connection import ssh_command
from vtool.deploy.job import Report
from vtool.deploy.play import playing
from vtool.deploy.proof import saved, steps_of
from vtool.deploy.proof.steps import Proof, Row, Step
from vtool.diagnostics import VtoolError, board_failed
from vtool.images.build import ensure
from vtool.plan.types import BoardPlan
from vtool.plan.types.guest import served_by
from vtool.results.records import Clock, Environment

ImagesOf = Callable[[Ready, Sequence[BoardPlan]], Callable[[str], Path]]
"""Builds what plans need; returns how to find an image's file."""
BoardOf = Callable[[BoardPlan], Board]
_OFF_S = 2.0
_STOP_S = 100
"""How long stopping may take: a guest has 30 s to end by itself, and its unit 60 s until it is killed."""
_SEND_S = 120
_SSH_FAILED = 255
"""What ssh itself ends with (ssh(1), EXIT STATUS)."""


@record
class Deployed:
    """How a deployment went on one board."""

    board: str
    generation: str
    rebooted: bool
    failure: VtoolError | None
    rows: tuple[Row, ...] = ()


class Bench(Protocol):
    """A variant that runs, on boards that are ours meanwhile."""

    def clock(self, board: str) -> Clock:
        """Return what a board's seconds are."""

    def environment(self, spot: Spot) -> Environment:
        """Return the fingerprint of what a cell is measured on."""

    def proven(self, board: str) -> list[Row]:
        """Prove again, by the rows that cost next to nothing. VtoolError when the board is lost, or a guest silent."""

    def observe(self, board: str, steps: Sequence[Step]) -> Mapping[str, Any]:
        """Run steps. VtoolError when the board is lost, or a guest silent."""

    def stop(self, board: str) -> bool:
        """End all guests and what serves them, for the next deploy to start; False where that takes a power cut."""


class Field(Protocol):
    """Where variants are deployed."""

    def deploy(self, ready: Ready) -> list[Deployed]:
        """Make a variant run, proven."""

    def bench(self, ready: Ready) -> contextlib.AbstractContextManager[Bench]:
        """Hold the boards that a variant runs on."""

    def revive(self, ready: Ready, *, wait: bool) -> None:
        """Have boards that are lost answer again: cut their power and switch them on, or ``wait`` where nobody can."""


class Boards:
    """A field of boards."""

    def __init__(self, board_of: BoardOf, images_of: ImagesOf, progress: Progress, vtool: str) -> None:
        self._board_of, self._images_of, self._progress, self._vtool = board_of, images_of, progress, vtool

    def _targets(self, ready: Ready) -> list[tuple[BoardPlan, Board]]:
        return [(plan, self._board_of(plan)) for plan in ready.plan.boards]

    def deploy(self, ready: Ready) -> list[Deployed]:
        """Deploy as `vtool deploy` does; what is not proven is taken back."""
        targets = self._targets(ready)
        image_path = self._images_of(ready, [plan for plan, _ in targets])
        with playing("deploy", self._progress, {"keep": False, "rolling": None}) as play:
            reports = play.on(ready.topology.name, targets, image_path)
        return [_deployed(report) for report in reports]

    @contextlib.contextmanager
    def bench(self, ready: Ready) -> Iterator[BoardsBench]:
        """Hold every board; each gets the tools that it has not, when a workload wants one there."""
        with contextlib.ExitStack() as stack:
            held: dict[str, Held] = {}
            targets = self._targets(ready)
            for plan, board in targets:
                stack.enter_context(local_lock(board))
                stack.enter_context(board.hold())
                held[plan.name] = stack.enter_context(hold(board))
            yield BoardsBench({plan.name: (plan, board) for plan, board in targets}, held, self._progress, self._vtool)

    def revive(self, ready: Ready, *, wait: bool) -> None:
        """Cut the power and switch on again; ``wait`` for one that nobody can switch, which its watchdog may.

        VtoolError for a board that stays silent.
        """
        for plan, board in self._targets(ready):
            with local_lock(board), board.hold():  # or it may be somebody else's by now; a lab tells its power then
                if not board.power.can_switch:
                    self._wait_for(board, plan, wait=wait)
                    continue
                board.power.off()
                time.sleep(_OFF_S)
                bring_up(board, self._progress, plan.suite)

    def _wait_for(self, board: Board, plan: BoardPlan, *, wait: bool) -> None:
        """Wait until a board that nobody can switch answers; VtoolError VT603."""
        watchdog_s = plan.watchdog.timeout_s if plan.watchdog else 0
        try:
            if wait:
                wait_for_sshd(board, board.ssh(), watchdog_s + board.facts.boot_timeout_s, self._progress)
                return
        except NoAnswer:
            pass
        hint = "switch it off and on, then run the same command again: it goes on where it stopped"
        raise board_failed("VT603", f"board '{board.name}' is lost, and nothing can switch it", hints=(hint,))


def _deployed(report: Report) -> Deployed:
    failure = report.failure
    if failure is None and not report.proven:
        rows = [f"{row.subject}, {row.what}: {row.seen}" for row in report.rows if row.failed]
        failure = board_failed("VT801", f"not proven: {'; '.join(rows)}"[:1000])
    return Deployed(report.board.name, report.generation, report.rebooted, failure, tuple(report.rows))


class BoardsBench:
    """A variant on boards that are held."""

    def __init__(
        self,
        targets: Mapping[str, tuple[BoardPlan, Board]],
        held: Mapping[str, Held],
        progress: Progress,
        vtool: str,
    ) -> None:
        self._targets, self._held, self._progress, self._vtool = targets, held, progress, vtool
        self._proofs: dict[str, list[Proof]] = {}
        self._has_tools: set[str] = set()
        self._environments: dict[tuple[object, ...], Environment] = {}

    def clock(self, board: str) -> Clock:
        """Return what a board's seconds are."""
        return environment.clock_of(self._targets[board][1])

    def environment(self, spot: Spot) -> Environment:
        """Ask board and guest, once for each guest and what serves it."""
        plan, board = self._targets[spot.board]
        key = (spot.board, spot.place.frontend, spot.units)
        if key not in self._environments:
            results = self.observe(spot.board, environment.steps(plan, spot))
            self._environments[key] = environment.read(results, plan, board, self._vtool)
        return self._environments[key]

    def proven(self, board: str) -> list[Row]:
        """Ask for the cheap rows of what the running generation has to show."""
        if board not in self._proofs:
            kept = self._held[board].run("proof")["proof"]
            self._proofs[board] = cheap(saved.from_json(kept) if kept else [])
        wanted = self._proofs[board]
        results = self._results(board, steps_of(wanted))
        rows = [proof.read(results) for proof in wanted]
        if any(row.failed for row in rows):
            _require_answers(results)
        return rows

    def observe(self, board: str, steps: Sequence[Step]) -> Mapping[str, Any]:
        """Run steps by vtool-board; a server's program is sent first where the board has not got it.

        VtoolError VT603 for a board that does not answer, SilentDomain.
        """
        if any(BRING in step for step in steps) and board not in self._has_tools:
            self._send_tools(board)
        results = self._results(board, steps)
        _require_answers(results)
        return results

    def stop(self, board: str) -> bool:
        """Stop the units of guests and backends; what Xen built at boot has none, and ends with the board.

        VtoolError VT603, VT704.
        """
        plan, reached = self._targets[board]
        guests = plan.guests
        if any(guest.at_boot for guest in guests):
            if reached.power.can_switch:
                return False
            self._held[board].run("reboot")
            return wait_for_end(reached.ssh(), _STOP_S)
        units = [unit for guest in guests for unit in (guest.unit, *served_by(guest).values())]
        stop = {"id": "stop", "op": "run", "command": shlex.join(["systemctl", "stop", *units]), "timeout_s": _STOP_S}
        return "error" not in self._results(board, [stop])["stop"]

    def _results(self, board: str, steps: Sequence[Step]) -> Mapping[str, Any]:
        wanted = json.dumps({"steps": list(steps)})
        said = self._held[board].run("observe", stdin=wanted, timeout_s=deadline_s(steps))
        results: Mapping[str, Any] = said["results"]
        return results

    def _send_tools(self, board: str) -> None:
        """Unpack the tools in memory, where the next boot finds nothing of them."""
        image, reached = ensure(["bench-tools"], self._progress)["bench-tools"].path, self._targets[board][1]
        target = reached.ssh()
        root = "".join(f"{word} " for word in target.escalation)
        line = f"test -x {TOOLS}/bin/fio || {{ {root}mkdir -p {TOOLS} && {root}tar -xz -C {TOOLS}; }}"
        try:
            with image.open("rb") as file:
                done = subprocess.run(
                    [*ssh_command(target), line], stdin=file, capture_output=True, check=False, timeout=_SEND_S
                )
        except subprocess.TimeoutExpired:
            raise refusal(reached, "the tools are not there yet", _SEND_S) from None
        said = done.stderr.decode(errors="replace")
        if done.returncode == _SSH_FAILED:
            raise refusal(reached, said, _SEND_S)
        if done.returncode != 0:
            words = said.splitlines()[-5:]
            raise board_failed("VT704", f"the tools cannot be put on board '{board}'", detail=words)
        self._has_tools.add(board)


def _require_answers(results: Mapping[str, Any]) -> None:
    """Raise SilentDomain with the words of the first step that a domain did not answer."""
    for result in results.values():
        if result.get("silent"):
            error = result["error"]
            raise board_failed(error["code"], error["message"], detail=error["detail"])
