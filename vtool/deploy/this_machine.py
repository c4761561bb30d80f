"""What deploying needs of the machine that vtool runs on, asked for before anything begins.

A container, a chroot or a service may lack what every other system has. Enter at ``require_this_machine`` and, once it
is known what is deployed, at ``require_tools``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vtool.base.runtime import own_runtime_folder
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError, not_installed, refused_by_this_machine
from vtool.diagnostics.codes import declare
from vtool.files.own_folders import state_folder

if TYPE_CHECKING:
    from vtool.plan.types import BoardPlan

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder that shm_open(3) and sem_open(3) use
_FOLDERS: tuple[tuple[Callable[[], Path], str], ...] = (
    (state_folder, "host keys and emulated boards are kept there: set VTOOL_STATE to another folder"),
    (own_runtime_folder, "sockets and locks are there: set XDG_RUNTIME_DIR or TMPDIR to another folder"),
    (lambda: Path(tempfile.gettempdir()), "set TMPDIR to another folder"),
)

declare(
    "VT152",
    what="this machine has no /dev/shm that can be written to",
    why="Ansible's processes share semaphores in it (sem_open(3)).",
    example="vtool deploy in a chroot where only /proc and /dev/null were mounted",
    fix="mount -t tmpfs tmpfs /dev/shm, or start the container with one.",
)
declare(
    "VT153",
    what="this machine does not know the user that vtool runs as",
    why="OpenSSH's client starts for nobody who has no entry in the user database (ssh.c: getpwuid).",
    example="vtool deploy in a container that was started with --user 1234",
    fix="Add a line for the user to /etc/passwd.",
)


def require_this_machine() -> None:
    """Raise VtoolError with all that this machine lacks of what any deploy needs: VT150 to VT153, VT501."""
    found = [*_folders(), *_shared_memory(), *_user(), *_programs(("ssh", "dtc", "fdtoverlay"))]
    if found:
        raise VtoolError(found, ExitCode.BOARD_FAILED)


def require_tools(boards: Iterable[BoardPlan]) -> None:
    """Raise VtoolError VT501 for tools without which what is planned cannot be made."""
    from vtool.model.board_facts import UBoot  # noqa: PLC0415 - Ansible starts before that is read

    if any(isinstance(board.facts.boot, UBoot) for board in boards) and (found := [*_programs(("mkimage",))]):
        raise VtoolError(found, ExitCode.BOARD_FAILED)


def _folders() -> Iterator[Diagnostic]:
    told = set[Path | str]()
    for folder_of, hint in _FOLDERS:
        folder: Path | str = ""
        try:
            folder = folder_of()
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
                file.write(b"vtool")
        except VtoolError as error:
            yield from error.diagnostics
        except OSError as error:
            if folder not in told:
                where = str(folder) if folder else error.filename  # a file's name in it says nothing
                yield refused_by_this_machine(OSError(error.errno, error.strerror or str(error), where), hint)
            told.add(folder)


def _shared_memory() -> Iterator[Diagnostic]:
    if not os.access(_SHARED_MEMORY, os.W_OK | os.X_OK):
        hint = f"mount one: mount -t tmpfs tmpfs {_SHARED_MEMORY}"
        yield Diagnostic("VT152", f"'{_SHARED_MEMORY}' is missing or cannot be written to", hints=(hint,))


def _user() -> Iterator[Diagnostic]:
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        hint = f"add it to /etc/passwd, such as: user:x:{os.getuid()}:{os.getgid()}::/home/user:/bin/sh"
        yield Diagnostic(
            "VT153", f"user {os.getuid()} has no entry in /etc/passwd, which ssh insists on", hints=(hint,)
        )


def _programs(names: Iterable[str]) -> Iterator[Diagnostic]:
    told = set[tuple[str, ...]]()
    for name in names:
        (missing,) = not_installed(name).diagnostics
        if shutil.which(name) is None and missing.hints not in told:  # one package may have two of them
            told.add(missing.hints)
            yield missing
