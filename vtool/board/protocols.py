"""What vtool asks of any board, emulated or real.

Drivers implement these; ``vtool.deploy`` and ``vtool.cli`` know nothing else of a board.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class SshTarget:
    """Where a board's sshd is, and the files that prove both ends to each other."""

    host: str
    port: int
    user: str
    identity_file: Path
    known_hosts_file: Path


class Power(Protocol):
    """The board's supply. ``off`` is a cut: nothing is asked of the running system."""

    def on(self) -> None:
        """Switch on; returns when power is there, not when the system is up."""

    def off(self) -> None:
        """Cut the power at once."""

    def is_on(self) -> bool:
        """Tell whether the board has power."""


class Console(Protocol):
    """The board's serial console, always logged."""

    def log_path(self) -> Path:
        """Return the file that holds everything the console ever said."""

    def tail(self, lines: int) -> tuple[str, ...]:
        """Return the last lines the console said."""

    def interact(self) -> int:
        """Connect the terminal to the console until the user leaves; returns an exit code."""


class Board(Protocol):
    """One board."""

    @property
    def name(self) -> str:
        """Name in topology and inventory."""

    @property
    def driver(self) -> str:
        """Name of the driver."""

    @property
    def power(self) -> Power:
        """The supply."""

    @property
    def console(self) -> Console:
        """The serial console."""

    def ssh(self) -> SshTarget:
        """Return where to reach sshd; raises VtoolError VT602 when the board is off."""

    def base_device_tree(self) -> bytes:
        """Return the device tree that the board's firmware would hand over, without overlays."""

    def shut_down(self, deadline_s: float) -> bool:
        """Ask the running system to end; tell whether it did within the deadline."""
