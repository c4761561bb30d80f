"""What vtool asks of any board, emulated or real.

Drivers implement these; ``vtool.deploy`` and ``vtool.cli`` know nothing else of a board. What a board
cannot do is a value too (``NoPower``, ``NoConsole``, ``NoMedia``), so that nobody has to ask for its driver.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from vtool.model.board_facts import BoardFacts

ROOT = "root"


@dataclass(frozen=True)
class SshTarget:
    """Where a board's sshd is, and the files that prove both ends to each other.

    Without an identity file the user's ssh agent proves who is there. ``pinned`` is where a person would change the
    board's key: the known-hosts file, if vtool does not write that.
    """

    host: str
    port: int
    user: str
    identity_file: Path | None
    known_hosts_file: Path
    pinned: str = ""

    @property
    def escalation(self) -> tuple[str, ...]:
        """Return the words before a command that needs root: none for root, else sudo, which never asks."""
        return () if self.user == ROOT else ("sudo", "-n")


@dataclass(frozen=True)
class Standing:
    """What can be told of a board without its system: for lists.

    ``power`` is on, off, unknown or not made; ``ssh`` is ``host:port``; ``place`` is where it stands in a
    lab, with who holds it.
    """

    power: str
    ssh: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class CommandResult:
    """What a command on the board said."""

    code: int
    stdout: str
    stderr: str


class Commands(Protocol):
    """Commands on a board, by whatever way there is to it."""

    def as_root(self, *words: str) -> str:
        """Return the command line that runs a program with root's rights."""

    def run(self, command: str, *, timeout_s: float = 60.0) -> CommandResult:
        """Run a command and collect what it says. VtoolError VT603 when it takes too long or the connection ends."""


class BoardClock(Enum):
    """What a board's time is: that of the world, of a machine that emulates it, or the instructions it executed.

    ``INSTRUCTIONS``: each takes a nanosecond, and a board that has nothing to do goes on at once to when it has.
    """

    REAL = "real"
    EMULATED = "emulated"
    INSTRUCTIONS = "instructions"


class Power(Protocol):
    """The board's supply. ``off`` is a cut: nothing is asked of the running system."""

    @property
    def can_switch(self) -> bool:
        """Whether ``on`` and ``off`` do anything."""

    def on(self) -> None:
        """Switch on; returns when power is there, not when the system is up."""

    def off(self) -> None:
        """Cut the power at once."""

    def is_on(self) -> bool:
        """Whether the board has power; true where nobody can tell."""


class Console(Protocol):
    """The board's serial console."""

    @property
    def can_join(self) -> bool:
        """Whether ``interact`` does anything."""

    def log_path(self) -> Path | None:
        """Return the file that holds everything the console said while somebody listened."""

    def tail(self, lines: int) -> tuple[str, ...]:
        """Return the last lines the console said; none where nobody listens."""

    def interact(self) -> int:
        """Connect the terminal to the console until the user leaves; returns an exit code."""


class Media(Protocol):
    """What the board boots from, written from outside while the board is off."""

    @property
    def can_write(self) -> bool:
        """Whether ``write`` does anything."""

    def write(self, image: Path) -> None:
        """Put a disk image on it; what was there is lost. VtoolError VT627 when it does not fit."""


class Board(Protocol):
    """One board; ``words`` are how a command line names it: with its inventory, where that is not vtool's own."""

    words: str

    @property
    def name(self) -> str:
        """Name in topology and inventory."""

    @property
    def identity(self) -> str:
        """What no other board on this machine or in a lab is, whatever inventories call it."""

    @property
    def driver(self) -> str:
        """Name of the driver."""

    @property
    def facts(self) -> BoardFacts:
        """What is known of this kind of board."""

    @property
    def clock(self) -> BoardClock:
        """What its time is."""

    @property
    def patience(self) -> float:
        """By what every deadline is multiplied: 1 for hardware, more for what a busy machine emulates."""

    def booted_in(self, seconds: float) -> None:
        """Take note of how long it took from power until its sshd answered."""

    @property
    def power(self) -> Power:
        """The supply."""

    @property
    def console(self) -> Console:
        """The serial console."""

    @property
    def media(self) -> Media:
        """What it boots from."""

    def exists(self) -> bool:
        """Whether the board is there; only emulated ones have to be made."""

    def standing(self) -> Standing:
        """Tell what can be told without the board's system, and without holding it."""

    def hold(self) -> AbstractContextManager[None]:
        """Make the board this user's until the end of the block, where boards are shared; VtoolError VT605.

        Power, console and sshd may be asked for only meanwhile.
        """

    def reserve(self) -> str | None:
        """Make the board this user's beyond this process; returns the place's name, None where nobody shares it."""

    def release(self) -> tuple[str, ...]:
        """Give back what ``reserve`` took; returns the names of places."""

    def ssh(self) -> SshTarget:
        """Return where to reach sshd; raises VtoolError VT602 when the board is off."""

    def base_device_tree(self, commands: Commands | None = None) -> bytes:
        """Return the device tree that the board's firmware would hand over, without overlays.

        ``commands`` are used to ask the board, where it has to be; without them it is connected to.
        """

    def shut_down(self, deadline_s: float) -> bool:
        """Ask the running system to end; return whether it did within the deadline."""


class NoPower:
    """The supply of a board that nobody can switch."""

    can_switch = False

    def on(self) -> None:
        """Do nothing."""

    def off(self) -> None:
        """Do nothing."""

    def is_on(self) -> bool:
        """Whether the board is on: always, there is nobody to ask."""
        return True


class NoConsole:
    """The console of a board where nobody listens."""

    can_join = False

    def log_path(self) -> None:
        """Return nothing."""

    def tail(self, lines: int) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        """Return nothing."""
        return ()

    def interact(self) -> int:
        """Do nothing."""
        return 0


class NoMedia:
    """The boot medium of a board that nobody can write from outside."""

    can_write = False

    def write(self, image: Path) -> None:
        """Do nothing."""
