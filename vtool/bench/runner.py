"""The run itself: rounds of all variants, each deployed, proven and measured, every repetition on the disk at once.

    round 1: A B C, round 2: A B C, ...   so that what drifts on a board drifts for all

Knows no boards, only a field of them. Enter at ``run``.
"""

from __future__ import annotations

import contextlib
import datetime
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from vtool.base.progress import Progress
from vtool.bench.cells import Planned, fault_of
from vtool.bench.field import Bench, Deployed, Field
from vtool.bench.repetition import Seen, proof_seen, read, rows_seen
from vtool.bench.steps import steps_of
from vtool.board.failures import NoAnswer
from vtool.deploy.failures import SilentDomain
from vtool.diagnostics import Diagnostic, VtoolError
from vtool.results.records import (
    Cell,
    Clock,
    Deployment,
    Ended,
    Fault,
    ProofSeen,
    Raw,
    Record,
    Repetition,
    Run,
    Session,
    Void,
)
from vtool.results.run_folder import RunRead

MOST_ATTEMPTS = 3
"""How often a session measures a repetition that does not count, and how often it lets a cell cost a deployment."""
MOST_LOSSES = 2 * MOST_ATTEMPTS
"""How often in a row a session lets a variant lose its board, or a guest, until the rest of it is given up."""
_REACHING = "VT6"
"""Of boards that cannot be reached, or are somebody else's."""
_WORTH_ANOTHER = (Void.CLOCK_JUMPED, Void.THROTTLED, Void.DISTURBED, Void.TOOL_FAILED, Void.BOARD_LOST)


@dataclass
class Outcome:
    """What a session came to; ``void`` has each cell and why a repetition of it does not count."""

    measured: int = 0
    void: list[tuple[str, str]] = field(default_factory=list)
    missing: int = 0
    without: set[str] = field(default_factory=set)
    """The cells that lack repetitions."""
    interrupted: bool = False
    told: list[str] = field(default_factory=list)
    """What a person is to know of it besides."""
    running: dict[str, str] = field(default_factory=dict)


