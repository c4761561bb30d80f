"""A session on several boards: lanes measure groups of cells side by side, and this process alone writes the folder.

A lane that loses its boards costs the cells that it was at; its other groups go on in another lane, each as a whole:
what was measured of one on the board that is lost is said not to count (``Moved``). Enter at ``SideBySide``.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import wait
from typing import Any

from vtool.base.progress import Progress
from vtool.base.records import record
from vtool.bench.cells import Planned
from vtool.bench.estimates import Estimate, Times, in_words
from vtool.bench.groups import Group, began_on, groups_of, spread
from vtool.bench.lane_process import APPEND, DONE, KEEP_RAW, FieldOf, Refused, Running, start
from vtool.bench.lanes import Lane
from vtool.bench.run_folder import RunFolder
from vtool.bench.runner import Outcome, Runner, now, session
from vtool.diagnostics import VtoolError, board_failed
from vtool.diagnostics.codes import declare
from vtool.results.records import Moved
from vtool.results.run_folder import RunRead, read_run

declare(
    "VT948",
    what="the process that measures on one of several boards has ended",
    why="vtool has a fault, or somebody has killed it. What it had measured is kept.",
    example="kill -9 of that process",
    fix="Run the same command again: it goes on where it stopped.",
)
_NOT_THERE = "that is not among the boards"
_END_S = 120.0
"""How long a lane may take to let go of its boards once nobody wants it any more."""


@record
class Spreading:
    """What each lane is to measure, and how long that takes; ``began`` are the names of groups that began there."""

    lanes: tuple[Lane, ...]
    given: Mapping[str, Sequence[Group]]
    estimates: Mapping[str, Estimate]
    began: frozenset[str]

    @property
    def whole(self) -> Estimate:
        """Return the estimate of all lanes side by side: as long as the longest, and what they do together."""
        all_of = [*self.estimates.values()]
        seconds = max((one.seconds for one in all_of), default=0.0)
        sums = ((one.repetitions, one.deployments, one.parts, one.measured) for one in all_of)
        return Estimate(seconds, *map(sum, zip(*sums, strict=True)))

    @property
    def words(self) -> str:
        """Return that in a line."""
        told, boards = self.whole, f" on {len(self.lanes)} boards" if len(self.lanes) > 1 else ""
        return f"{told.repetitions} repetitions to measure, about {in_words(told.seconds)}{boards}"


def spread_over(planned: Planned, lanes: Sequence[Lane], was: RunRead | None) -> Spreading:
    """Return what each lane is to measure: groups that have begun where they began, else where it is over first."""
    times = Times(planned, was)
    missing = {cell for cell, _ in times.missing}
    groups = [group for group in groups_of(planned.cells) if missing & set(group.cells)]
    fixed: dict[str, str] = {}
    for group in groups:
        boards = began_on(group, was) if was is not None else set()
        fixed.update((group.name, lane.name) for lane in lanes if boards and boards <= lane.boards)
    given = spread(groups, [lane.name for lane in lanes], times, fixed)
    estimates = {name: times.whole({cell for one in mine for cell in one.cells}) for name, mine in given.items()}
    return Spreading(tuple(lanes), given, estimates, frozenset(fixed))


def measure(
    planned: Planned,
    folder: RunFolder,
    lanes: Sequence[Lane],
    field: FieldOf,
    progress: Progress,
    vtool: str,
    command: tuple[str, ...],
) -> Outcome:
    """Measure what is missing of a run: in this process on one lane, side by side on several."""
    if len(lanes) > 1:
        return SideBySide(planned, folder, lanes, field, progress).run(vtool, command)
    (lane,) = lanes
    told = move(folder, groups_of(planned.cells), lane, len(folder.was.sessions) + 1, _NOT_THERE)
    outcome = Runner(planned, folder, field(lane, progress), progress, stands=lane.stands).run(vtool, command)
    outcome.told = [*told, *outcome.told]
    return outcome


def move(folder: RunFolder, groups: Sequence[Group], lane: Lane, number: int, why: str) -> list[str]:
    """Say of groups that began on other boards than a lane's that they begin anew; return that in words."""
    told = []
    for group in groups:
        boards = began_on(group, folder.was)
        if not boards <= lane.boards:
            before = " and ".join(sorted(boards))
            folder.append(Moved(cells=group.cells, session=number, at=now(), before=before, after=lane.name, why=why))
            told.append(f"{group.name} and what is compared with it begin anew on {lane.name}, not {before}: {why}")
    if told:
        folder.was = read_run(folder.folder)
    return told


