"""What a verb came to on several boards: whose fault a failure is, and one table of them all."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.diagnostics import VtoolError
from vtool.report.summary import table

_FAULTS = (("VT1", "topology"), ("VT2", "topology"), ("VT3", "topology"), ("VT4", "topology"), ("VT5", "machine"))
_REACHING = ("VT6", "VT712")


def fault_of(failure: VtoolError | None, *, proven: bool) -> str:
    """Say whose fault a board's failure is: topology, machine (this one), infrastructure, board; or empty."""
    if failure is None:
        return "" if proven else "board"
    code = failure.diagnostics[0].code
    if code.startswith(_REACHING):
        return "infrastructure"
    return next((fault for prefix, fault in _FAULTS if code.startswith(prefix)), "board")


def outcome_lines(outcomes: list[tuple[str, str, str, str]]) -> Iterator[str]:
    """Yield a line a board: its name, what came of it, whose fault a failure is, what runs now."""
    yield from table([("board", "outcome", "fault", "runs"), *outcomes], indent="")
