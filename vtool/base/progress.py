"""How long work tells that it is alive: events, not prints.

Any room may report; only ``vtool.cli`` shows. Nothing here touches a terminal.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what happens to named tasks; calls may come from several threads."""

    def start(self, task: str) -> None:
        """Tell that a task has begun."""

    def update(self, task: str, detail: str) -> None:
        """Tell what a running task is doing now (a short phrase, one line)."""

    def waits(self, what: str) -> None:
        """Tell at once that something is waited for, which may take minutes."""

    def finish(self, task: str, outcome: str, seconds: float) -> None:
        """Tell that a task ended: ``outcome`` is a word such as ``built``, ``cached``, ``failed``."""


class Silent:
    """A Progress that tells nobody."""

    def start(self, task: str) -> None:
        """Ignore."""

    def update(self, task: str, detail: str) -> None:
        """Ignore."""

    def waits(self, what: str) -> None:
        """Ignore."""

    def finish(self, task: str, outcome: str, seconds: float) -> None:
        """Ignore."""