class SideBySide:
    """One session of a run on several lanes, each with a field of its own."""

    def __init__(
        self, planned: Planned, folder: RunFolder, lanes: Sequence[Lane], field: FieldOf, progress: Progress
    ) -> None:
        self._planned, self._folder, self._field, self._progress = planned, folder, field, progress
        self._lanes = {lane.name: lane for lane in lanes}
        self._running: dict[str, Running] = {}
        self._given: dict[str, Sequence[Group]] = {}
        self._waiting: list[Group] = []
        """Groups of lanes that are lost."""
        self._lost: dict[str, VtoolError] = {}
        self._fatal: VtoolError | None = None
        self.session = len(folder.was.sessions) + 1
        self.outcome = Outcome()

    def run(self, vtool: str, command: tuple[str, ...]) -> Outcome:
        """Measure what is missing, in all lanes. Ctrl-C ends all of them; VtoolError when the last lane is lost."""
        with session(self._folder, self.session, vtool, command, self.outcome), self._signals():
            try:
                given = spread_over(self._planned, [*self._lanes.values()], self._folder.was).given
                for name, groups in given.items():
                    self._start(self._lanes[name], groups, _NOT_THERE)
                while self._running:
                    self._serve()
            finally:
                self._end()
                self._count()
            if self._fatal is not None:
                raise self._fatal
            if self._waiting and not self.outcome.interrupted:
                raise next(iter(self._lost.values()))
        return self.outcome

    def _count(self) -> None:
        left = read_run(self._folder.folder).missing()
        self.outcome.missing, self.outcome.without = len(left), {cell for cell, _ in left}

    def _start(self, lane: Lane, groups: Sequence[Group], why: str) -> None:
        if not groups:
            return
        self.outcome.told += move(self._folder, groups, lane, self.session, why)
        cells = {cell for group in groups for cell in group.cells}
        others = [*self._running.values()]
        self._given[lane.name] = groups
        self._running[lane.name] = start(lane, self._planned, self._folder, self._field, cells, others)

    # -- what lanes ask

    def _serve(self) -> None:
        """Answer the lanes that ask, each once."""
        asking = wait([running.connection for running in self._running.values()])
        for running in [one for one in self._running.values() if one.connection in asking]:
            try:
                asked, *words = running.connection.recv()
            except (EOFError, OSError):
                what = f"the process of lane '{running.lane.name}' ended"
                self._over(running, board_failed("VT948", what))
                continue
            if asked == DONE:
                self._answer(running, None)
                self._done(running, *words)
                continue
            try:
                answer = self._do(running.lane, asked, words)
            except VtoolError as error:  # the folder cannot be written: nothing that is measured now would be kept
                self._fatal = self._fatal or error
                answer = Refused(error.diagnostics)
                self._interrupt()
            self._answer(running, answer)

    def _do(self, lane: Lane, asked: str, words: Sequence[Any]) -> Any:
        if asked == APPEND:
            return self._folder.append(words[0])
        if asked == KEEP_RAW:
            return self._folder.keep_raw(*words)
        method, task, *more = words
        return getattr(self._progress, method)(f"{lane.name}: {task}", *more)

    def _answer(self, running: Running, answer: Any) -> None:
        with contextlib.suppress(OSError):  # it has ended, which is seen when it is listened to
            running.connection.send(answer)

    # -- lanes that end

    def _done(self, running: Running, outcome: Outcome, found: Sequence[Any]) -> None:
        mine = self.outcome
        mine.measured += outcome.measured
        mine.void += outcome.void
        mine.running |= outcome.running
        mine.interrupted |= outcome.interrupted
        self._over(running, VtoolError(found) if found else None)

    def _over(self, running: Running, error: VtoolError | None) -> None:
        """Take a lane's groups from it when it is lost, and give waiting ones to those that have nothing to do."""
        name = running.lane.name
        running.connection.close()
        running.process.join(_END_S)
        del self._running[name]
        if error is not None:
            self._lost[name] = error
            self._folder.was = read_run(self._folder.folder)
            missing = {cell for cell, _ in self._folder.was.missing()}
            self._waiting += [group for group in self._given[name] if missing & set(group.cells)]
            self._progress.finish(f"{name}: {error.diagnostics[0].message}", "lost", 0.0)
        if not self._waiting or self.outcome.interrupted or self._fatal is not None:
            return
        idle = [lane for other, lane in self._lanes.items() if other not in (*self._lost, *self._running)]
        if idle:
            groups, self._waiting = self._waiting, []
            was = self._folder.was = read_run(self._folder.folder)
            given = spread(groups, [one.name for one in idle], Times(self._planned, was), {})
            for lane in idle:
                self._start(lane, given[lane.name], "its board is lost")

    # -- Ctrl-C

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end every lane, while what they then say is still written."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _interrupt(self, *by: object) -> None:
        self.outcome.interrupted |= bool(by)
        for running in self._running.values():
            running.interrupt()

    def _end(self) -> None:
        """End what still runs, which is nothing unless something here went wrong."""
        for running in self._running.values():
            running.interrupt()
            running.connection.close()
            running.process.join(_END_S)
