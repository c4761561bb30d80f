"""systemd-boot: the names of its entries say what it starts, and how often it may still try.

Its own way (systemd's "Automatic Boot Assessment"): an entry ``NAME+LEFT-DONE.conf`` is renamed by the loader before
each start, and comes last when nothing is left. vtool's entries come before all others, the one with the highest
number first. One of a single try in all is on trial; to confirm it is to write it with three. Names are all there is:
UEFI's variables cannot be written by every board's Linux. FAT promises less than a sector does: of a name that a power
cut tore, what is left is the entry below it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from .base import replace_file, sync_folder
from .loader import KEYS

ENTRY = "loader.conf"
IN_THE_WAY: tuple[str, ...] = ()
"""Nothing: vtool's entries come first by their names."""
TRIES = 3
"""So often the last good generation is started without Linux saying that it is up, before another one is."""

_NAME = re.compile(r"vtool-([0-9]{6})-([0-9a-f]+)-([0-9a-f]+)\+([0-9]+)(?:-([0-9]+))?\.conf")
_ROLES = ("last", "good", "trial")
"""The one that is preferred last."""


class Entry(NamedTuple):
    """One of vtool's entries, as its file's name says."""

    number: int
    generation: str
    boot_set: str
    left: int
    done: int

    @property
    def name(self) -> str:
        """The file's name, as systemd-boot writes it."""
        tries = f"{self.left}-{self.done}" if self.done else f"{self.left}"
        return f"vtool-{self.number:06}-{self.generation}-{self.boot_set}+{tries}.conf"


def read_state(boot: dict[str, Any]) -> dict[str, str]:
    """Return the boot state. A trial that was started is none any more."""
    state = dict.fromkeys(KEYS, "")
    roles = {False: ["good", "last"], True: ["trial"]}
    for entry in reversed(_entries(boot)):
        tries = entry.left + entry.done
        if tries == 1 and not entry.left:
            continue
        names = roles[tries == 1]
        if names:
            role = names.pop(0)
            state[role], state[f"{role}_set"] = entry.generation, entry.boot_set
            if role == "good" and entry.done:
                state["count"] = f"{entry.done:x}"
    return state


def write_state(boot: dict[str, Any], state: dict[str, str]) -> None:
    """Make the entries say it: first those that are wanted, the least preferred first; then the others go."""
    there = _entries(boot)
    wanted: list[Entry] = []
    for role in _ROLES:
        generation, boot_set = state[role], state[f"{role}_set"]
        if not generation:
            continue
        above = wanted[-1].number if wanted else 0
        same = [e.number for e in there if e.number > above and (e.generation, e.boot_set) == (generation, boot_set)]
        number = same[0] if same else max([above, *(e.number for e in there), *(e.number for e in wanted)]) + 1
        done = min(int(state["count"] or "0", 16), TRIES) if role == "good" else 0
        wanted.append(Entry(number, generation, boot_set, 1 if role == "trial" else TRIES - done, done))
    for entry in wanted:
        _write(boot, entry, next((old for old in there if old.number == entry.number), None))
    _remove(boot, {entry.name for entry in wanted})


def forget_state(boot: dict[str, Any]) -> None:
    """Remove vtool's entries: the loader starts what the board came with."""
    _remove(boot, set())


def entry_path(boot: dict[str, Any]) -> Path:
    """Return the loader's own settings."""
    return Path(boot["mount"]) / "loader" / "loader.conf"


def _folder(boot: dict[str, Any]) -> Path:
    return Path(boot["mount"]) / "loader" / "entries"


def _entries(boot: dict[str, Any]) -> list[Entry]:
    """Return vtool's entries, the least preferred first."""
    matches = (_NAME.fullmatch(path.name) for path in _folder(boot).glob("vtool-*.conf"))
    return sorted(Entry(int(m[1]), m[2], m[3], int(m[4]), int(m[5] or 0)) for m in matches if m)


def _write(boot: dict[str, Any], entry: Entry, old: Entry | None) -> None:
    """Write an entry, and what its hypervisor reads; where it is there with other tries it is renamed."""
    values = {"@GENERATION@": entry.generation, "@SET@": entry.boot_set, "@NUMBER@": f"{entry.number}"}
    boot_set = Path(boot["mount"]) / "vtool" / entry.boot_set
    there = _folder(boot) / (old or entry).name
    for template, path in (("xen.cfg", boot_set / f"{entry.generation}.cfg"), ("entry.conf", there)):
        if (boot_set / template).exists():
            text = (boot_set / template).read_text()
            for key, value in values.items():
                text = text.replace(key, value)
            replace_file(path, text.encode())
    if old is not None and old != entry:
        there.replace(there.with_name(entry.name))
        sync_folder(there.parent)


def _remove(boot: dict[str, Any], names: set[str]) -> None:
    """Remove vtool's entries but those named."""
    folder = _folder(boot)
    gone = [path for path in folder.glob("vtool-*") if path.name not in names]
    for path in gone:
        path.unlink()
    if gone:
        sync_folder(folder)
