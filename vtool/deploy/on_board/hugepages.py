"""Huge pages for a guest's memory: the board sets aside what is lacking, and gets back what was set aside for it.

Linux Documentation/admin-guide/mm/hugetlbpage.rst: files below /sys/kernel/mm/hugepages.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .base import BoardError
from .typed import Any

FOLDER = Path("/sys/kernel/mm/hugepages")


def verb_hugepages_take(arguments: argparse.Namespace) -> dict[str, Any]:
    """Have as many free huge pages as a guest is made of; note how many that took. BoardError VT449."""
    pages = FOLDER / f"hugepages-{arguments.kib}kB"
    if not pages.exists():
        there = ", ".join(sorted(path.name.split("-")[-1] for path in FOLDER.glob("*"))) or "none"
        raise BoardError(
            "VT449", f"the board's kernel has no huge pages of {arguments.kib}kB", hints=[f"it has: {there}"]
        )
    had, free = _number(pages, "nr_hugepages"), _free(pages)
    lacking = max(0, arguments.count - free)
    note = Path(arguments.note)
    if lacking:
        note.write_text(json.dumps({"kib": arguments.kib, "count": lacking}))
        (pages / "nr_hugepages").write_text(str(had + lacking))
    if (got := _free(pages)) < arguments.count:
        (pages / "nr_hugepages").write_text(str(had))
        note.unlink(missing_ok=True)
        message = f"the board has {got} huge pages of {arguments.kib}kB to give, {arguments.count} are needed"
        hint = "memory is in pieces by now: set them aside at boot, with `bootargs: hugepages=…` of the host"
        raise BoardError("VT449", message, hints=[hint])
    return {"added": lacking}


def verb_hugepages_return(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give back what was set aside for a guest; nothing where that was nothing."""
    note = Path(arguments.note)
    if not note.exists():
        return {"returned": 0}
    added = json.loads(note.read_text())
    pages = FOLDER / f"hugepages-{added['kib']}kB"
    (pages / "nr_hugepages").write_text(str(max(0, _number(pages, "nr_hugepages") - int(added["count"]))))
    note.unlink()
    return {"returned": added["count"]}


def _number(pages: Path, name: str) -> int:
    return int((pages / name).read_text())


def _free(pages: Path) -> int:
    # Some of those that are free are promised to who has mapped them.
    return _number(pages, "free_hugepages") - _number(pages, "resv_hugepages")
