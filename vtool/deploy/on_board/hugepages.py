"""Huge pages for a guest's memory: the board sets aside what is lacking, and gets back what was set aside for it.

Linux Documentation/admin-guide/mm/hugetlbpage.rst: files below /sys/kernel/mm/hugepages. Pages are free until QEMU has
mapped them, and guests start side by side: what is promised to one stands in its note until then.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

from .base import BoardError, read_json
from .typed import Any
from .vcpus import once_there

FOLDER = Path("/sys/kernel/mm/hugepages")


def verb_hugepages_take(arguments: argparse.Namespace) -> dict[str, Any]:
    """Have as many free huge pages as a guest is made of; note how many that took. BoardError VT449."""
    pages, note = FOLDER / f"hugepages-{arguments.kib}kB", Path(arguments.note)
    if not pages.exists():
        there = ", ".join(sorted(path.name.split("-")[-1] for path in FOLDER.glob("*"))) or "none"
        message = f"the board's kernel has no huge pages of {arguments.kib}kB"
        raise BoardError("VT449", message, hints=[f"it has: {there}"])
    with _alone(note):
        had = _number(pages, "nr_hugepages")
        lacking = max(0, arguments.count - _free(pages, note))
        said = {"kib": arguments.kib, "count": arguments.count, "added": lacking, "mapped": False}
        note.write_text(json.dumps(said))
        if lacking:
            (pages / "nr_hugepages").write_text(str(had + lacking))
        if (got := _free(pages, note)) < arguments.count:
            (pages / "nr_hugepages").write_text(str(had))
            note.unlink()
            message = (
                f"the board has {max(0, got)} huge pages of {arguments.kib}kB to give, {arguments.count} are needed"
            )
            hint = "memory is in pieces by now: set them aside at boot, with `bootargs: hugepages=…` of the host"
            raise BoardError("VT449", message, hints=[hint])
    return {"added": lacking}


def verb_hugepages_mapped(arguments: argparse.Namespace) -> dict[str, Any]:
    """Note that a guest's QEMU has its pages: it answers once its machine is there, or libvirt has started it."""
    if arguments.domain:
        once_there(arguments.domain)
    note = Path(arguments.note)
    with _alone(note):
        note.write_text(json.dumps({**json.loads(note.read_text()), "mapped": True}))
    return {"mapped": True}


def verb_hugepages_return(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give back what was set aside for a guest; nothing where that was nothing."""
    note = Path(arguments.note)
    with _alone(note):
        if not note.exists():
            return {"returned": 0}
        said = json.loads(note.read_text())
        pages = FOLDER / f"hugepages-{said['kib']}kB"
        if said["added"]:
            (pages / "nr_hugepages").write_text(str(max(0, _number(pages, "nr_hugepages") - int(said["added"]))))
        note.unlink()
    return {"returned": said["added"]}


def _number(pages: Path, name: str) -> int:
    return int((pages / name).read_text())


def _free(pages: Path, note: Path) -> int:
    """Return how many pages nobody has mapped, is sure to get, or is promised beside the guest of a note."""
    promised = 0
    for other in note.parent.parent.glob(f"*/{note.name}"):
        said = read_json(other)
        if other != note and said is not None and not said["mapped"] and pages.name == f"hugepages-{said['kib']}kB":
            promised += int(said["count"])
    return _number(pages, "free_hugepages") - _number(pages, "resv_hugepages") - promised


@contextlib.contextmanager
def _alone(note: Path) -> Iterator[None]:
    """Let one guest after the other count."""
    with note.parent.with_name("hugepages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
