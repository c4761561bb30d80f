"""A board of which vtool knows how to reach its sshd; power and console are what this machine has of them."""

from __future__ import annotations

import contextlib
import socket
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from vtool.board.live_tree import live_tree
from vtool.board.patience import OnTime
from vtool.board.pinned_keys import known_hosts_name, knows, pin
from vtool.board.protocols import Board, BoardClock, Commands, Console, NoMedia, Power, SshTarget, Standing
from vtool.board.shell import open_shell
from vtool.diagnostics import VtoolError, board_failed
from vtool.files.own_folders import state_folder
from vtool.files.regular import read_regular, reason_of
from vtool.model.board_facts import BoardFacts

_SETTLE_S = 10.0
"""Between the end of sshd and the moment when nothing is written any more."""


@dataclass(frozen=True)
class Identity:
    """How both ends are proven: the user's key (None: the agent's), and the board's as text or as a file.

    ``pinned`` says where a person would change the board's.
    """

    identity_file: Path | None
    host_key: str | None
    known_hosts_file: Path | None
    pinned: str

    def target(self, board: str, host: str, port: int, user: str) -> SshTarget:
        """Return where to reach a board's sshd. VtoolError VT617, VT618 when its key is pinned nowhere."""
        if self.host_key is not None:
            known = pin(state_folder() / "known_hosts" / board, host, port, self.host_key)
        else:
            assert self.known_hosts_file is not None, "the inventory has one of the two (VT615)"
            known = self.known_hosts_file
            name = known_hosts_name(host, port)
            try:
                known_there = knows(known, host, port)
            except OSError as error:
                raise board_failed("VT617", f"'{known}' cannot be read: {reason_of(error)}") from None
            if not known_there:
                raise board_failed(
                    "VT618",
                    f"'{known}' has no key of '{name}', which is board '{board}'",
                    hints=("get the key over a way that you trust, such as the board's console",),
                )
        return SshTarget(host, port, user, self.identity_file, known, self.pinned)


class SshOnlyBoard(OnTime):
    """A real board. ``address`` is host, port and user."""

    driver = "ssh"
    clock = BoardClock.REAL

    def __init__(
        self,
        name: str,
        facts: BoardFacts,
        address: tuple[str, int, str],
        identity: Identity,
        power: Power,
        console: Console,
        device_tree: Path | None,
    ) -> None:
        self.name = self.words = name
        self.facts = facts
        self.power = power
        self.console = console
        self.media = NoMedia()
        self._host, self._port, self._user = address
        self._identity = identity
        self._device_tree = device_tree

    @property
    def identity(self) -> str:
        """Where its sshd is."""
        return f"{self._host}:{self._port}"

    def exists(self) -> bool:
        """Whether the board is there: always, nobody has to make it."""
        return True

    def standing(self) -> Standing:
        """Tell its address, and its power where somebody can tell."""
        power = "unknown"
        if self.power.can_switch:
            with contextlib.suppress(VtoolError):  # a list of boards must not end at one whose supply is ill
                power = "on" if self.power.is_on() else "off"
        return Standing(power, self.identity)

    def hold(self) -> AbstractContextManager[None]:
        """Do nothing: nobody keeps a list of who uses it."""
        return contextlib.nullcontext()

    def reserve(self) -> None:
        """Do nothing: it is shared with nobody."""

    def release(self) -> tuple[str, ...]:
        """Do nothing."""
        return ()

    def ssh(self) -> SshTarget:
        """Return where to reach sshd. VtoolError VT617, VT618 when the board's key is pinned nowhere."""
        return self._identity.target(self.name, self._host, self._port, self._user)

    def base_device_tree(self, commands: Commands | None = None) -> bytes:
        """Return the file of the inventory, else what the running system was booted with. VtoolError VT620."""
        return base_tree(self, self._device_tree, commands)

    def shut_down(self, deadline_s: float) -> bool:
        """Wait until sshd has ended, and then a moment for the disks; return whether it did."""
        return wait_for_end(self.ssh(), deadline_s)


def base_tree(board: Board, file: Path | None, commands: Commands | None) -> bytes:
    """Return a board's base device tree from a file, else from the board. VtoolError VT617, VT620."""
    if file is None:
        with contextlib.nullcontext(commands) if commands else open_shell(board) as way:
            return live_tree(board, way, state_folder() / "trees" / f"{board.name}.dtb")
    try:
        return read_regular(file)
    except OSError as error:
        raise board_failed("VT617", f"'{file}' cannot be read: {reason_of(error)}") from None


def wait_for_end(target: SshTarget, deadline_s: float) -> bool:
    """Wait until nothing answers at a board's port any more, and a moment longer; return whether that was in time."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((target.host, target.port), timeout=2.0) as probe:
                probe.settimeout(2.0)
                answers = bool(probe.recv(1))  # a forwarder may listen for a board that is gone
        except OSError:
            answers = False
        if not answers:
            time.sleep(_SETTLE_S)
            return True
        time.sleep(0.3)  # between two looks at a port; the loop has the deadline
    return False
