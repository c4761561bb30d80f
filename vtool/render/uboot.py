"""What U-Boot runs: a first script that finds the current boot set, and the set's own script.

The first script never changes; which set boots is one line in ``vtool/boot.env`` on the boot
partition, written by vtool-board when it switches.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.plan.types import BoardPlan
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.templating import fill


def render(board: BoardPlan) -> Iterator[Artifact]:
    """``entry.cmd`` (becomes /boot.scr) and ``boot.cmd`` (the set's own), if the facts say how the board boots."""
    if board.facts.boot is None:
        return
    for name in ("boot", "entry"):
        yield Artifact(
            Place.BOOT,
            f"{name}.cmd",
            Kind.BOOT_SCRIPT,
            fill(f"uboot/{name}.cmd.j2", board=board, boot=board.facts.boot),
            asked_by=("boards", board.name),
        )
