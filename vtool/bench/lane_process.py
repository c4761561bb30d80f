"""The process of one lane: it measures as if it were alone, and has another process write what it measured.

    lane                                  the process that writes
    append, keep_raw, progress, done ───► side_by_side

Whatever is asked is answered before anything goes on, so that what is said to be measured is on the disk. Enter at
``start``.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Collection, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from vtool.base.progress import Progress
from vtool.base.records import record
from vtool.bench.cells import Planned
from vtool.bench.field import Field
from vtool.bench.lanes import Lane
from vtool.bench.run_folder import RunFolder
from vtool.bench.runner import Outcome, Runner
from vtool.diagnostics import Diagnostic, VtoolError
from vtool.results.records import Raw, Record

FieldOf = Callable[[Lane, Progress], Field]
"""The field of a lane, which shows its progress there."""
APPEND, KEEP_RAW, PROGRESS, DONE = "append", "keep-raw", "progress", "done"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@record
class Refused:
    """What stands in the way of what was asked for."""

    why: tuple[Diagnostic, ...]


@record
class Running:
    """A lane's process, and the writer's end of the pipe to it."""

    lane: Lane
    process: BaseProcess
    connection: Connection

    def interrupt(self) -> None:
        """End it as Ctrl-C does."""
        if self.process.pid is not None and self.process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGINT)


def start(
    lane: Lane, planned: Planned, folder: RunFolder, where: FieldOf, cells: Collection[str], others: Collection[Running]
) -> Running:
    """Start a lane that measures what is missing of cells; ``others`` run already."""
    ours, its = multiprocessing.Pipe()
    not_its = [ours, *(other.connection for other in others)]

    def work() -> None:
        # Ctrl-C is for the process that writes, which then tells every lane, once.
        os.setpgid(0, 0)
        for number in _SIGNALS:
            signal.signal(number, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        for connection in not_its:  # or nobody would see that the writer has ended
            connection.close()
        folder.forget()
        asked = _Asked(its, folder)
        _measure(lane, planned, asked, where(lane, asked), cells)

    # A copy of this process, so that everything that was read and planned is there.
    process = multiprocessing.get_context("fork").Process(target=work, name=lane.name)
    with _blocked():
        process.start()
    its.close()
    return Running(lane, process, ours)


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """Put signals off until the new process handles them by itself."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _measure(lane: Lane, planned: Planned, folder: _Asked, where: Field, cells: Collection[str]) -> None:
    runner = Runner(planned, folder, where, folder, cells=cells, stands=lane.stands, others=True)
    found: tuple[Diagnostic, ...] = ()
    try:
        runner.measure()
    except KeyboardInterrupt:
        runner.outcome.interrupted = True
    except VtoolError as error:
        found = error.diagnostics
    folder.done(runner.outcome, found)


class _Asked:
    """A run folder that another process writes, and the progress that it shows. Signals wait while it is asked."""

    def __init__(self, connection: Connection, folder: RunFolder) -> None:
        self._connection = connection
        self.was, self.set_aside = folder.was, folder.set_aside

    def append(self, record: Record) -> None:
        """Write a record and wait until it is on the disk. VtoolError VT933."""
        self._ask(APPEND, record)

    def keep_raw(self, cell: str, name: str, content: bytes) -> Raw | None:
        """Keep a tool's output; None when the disk is full. VtoolError VT933."""
        kept: Raw | None = self._ask(KEEP_RAW, cell, name, content)
        return kept

    def start(self, task: str) -> None:
        """Tell that a task has begun."""
        self._ask(PROGRESS, "start", task)

    def update(self, task: str, detail: str) -> None:
        """Tell what a task is doing."""
        self._ask(PROGRESS, "update", task, detail)

    def waits(self, what: str) -> None:
        """Tell that something is waited for."""
        self._ask(PROGRESS, "waits", what)

    def finish(self, task: str, outcome: str, seconds: float) -> None:
        """Tell that a task ended."""
        self._ask(PROGRESS, "finish", task, outcome, seconds)

    def done(self, outcome: Outcome, found: tuple[Diagnostic, ...]) -> None:
        """Tell what came of all."""
        self._ask(DONE, outcome, found)

    def _ask(self, what: str, *words: Any) -> Any:
        with _blocked():
            try:
                self._connection.send((what, *words))
                answer = self._connection.recv()
            except (EOFError, OSError):
                raise SystemExit(1) from None  # whoever writes has ended: nothing that is measured now would be kept
        if isinstance(answer, Refused):
            raise VtoolError(answer.why)
        return answer
