"""What the units of a generation need of the system that others made: programs, files, and units of others.

The board is asked for them before anything changes there (``on_board.surroundings``); for systemd before vtool's own
program is put there (``board_lock``). Enter at ``needs_of``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from vtool.diagnostics.codes import declare
from vtool.plan.types import BOARD_FOLDER

if TYPE_CHECKING:
    from vtool.deploy.stage import StagedFile

_STARTS = re.compile(r"^Exec\w+=[@:+!]*(/\S+)", re.MULTILINE)
"""A program that a unit starts and cannot do without: `-` before it says that it may fail (systemd.service(5))."""
_READS = re.compile(r"^AssertPathExists=(/usr/\S+)$", re.MULTILINE)
"""A file of the system's; devices may be there with the kernel that is deployed, and not with the one that runs."""
_REQUIRES = re.compile(r"^Requires=(.+)$", re.MULTILINE)
_CREATES = re.compile(r"^ExecStart=\S*/xl create ", re.MULTILINE)
"""A guest of xl's, whose console is xenconsoled's."""
_OWN = (f"{BOARD_FOLDER}/", "/usr/local/sbin/vtool-board")

declare(
    "VT456",
    what="a board's init is not systemd",
    why="Domains, backends and the way back from a trial are units of systemd.",
    example="a minimal system that is started by busybox or sysvinit",
    fix="Give the board a system with systemd; nothing was changed.",
)
declare(
    "VT457",
    what="a board lacks programs, files or units that its domains need",
    why="Units start programs of the board's own system, such as xl, QEMU or ip, after others such as Xen's daemons.",
    example="a dom0 without xl, or a KVM host without qemu-system-aarch64 or EDK2",
    fix="Install what the message names; where a program is does not matter as long as it is on the usual path.",
)
declare(
    "VT458",
    what="xenconsoled keeps nothing of what guests say",
    why="That a guest is ready, and why it is not, is read from the log of its console.",
    example="xenconsoled without --log=guest in Debian's /etc/default/xen",
    fix="Set it as the hint says, restart xen.service where no boot follows, and deploy again.",
)


def needs_of(files: Iterable[StagedFile]) -> Mapping[str, Mapping[str, list[str]]]:
    """Return the programs, files and units of others, each with the units that need it; and whose consoles are kept."""
    units = {file.name.removeprefix("units/"): file for file in files if file.name.startswith("units/")}
    programs: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    read: dict[str, list[str]] = {}
    consoles = list[str]()
    for name, file in sorted(units.items()):
        if "/" in name:  # a drop-in, which is the user's own
            continue
        text = file.content.decode()
        if _CREATES.search(text):
            consoles.append(name)
        for path in dict.fromkeys(_STARTS.findall(text)):
            if not path.startswith(_OWN):
                programs.setdefault(path, []).append(name)
        for path in dict.fromkeys(_READS.findall(text)):
            read.setdefault(path, []).append(name)
        for unit in dict.fromkeys(word for line in _REQUIRES.findall(text) for word in line.split()):
            # One of a device has no file: systemd makes it when the device comes (systemd.device(5)).
            if unit not in units and not unit.endswith(".device"):
                others.setdefault(unit, []).append(name)
    more = {"files": dict(sorted(read.items()))} if read else {}
    more |= {"consoles": {"xenconsoled": consoles}} if consoles else {}
    return {"programs": dict(sorted(programs.items())), "units": dict(sorted(others.items())), **more}
