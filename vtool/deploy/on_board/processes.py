"""Processes of the board, as proc(5) and cgroups(7), version 2, tell of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

PROCESSES = Path("/proc")
CONTROL_GROUPS = Path("/sys/fs/cgroup")


def command_lines(processes: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folder of each process below ``/proc`` and its words; those that end meanwhile have none."""
    for folder in processes.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield folder, (folder / "cmdline").read_text(errors="replace").split("\0")[:-1]


def control_group(process: Path) -> str:
    """Return the control group of a process, from the root of them all; nothing where there is none of version 2."""
    groups = (process / "cgroup").read_text().splitlines()
    return next((line[len("0::") :] for line in groups if line.startswith("0::")), "")