def now() -> str:
    """Return the time as records have it."""
    moment = datetime.datetime.now(datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


class Kept(Protocol):
    """Where records are kept: a folder, or the process that writes it."""

    was: RunRead
    set_aside: str | None

    def append(self, record: Record) -> None:
        """Write a record and wait until it is on the disk. VtoolError VT933."""

    def keep_raw(self, cell: str, name: str, content: bytes) -> Raw | None:
        """Keep a tool's output; None when the disk is full. VtoolError VT933."""


@contextlib.contextmanager
def session(
    folder: Kept,
    number: int,
    vtool: str,
    command: tuple[str, ...],
    outcome: Outcome,
    moment: Callable[[], str] = now,
) -> Iterator[None]:
    """Write a session's beginning and its end."""
    begun = Session(number=number, started=moment(), vtool=vtool, command=command, set_aside=folder.set_aside)
    folder.append(begun)
    how: Literal["complete", "interrupted", "failed"] = "failed"
    try:
        yield
        how = "interrupted" if outcome.interrupted else "complete"
    finally:
        folder.append(Ended(session=number, at=moment(), how=how, boards=outcome.running))


class Runner:
    """One session of a run, or the part of it that one lane has."""

    def __init__(
        self,
        planned: Planned,
        folder: Kept,
        where: Field,
        progress: Progress,
        *,
        cells: Collection[str] | None = None,
        stands: Mapping[str, str] = {},
        others: bool = False,
        moment: Callable[[], str] = now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._planned, self._folder, self._field, self._progress = planned, folder, where, progress
        self._moment, self._clock = moment, clock
        self._others = others
        """Whether other boards go on with what this one leaves."""
        self._stands = stands
        """What stands for a board of the topology, where it is not the one of that name."""
        self._missing = {one for one in folder.was.missing() if cells is None or one[0] in cells}
        self._attempts = dict(folder.was.attempts())
        self._known = set(folder.was.environments)
        self._given_up: set[str] = set()
        self._losses: Counter[str] = Counter()
        """How often a cell cost a deployment, and how often in a row a variant did."""
        self._current: str | None = None
        """The variant that runs; one that is alone is deployed once."""
        self._proven: ProofSeen | None = None
        """What was proven last on the variant that runs, with nothing done since."""
        self.session = len(folder.was.sessions) + 1
        self.outcome = Outcome()

    def run(self, vtool: str, command: tuple[str, ...]) -> Outcome:
        """Measure what is missing. Ctrl-C ends it after what is on the disk, and raises nothing."""
        with session(self._folder, self.session, vtool, command, self.outcome, self._moment):
            try:
                self.measure()
            except KeyboardInterrupt:
                self.outcome.interrupted = True
            finally:
                self.outcome.missing = len(self._missing)
                self.outcome.without = {cell for cell, _ in self._missing}
        return self.outcome

    def measure(self) -> None:
        """Measure what is missing, round by round."""
        for number, variant, cells in self._rounds():
            self._variant(number, variant, cells)

    def _rounds(self) -> Iterator[tuple[int, str, list[Cell]]]:
        """Yield what is missing, round by round, in each round variant by variant."""
        for number in range(1, self._folder.was.run.repetitions + 1):
            for variant in self._planned.variants:
                cells = [cell for cell in self._planned.possible if cell.variant == variant.id]
                wanted = [
                    cell for cell in cells if (cell.id, number) in self._missing and cell.id not in self._given_up
                ]
                if wanted:
                    yield number, variant.id, wanted

    def _variant(self, number: int, variant: str, cells: list[Cell]) -> None:
        """Deploy a variant and measure cells of it; what is lost costs a repetition, and is started and deployed again.

        A guest that is silent is stopped, a board is switched off and on.
        """
        left = list(cells)
        while left:
            if self._losses[variant] >= MOST_LOSSES:
                self._given_up.update(cell.id for cell in left)
                return
            if self._current != variant and not self._deploy(variant, left):
                return
            try:
                self._proven = None
                with self._held(variant) as bench:
                    while left:
                        self._cell(bench, left[0], number)
                        left.pop(0)
                        self._losses[variant] = 0
            except _LostError as lost:
                self._current = None
                cell = left[0]
                clock = lost.clock or Clock.REAL  # of a board that did not even answer, nothing is known
                self._note(cell, number, Seen(lost.void, str(lost)), clock, self._moment(), lost.seconds)
                self._losses.update((cell.id, variant))
                if self._losses[cell.id] >= MOST_ATTEMPTS:
                    self._given_up.add(cell.id)
                    left.pop(0)
                if lost.revive:
                    self._field.revive(self._planned.ready[variant], wait=not self._others)

    @contextlib.contextmanager
    def _held(self, variant: str) -> Iterator[Bench]:
        with contextlib.ExitStack() as stack:
            try:
                bench = stack.enter_context(self._field.bench(self._planned.ready[variant]))
            except NoAnswer as error:
                raise _LostError(_words(error), None) from error
            yield bench

    def _deploy(self, variant: str, cells: list[Cell]) -> bool:
        ready, self._current = self._planned.ready[variant], None
        done = self._deployed(variant)
        if any(isinstance(one.failure, NoAnswer) for one in done):
            self._field.revive(ready, wait=not self._others)
            done = self._deployed(variant)
        well = all(one.failure is None for one in done) and len(done) == len(ready.plan.boards)
        for failure in (one.failure for one in done if self._others and one.failure is not None):
            if any(found.code.startswith(_REACHING) for found in failure.diagnostics):
                raise failure
        if well:
            self._current = variant
        else:
            why = "; ".join(fault.message for one in done for fault in _faults(one.failure)) or "a board was left out"
            for cell in cells:
                # What cannot be deployed now cannot be in the next round of this session either.
                self._given_up.add(cell.id)
                self.outcome.void.append((cell.id, f"{Void.NOT_DEPLOYED.value}: {why}"))
        return well

    def _deployed(self, variant: str) -> list[Deployed]:
        """Deploy a variant, and put how that went on the disk."""
        ready, started, begin = self._planned.ready[variant], self._moment(), self._clock()
        self._progress.start(f"deploy {variant}")
        try:
            done = self._field.deploy(ready)
        except VtoolError as error:
            done = [Deployed(board.name, "", False, error) for board in ready.plan.boards]
        seconds = self._clock() - begin
        well = all(one.failure is None for one in done) and len(done) == len(ready.plan.boards)
        self._progress.finish(f"deploy {variant}", "done" if well else "failed", seconds)
        for one in done:
            board = self._stands.get(one.board, one.board)
            self._folder.append(
                Deployment(
                    variant=variant,
                    board=board,
                    session=self.session,
                    started=started,
                    seconds=round(seconds, 3),
                    rebooted=one.rebooted,
                    generation=one.generation,
                    failure=tuple(_faults(one.failure)),
                    rows=rows_seen(one.rows),
                )
            )
            if one.failure is None:
                self.outcome.running[board] = variant
        return done

    def _cell(self, bench: Bench, cell: Cell, number: int) -> None:
        """Measure a repetition of a cell, and again while it does not count and that may pass."""
        clock = bench.clock(cell.board)
        while True:
            started, begin = self._moment(), self._clock()
            self._progress.start(f"{cell.id} #{number}")
            try:
                environment = bench.environment(self._planned.spots[cell.id])
                seen, before, after = self._measure(bench, cell)
            except NoAnswer as error:
                raise _LostError(_words(error), clock, self._clock() - begin) from error
            except SilentDomain as error:
                seconds = self._clock() - begin
                revive = not _stopped(bench, cell.board)
                raise _LostError(_words(error), clock, seconds, Void.GUEST_SILENT, revive=revive) from error
            except KeyboardInterrupt:
                self._note(cell, number, Seen(Void.INTERRUPTED, "Ctrl-C"), clock, started, self._clock() - begin)
                raise
            seconds, text = self._clock() - begin, seen.text
            if environment.id not in self._known:
                self._folder.append(environment)
                self._known.add(environment.id)
            attempt = self._attempts.get((cell.id, number), 0) + 1
            name = f"{number}.{attempt}.{self._planned.workloads[cell.workload].workload.tool}.txt"
            raw = self._folder.keep_raw(cell.id, name, text.encode()) if text else None
            self._note(
                cell,
                number,
                seen,
                clock,
                started,
                seconds,
                before=before,
                after=after,
                environment=environment.id,
                raw=raw,
            )
            # Said once it is on the disk.
            self._progress.finish(f"{cell.id} #{number}", seen.void.value if seen.void else "measured", seconds)
            if seen.void is None:
                return
            if seen.void not in _WORTH_ANOTHER:
                self._given_up.add(cell.id)
                return
            if attempt % MOST_ATTEMPTS == 0:
                return

    def _measure(self, bench: Bench, cell: Cell) -> tuple[Seen, ProofSeen, ProofSeen | None]:
        """Prove, measure, prove. NoAnswer for a board that is lost, SilentDomain for a guest."""
        spot, point = self._planned.spots[cell.id], self._planned.workloads[cell.workload]
        before = self._proven or proof_seen(bench.proven(cell.board))
        self._proven = None
        if before.failed:
            return Seen(Void.NOT_PROVEN_BEFORE, "; ".join(before.failed)), before, None
        results = bench.observe(cell.board, steps_of(spot, point.workload, point.point))
        seen = read(results, spot, point.workload, point.point, bench.clock(cell.board))
        after = self._proven = proof_seen(bench.proven(cell.board))
        if after.failed and seen.void is None:
            seen.void, seen.why = Void.NOT_PROVEN_AFTER, "; ".join(after.failed)
        return seen, before, after

    def _note(
        self,
        cell: Cell,
        number: int,
        seen: Seen,
        clock: Clock,
        started: str,
        seconds: float,
        *,
        before: ProofSeen | None = None,
        after: ProofSeen | None = None,
        environment: str | None = None,
        raw: Raw | None = None,
    ) -> None:
        """Put a repetition on the disk."""
        attempt = self._attempts.get((cell.id, number), 0) + 1
        self._attempts[cell.id, number] = attempt
        if seen.void is None:
            self._missing.discard((cell.id, number))
            self.outcome.measured += 1
        else:
            self.outcome.void.append((cell.id, f"{seen.void.value}: {seen.why}"))
        self._folder.append(
            Repetition(
                cell=cell.id,
                number=number,
                attempt=attempt,
                session=self.session,
                environment=environment,
                clock=clock,
                started=started,
                seconds=round(seconds, 3),
                void=seen.void,
                why=seen.why,
                metrics=seen.metrics,
                work=seen.work,
                costs=tuple(seen.costs),
                conditions=seen.conditions,
                before=before,
                after=after,
                raw=(raw,) if raw else (),
            )
        )


class _LostError(Exception):
    """A board or a guest is lost, after ``seconds``; ``clock`` is what the board's were.

    ``revive``: what is deployed next needs the board to be started again.
    """

    def __init__(
        self,
        why: str,
        clock: Clock | None,
        seconds: float = 0.0,
        void: Void = Void.BOARD_LOST,
        *,
        revive: bool = True,
    ) -> None:
        super().__init__(why)
        self.clock, self.seconds, self.void, self.revive = clock, seconds, void, revive


def _stopped(bench: Bench, board: str) -> bool:
    """Stop what runs on a board whose guest is silent; whether that was possible."""
    try:
        return bench.stop(board)
    except NoAnswer:
        return False


def _words(error: VtoolError) -> str:
    return "; ".join(found.message for found in error.diagnostics)


def run_of(planned: Planned, vtool: str, command: tuple[str, ...], called_from: str = "") -> Run:
    """Return a run's first record; ``called_from`` is the folder of this process, as seen from the run's."""
    loaded = planned.loaded
    return Run(
        id=secrets.token_hex(8),
        name=loaded.matrix.name,
        created=now(),
        vtool=vtool,
        command=command,
        called_from=called_from,
        matrix=loaded.plain,
        matrix_digest=loaded.digest,
        repetitions=loaded.matrix.repetitions,
        axes={name: tuple(value.name for value in values) for name, values in loaded.axes.items()},
        baseline=loaded.baseline,
        variants=planned.variants,
        workloads=planned.used,
        cells=planned.cells,
    )


def _faults(error: VtoolError | None) -> Iterator[Fault]:
    found: tuple[Diagnostic, ...] = error.diagnostics if error else ()
    yield from map(fault_of, found)
