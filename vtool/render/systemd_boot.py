"""What systemd-boot reads: its settings, and what vtool-board makes an entry of (``on_board.systemd_boot``).

A boot set is named by its content, a generation by its own: so neither name can stand in a file of it. vtool-board
writes both where it makes the entry.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.model.board_facts import SystemdBoot
from vtool.plan.types import BoardPlan
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.templating import fill


def render(board: BoardPlan) -> Iterator[Artifact]:
    """``loader.conf``, ``entry.conf`` and, under Xen, ``xen.cfg``. Nothing for a board that boots otherwise."""
    if not isinstance(board.facts.boot, SystemdBoot):
        return
    names = ("loader.conf", "entry.conf", *(["xen.cfg"] if board.xen_bootargs is not None else []))
    linux_arguments = f"{board.control.bootargs} vtool.generation=@GENERATION@ vtool.boot=@SET@"
    for name in names:
        text = fill(f"systemd-boot/{name}.j2", board=board, linux_arguments=linux_arguments)
        yield Artifact(Place.BOOT, name, Kind.TEXT, text, asked_by=("boards", board.name))
