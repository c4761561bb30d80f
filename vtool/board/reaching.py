"""Reaching a board's sshd: waiting until it greets, and why it lets nobody in, or nobody become root.

Whoever connects, by OpenSSH or by paramiko, has the failure made here of what was said: enter at ``refusal``, and at
``root_refused`` for what a command said.
"""

from __future__ import annotations

import re
import socket
import time

from vtool.base.progress import Progress
from vtool.board.protocols import Board, SshTarget
from vtool.diagnostics import VtoolError, board_failed

CONSOLE_TAIL_LINES = 15
_POWER_LOOK_S = 3.0
_WRONG_KEY = re.compile(r"^Host key (verification failed|for server .* does not match)|not found in known_hosts", re.M)
"""OpenSSH's sshconnect.c; paramiko's BadHostKeyException and RejectPolicy."""
_NOT_LET_IN = re.compile(
    r"^[^ ]+@[^ ]+: Permission denied|^Authentication failed\.$|^No authentication methods available", re.M
)
"""OpenSSH's sshconnect2.c; paramiko's AuthenticationException, and SSHException without any key."""
_NOT_ROOT = re.compile(r"(^|: )sudo: |^\S+ is not in the sudoers file|^Sorry, user \S+ (is not allowed|may not)", re.M)
"""sudo's own words, and the shell's where there is no sudo; what it logs too (sudo's log.c) it says without a name."""
_OF_CONNECTING = re.compile(r"ssh: (?:connect to host \S+ port [0-9]+|Could not resolve hostname \S+): (.+)")
"""OpenSSH's ssh_connect_direct; behind it is what strerror(3) says."""


def refusal(board: Board, said: str, deadline_s: float) -> VtoolError:
    """Make the error for a connection that came to nothing, of what ssh or paramiko said: VT603, VT604, VT626."""
    if _WRONG_KEY.search(said):
        return wrong_host_key(board)
    if root_refused(said):
        return may_not_be_root(board, said)
    if _NOT_LET_IN.search(said):
        user = board.ssh().user
        hint = "the key is `identity_file` of the inventory, without it one of the ssh agent's"
        message = f"board '{board.name}' refuses the connection: it lets user '{user}' in with no key that was shown"
        return board_failed("VT603", message, hints=(hint,))
    last = (said.strip().splitlines() or ["the connection ended"])[-1]
    of_connecting = _OF_CONNECTING.fullmatch(last)
    return no_answer(board, deadline_s, of_connecting[1] if of_connecting else last)


def root_refused(said: str) -> bool:
    """Whether sudo said, on standard error, that a user may not become root, or wants a password."""
    return _NOT_ROOT.search(said) is not None


def may_not_be_root(board: Board, said: str) -> VtoolError:
    """Make the error for a user whom sudo refuses, or asks for a password."""
    target = board.ssh()
    return board_failed(
        "VT626",
        f"user '{target.user}' may not become root on board '{board.name}' for what vtool has to do",
        hints=("vtool never sends a password; docs/how-to/reach-boards.md has the line for sudoers",),
        detail=said.strip().splitlines()[-3:],
    )


def wrong_host_key(board: Board) -> VtoolError:
    """Make the error for a board that shows another host key than the pinned one."""
    target = board.ssh()
    if target.pinned:
        message = f"board '{board.name}' shows a different host key from the one pinned in {target.pinned}"
        why = "another machine answers at this address, or the board was set up again"
        what = "if you know why it changed, replace the key there; nothing was sent to the board"
    else:
        message = f"board '{board.name}' shows a different host key from the one that it was made with"
        why = f"another program answers at port {target.port} of this machine; nothing was sent to it"
        what = f"`vtool board power cycle {board.words}` starts the board again, at another port"
    return board_failed("VT604", message, hints=(why, what))


def no_answer(board: Board, deadline_s: float, reason: str) -> VtoolError:
    """Make the error for a board that does not answer, with its console's tail."""
    return board_failed(
        "VT603",
        f"board '{board.name}' does not answer on ssh within {deadline_s:.0f} s ({reason})",
        hints=(f"watch it: vtool board console {board.words}",) if board.console.can_join else (),
        detail=board.console.tail(CONSOLE_TAIL_LINES),
    )


def wait_for_sshd(board: Board, target: SshTarget, deadline_s: float, progress: Progress | None = None) -> None:
    """Wait until the board's sshd greets, and tell that it is waited for if it does not at once.

    VtoolError VT603 with the console's tail past the deadline.
    """
    deadline = time.monotonic() + deadline_s
    look = 0.0
    reason = "nothing listens"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((target.host, target.port), timeout=2.0) as probe:
                probe.settimeout(min(5.0, max(0.1, deadline - time.monotonic())))
                if probe.recv(64).startswith(b"SSH-"):
                    return
                reason = "no ssh greeting"
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
        if time.monotonic() >= look:  # a supply may be a web page: ask it now and then
            look = time.monotonic() + _POWER_LOOK_S
            if not board.power.is_on():
                raise no_answer(board, deadline_s, "it is off")
        if progress is not None:
            where = f"{target.host} port {target.port}"
            progress.waits(f"board '{board.name}' to answer at {where}, {deadline_s:.0f} s at most ({reason})")
            progress = None
        time.sleep(0.3)  # between two looks at a port; the loop has the deadline
    raise no_answer(board, deadline_s, reason)
