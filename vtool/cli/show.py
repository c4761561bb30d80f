"""Progress on a terminal or in a log: lines on stderr, one per task's end, one live line where it helps."""

from __future__ import annotations

import os
import sys
import threading
import time

_LOG_INTERVAL_S = 15.0


class ShownProgress:
    """A Progress that writes to stderr. On a terminal the running tasks share a live last line."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._lock = threading.Lock()
        self._begin: dict[str, float] = {}
        self._details: dict[str, str] = {}
        self._last = time.monotonic()

    def start(self, task: str) -> None:
        """Note that a task runs."""
        with self._lock:
            self._begin[task] = time.monotonic()
            self._draw()

    def update(self, task: str, detail: str) -> None:
        """Show what a task does; in a log at most every few seconds."""
        with self._lock:
            self._details[task] = detail
            if self._live:
                self._draw()
            elif time.monotonic() - self._last > _LOG_INTERVAL_S:
                self._last = time.monotonic()
                print(f"  … {self._running()}", file=sys.stderr, flush=True)

    def waits(self, what: str) -> None:
        """Write a line of it: what ends in minutes, or not at all, is said when it begins."""
        with self._lock:
            self._clear()
            print(f"  waiting for {what}", file=sys.stderr, flush=True)
            self._draw()

    def finish(self, task: str, outcome: str, seconds: float) -> None:
        """Write the line of a finished task; skipped ones are not worth a line."""
        with self._lock:
            self._begin.pop(task, None)
            self._details.pop(task, None)
            self._clear()
            if outcome != "skipped":
                print(f"  {outcome:<8} {task} ({seconds:.1f} s)", file=sys.stderr, flush=True)
            self._draw()

    def _running(self) -> str:
        return "; ".join(f"{task}: {self._details[task]}" if task in self._details else task for task in self._begin)

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[2K", end="", file=sys.stderr)

    def _draw(self) -> None:
        if self._live and self._begin:
            width = os.get_terminal_size(sys.stderr.fileno()).columns - 4
            print(f"\r\x1b[2K  … {self._running()[:width]}", end="", file=sys.stderr, flush=True)
