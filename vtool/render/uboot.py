"""What U-Boot runs: a first script that chooses the generation, and the script of its boot set.

The choice is made by the boot state, one sector that the first script and vtool-board read and write
(``vtool.deploy.on_board.u_boot``).
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.model.board_facts import UBoot
from vtool.plan.types import BoardPlan
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.templating import fill

STARTS = 3
"""So often the last good generation is started without Linux saying that it is up, before another one is."""


def render(board: BoardPlan) -> Iterator[Artifact]:
    """``entry.cmd`` (becomes /boot.scr) and ``boot.cmd`` (the set's own); the same as one FIT image.

    Nothing for a board that boots otherwise.
    """
    if not isinstance(board.facts.boot, UBoot):
        return
    for name in ("boot", "entry"):
        yield Artifact(
            Place.BOOT,
            f"{name}.cmd",
            Kind.BOOT_SCRIPT,
            fill(f"uboot/{name}.cmd.j2", board=board, boot=board.facts.boot, fit=False, starts=STARTS),
            asked_by=("boards", board.name),
        )
    yield from _fit(board)


def _fit(board: BoardPlan) -> Iterator[Artifact]:
    """``boot.its`` and its script, for boards that boot one FIT image; not pushed."""
    asked_by = ("boards", board.name)
    script = fill("uboot/boot.cmd.j2", board=board, boot=board.facts.boot, fit=True)
    files = [{"name": "script", "type": "script"}, {"name": "board.dtb", "type": "flat_dt"}]
    names = [
        *board.control.images,
        *(["xen"] if board.xen_image else []),
        *(module.file for module in board.xen_boot.modules),
    ]
    files += [{"name": name, "type": "firmware"} for name in names]
    yield Artifact(Place.EXPORT, "script", Kind.TEXT, script, asked_by)
    yield Artifact(Place.EXPORT, "boot.its", Kind.TEXT, fill("uboot/boot.its.j2", board=board, files=files), asked_by)
