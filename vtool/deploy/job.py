"""One board on its way through a verb: what is done with it, who holds it, what came of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from vtool.base.threads import all_of
from vtool.board.local_lock import local_lock
from vtool.board.protocols import Board
from vtool.deploy.asking import MOST_AT_ONCE
from vtool.deploy.board_lock import Held, hold_reached
from vtool.deploy.proof import Proof, Row
from vtool.deploy.reached import Reached, reach
from vtool.deploy.stage import Staged
from vtool.diagnostics import VtoolError
from vtool.plan.types import BoardPlan

TASK_DEADLINE_S = 1800.0
"""How long any task on a board may take that says nothing else."""


@dataclass
class Report:
    """What a verb came to on one board.

    ``failure`` is what ended it early. ``confirmed`` says that ``generation`` boots from now on; ``notes`` are words on
    what became of disks; ``went_back_to`` is what runs instead after a failure: a generation, or empty for what the
    board came with.
    """

    board: BoardPlan
    generation: str = ""
    topology: str = ""
    rows: list[Row] = field(default_factory=list)
    changed: bool = False
    rebooted: bool = False
    restarted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    confirmed: bool = False
    went_back_to: str | None = None
    failure: VtoolError | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def proven(self) -> bool:
        """Whether nothing failed and every row is proven, beside those that only note something."""
        return self.failure is None and not any(row.failed for row in self.rows)


class Job(contextlib.AbstractContextManager["Job"]):
    """A board and its report; leaving it lets go of the board.

    ``begun``: somebody worked on it. ``given_up``: nobody wants to know any more what comes of it. ``applied``: the
    board runs, or will boot, what this verb wants. ``compared`` is what the board said that it lacks, ``boot_before``
    the boot id it had; ``uplinks`` are the bridges that its own addresses move to. ``proofs`` are what the generation
    has to show that this verb makes run, or finds running; ``shows_nothing``: it keeps none.
    """

    def __init__(self, board: Board, report: Report) -> None:
        self.board = board
        self.report = report
        self.one_at_a_time = threading.Lock()
        self.begun = False
        self.given_up = False
        self.failed_early: VtoolError | None = None
        self.staged: Staged | None = None
        self.applied = False
        self.boot_before = ""
        self.compared: dict[str, Any] = {}
        self.uplinks: list[str] = []
        self.proofs: list[Proof] = []
        self.shows_nothing = False
        self._reached: Reached | None = None
        self._held: Held | None = None
        self._own, self._owned = contextlib.ExitStack(), False
        self._hold = contextlib.ExitStack()

    def __exit__(self, *_: object) -> None:
        """Let go of the board and of its name on this machine."""
        self.let_go()
        self._own.close()

    @property
    def succeeded(self) -> bool:
        """Whether nothing has failed yet."""
        return self.report.failure is None

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure one phase."""
        begin = time.monotonic()
        try:
            yield
        finally:
            spent = self.report.seconds.get(name, 0.0) + time.monotonic() - begin
            self.report.seconds[name] = round(spent, 1)

    def own(self) -> None:
        """Keep other processes of this machine, and users of the same lab, from the board; VT605 says who has it."""
        if self._owned:
            return
        self._own.enter_context(local_lock(self.board))
        self._own.enter_context(self.board.hold())
        self._owned = True

    def reach(self, *, after: str) -> Reached | None:
        """Connect to the board, to hold it then; None, and no connection, while it still runs the boot ``after``."""
        with contextlib.ExitStack() as stack:
            reached = stack.enter_context(reach(self.board))
            if reached.boot_id == after:
                return None
            self._reached = reached
            self._hold.enter_context(stack.pop_all())
        return reached

    def hold(self, *, if_there: bool = False) -> None:
        """Hold the board itself (``board_lock.hold_reached``)."""
        try:
            if self._reached is None:
                self._reached = self._hold.enter_context(reach(self.board))
            self._held = self._hold.enter_context(hold_reached(self._reached, if_there=if_there))
        except BaseException:
            self.let_go()
            raise

    def let_go(self) -> None:
        """Let go of the board itself."""
        self._reached = self._held = None
        self._hold.close()

    def cut(self) -> None:
        """End the connection, so that whoever waits for the board does not any more."""
        if self._reached is not None:
            self._reached.cut()

    @property
    def held_board(self) -> Held:
        """Return the board as it is held."""
        assert self._held is not None, "hold() comes first"
        return self._held

    @property
    def is_held(self) -> bool:
        """Whether the board is held now."""
        return self._held is not None


def each(work: Callable[[Job], None], jobs: Sequence[Job], *, failed_too: bool = False) -> None:
    """Do something for every board, side by side; what fails is that board's failure, and it is left out then."""

    def one(job: Job) -> None:
        if not (job.succeeded or failed_too):
            return
        try:
            work(job)
        except VtoolError as error:
            job.report.failure = job.report.failure or error

    if len(jobs) == 1:
        one(jobs[0])
    elif jobs:
        with ThreadPoolExecutor(max_workers=min(len(jobs), MOST_AT_ONCE)) as pool:
            try:
                all_of([pool.submit(one, job) for job in jobs])
            except BaseException:  # Ctrl-C: nobody waits for what is being sent
                for job in jobs:
                    job.cut()
                raise
