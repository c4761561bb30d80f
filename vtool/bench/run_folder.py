"""A run folder as it is written: lines are added and never changed, and are on the disk before anything goes on.

    run.jsonl    one record a line (vtool.results.records)
    raw/         what the tools printed, a folder for each cell
    set-aside/   lines that were not finished
    reserve      room for the last records when the disk is full

Enter at ``open_run``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from vtool.diagnostics import Diagnostic, VtoolError, board_failed
from vtool.files.regular import reason_of
from vtool.files.replacing import synced
from vtool.results.records import Raw, Record, Run
from vtool.results.run_folder import RECORDS, RunRead, read_run

RESERVE_BYTES = 256 << 10
"""More than the largest record by far; given up once, so that what was measured last is kept."""
_RESERVE = "reserve"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class RunFolder:
    """A folder that this process alone writes to. ``was`` is what was in it before, with the run itself."""

    def __init__(self, folder: Path, descriptor: int, was: RunRead, set_aside: str | None) -> None:
        self.folder, self.was, self.set_aside = folder, was, set_aside
        self._records = descriptor
        self._full: OSError | None = None

    def append(self, record: Record) -> None:
        """Write a record and wait until it is on the disk. VtoolError VT933, after it was written if that can be."""
        line = record.model_dump_json().encode() + b"\n"
        while line:
            try:
                line = line[os.write(self._records, line) :]
            except OSError as error:
                self._give_up_reserve(error)
        os.fsync(self._records)
        if self._full is not None:
            cannot_write(self.folder, self._full, "; what was measured until now is in it")

    def forget(self) -> None:
        """Close it in a process that does not write to it, and would keep it from others."""
        os.close(self._records)

    def keep_raw(self, cell: str, name: str, content: bytes) -> Raw | None:
        """Keep a tool's output under a name of its own; None when the disk is full, which ``append`` then raises."""
        place = self.folder / "raw" / hashlib.sha256(cell.encode()).hexdigest()[:12]
        while True:
            try:
                path = _write_new(place, name, content)
            except OSError as error:
                if self._full is not None and error.errno in _FULL:
                    return None
                self._give_up_reserve(error)
                continue
            digest = hashlib.sha256(content).hexdigest()
            return Raw(path=str(path.relative_to(self.folder)), bytes=len(content), digest=digest)

    def _give_up_reserve(self, error: OSError) -> None:
        """Make the room that was kept for this. VtoolError VT933 for another error, or when it was given up before."""
        if error.errno not in _FULL or self._full is not None:
            cannot_write(self.folder, error)
        self._full = error
        (self.folder / _RESERVE).unlink(missing_ok=True)


@contextlib.contextmanager
def open_run(folder: Path, run: Run) -> Iterator[RunFolder]:
    """Begin a run in a new or empty folder, or go on with the same run in one that has it.

    VtoolError VT930 to VT934; nothing in the folder is touched then.
    """
    records = folder / RECORDS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not records.exists() and any(folder.iterdir()):
            message = f"'{folder}' has files and no {RECORDS}: it is no run folder"
            raise VtoolError(Diagnostic("VT930", message, hints=("name a folder that is new or empty",)))
        descriptor = os.open(records, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        cannot_write(folder, error)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise board_failed("VT934", f"another vtool measures into '{folder}'") from None
        yield _opened(folder, descriptor, run)
    finally:
        (folder / _RESERVE).unlink(missing_ok=True)
        os.close(descriptor)


def _opened(folder: Path, descriptor: int, run: Run) -> RunFolder:
    whole, torn = _whole_bytes(folder / RECORDS)
    set_aside: str | None = None
    if whole:
        was = read_run(folder)
        require_same(was.run, run, folder)
    try:
        if torn:
            path = _write_new(folder / "set-aside", f"after-{whole}", torn)
            set_aside = str(path.relative_to(folder))
            os.ftruncate(descriptor, whole)
        _reserve(folder / _RESERVE)
    except OSError as error:
        cannot_write(folder, error)
    if not whole:
        was = RunRead(folder, run)
    opened = RunFolder(folder, descriptor, was, set_aside)
    if not whole:
        opened.append(run)
        synced(folder)
    return opened


def _whole_bytes(records: Path) -> tuple[int, bytes]:
    """Return where the last whole line ends, and what stands after it."""
    data = records.read_bytes()
    whole = data.rfind(b"\n") + 1
    return whole, data[whole:]


def require_same(was: Run, run: Run, folder: Path) -> None:
    """Raise VT931 with what differs unless a folder's run is this one."""
    differs = list(_differences(was, run))
    if differs:
        message = f"the run in '{folder}' is another one: {differs[0]}"
        hint = "measure into a new folder; vtool compare takes both"
        raise VtoolError(Diagnostic("VT931", message, hints=(hint,), detail=tuple(differs[1:])))


def _differences(was: Run, run: Run) -> Iterator[str]:
    if was.matrix_digest != run.matrix_digest:
        yield "its matrix was another one"
    if was.repetitions != run.repetitions:
        yield f"it has {was.repetitions} repetitions, not {run.repetitions}"
    known = {variant.id: variant for variant in was.variants}
    for variant in run.variants:
        before = known.pop(variant.id, None)
        if before is None:
            yield f"it has no variant '{variant.id}'"
        elif before.digest != variant.digest:
            yield f"the topology of variant '{variant.id}' has changed since it began"
        elif before.plans != variant.plans:
            yield f"variant '{variant.id}' is planned in another way than when it began"
        elif before.faults != variant.faults:
            yield f"variant '{variant.id}' has other faults than when it began"
    yield from (f"its variant '{name}' is gone" for name in known)
    if [cell.id for cell in was.cells] != [cell.id for cell in run.cells] and not known:
        yield "it has other cells"


def _reserve(path: Path) -> None:
    """Take room on the disk. OSError when there is none."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _write_new(folder: Path, name: str, content: bytes) -> Path:
    """Write a file that is new: where the name is taken, by one that no record tells of, it gets a number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 10_000):
        path = folder / (name if number == 1 else f"{number}-{name}")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            continue
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        synced(folder)
        return path
    raise FileExistsError(errno.EEXIST, "there are too many files of this name", str(folder / name))


def cannot_write(folder: Path, error: OSError, but: str = "") -> NoReturn:
    """Raise VT933."""
    message = f"cannot write into '{folder}': {reason_of(error)}{but}"
    hint = "make room, then run the same command again: it goes on where it stopped"
    raise board_failed("VT933", message, hints=(hint,) if error.errno in _FULL else ()) from None
