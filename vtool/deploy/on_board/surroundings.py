"""The system around vtool on a board, which others made: whether it has what a generation needs, and where.

``needs`` of a generation are what its units start by a path (``programs``), what they read (``files``), units of others
that they require (``units``), and the guests of which a daemon is to keep what they say (``consoles``).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .base import FOLDER, BoardError, replace_file, run
from .processes import PROCESSES, command_lines
from .typed import Any

PATHS = FOLDER / "paths.sed"
"""Where programs are that the board has elsewhere: what the generator of units changes in them."""
FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNIT_FOLDERS = tuple(f"{place}/systemd/system" for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))
DEBIANS_INIT, DEBIANS_DEFAULTS = Path("/etc/init.d/xen"), Path("/etc/default/xen")
"""What starts xenconsoled on Debian, and the file of shell lines that says with which words."""
STOOD_FOR = {"xen.service": ("xenstored.service", "xenconsoled.service")}
"""Units that the generator of units makes where a board has these instead (templates/systemd/unit-generator.j2)."""


def require(generation: dict[str, Any], *, boots: bool) -> None:
    """Raise VT457 for all that the board has not, VT458. ``boots``: the generation runs once the board has booted."""
    needs = generation.get("needs", {})
    programs, units = needs.get("programs", {}), needs.get("units", {})
    missing = [f"{path}, which {', '.join(users)} start" for path, users in programs.items() if not _place_of(path)]
    files = needs.get("files", {}).items()
    missing += [f"{path}, which {', '.join(users)} read" for path, users in files if not Path(path).exists()]
    missing += [f"{unit}, which {', '.join(users)} need" for unit, users in units.items() if not _has_unit(unit)]
    if missing:
        what = "programs, files or units that its domains need" if len(missing) > 1 else missing[0]
        raise BoardError("VT457", f"the board lacks {what}", ["install them on the board"], missing)
    if needs.get("consoles") and DEBIANS_INIT.exists():
        running = [] if boots else _command_lines("xenconsoled")
        _require_kept(running or [["xenconsoled", *_debians_words()]])


def note_places(generation: dict[str, Any]) -> None:
    """Write down where the programs are that units start by another path; nothing for a board that has all there."""
    programs = generation.get("needs", {}).get("programs", {})
    found = {path: place for path in programs if (place := _place_of(path)) and place != path}
    lines = [f"/^Exec/s#\\({path}\\)\\( \\|$\\)#{place}\\2#" for path, place in sorted(found.items())]
    if lines or PATHS.exists():
        replace_file(PATHS, "".join(f"{line}\n" for line in lines).encode())


def require_guests_logged() -> None:
    """Raise VT458 when xenconsoled keeps nothing of what guests say, which vtool reads."""
    _require_kept(_command_lines("xenconsoled"))


def _require_kept(command_lines: list[list[str]]) -> None:
    for words in command_lines:
        if not any(word in ("--log=guest", "--log=all") for word in words):
            hint = 'Debian: XENCONSOLED_ARGS="--log=guest --timestamp=none" in /etc/default/xen'
            said = " ".join(words)
            raise BoardError("VT458", "xenconsoled keeps nothing of what guests say on their consoles", [hint], [said])


def _debians_words() -> list[str]:
    """Return with which words Debian's init script will start xenconsoled: it reads a file of the shell's."""
    script = '[ ! -r "$0" ] || . "$0"; echo "$XENCONSOLED_ARGS"'
    return run("sh", "-c", script, str(DEBIANS_DEFAULTS), check=False).stdout.split()


def _place_of(path: str) -> str | None:
    """Return where a program is: where it is looked for, else on the usual path; None when the board has none.

    What is looked for below /usr/local was built by hand: a distribution's of that name is another.
    """
    if os.access(path, os.X_OK):
        return path
    return None if path.startswith("/usr/local/") else shutil.which(path.rpartition("/")[2], path=FOLDERS)


def _has_unit(unit: str) -> bool:
    there = any(Path(folder, unit).exists() for folder in UNIT_FOLDERS)
    script = Path("/etc/init.d", unit.rpartition(".")[0]).exists()
    instead = STOOD_FOR.get(unit, ())
    return there or script or (bool(instead) and all(map(_has_unit, instead)))


def _command_lines(name: str) -> list[list[str]]:
    return [words for _, words in command_lines(PROCESSES) if words and words[0].rpartition("/")[2] == name]
