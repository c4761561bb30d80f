"""How long a board is waited for: what the inventory says on hardware, longer where a busy machine emulates the board.

An emulated board has the time that this machine leaves it: one that is slow is not broken. Enter at ``patience``.
"""

from __future__ import annotations

import os

USUAL_BOOT_S = 30.0
"""From power until sshd answers, of an emulated board that has two cores for itself."""
MOST = 6.0
"""However slow a board was, something that does not come is broken at last."""


class OnTime:
    """A board whose deadlines are those that are written: hardware."""

    patience = 1.0

    def booted_in(self, seconds: float) -> None:
        """Do nothing."""


def patience(boot_s: float | None, load: float) -> float:
    """Return by what deadlines are multiplied: at least 1, at most MOST.

    ``boot_s`` is what the board's last start from power took, None when it is not known; ``load`` is that of this
    machine a processor.
    """
    return min(MOST, max(1.0, load, (boot_s or 0.0) / USUAL_BOOT_S))


def load_of_machine() -> float:
    """Return how many processes want each processor of this machine: the last minute's, or the last five's."""
    return max(os.getloadavg()[:2]) / (os.cpu_count() or 1)
