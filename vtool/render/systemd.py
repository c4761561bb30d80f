"""What all units share: the target that groups them and the users they run as."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.plan.types import BoardPlan
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.templating import fill


def render(board: BoardPlan) -> Iterator[Artifact]:
    """``vtool.target`` and the sysusers file."""
    asked_by = ("boards", board.name)
    yield Artifact(
        Place.GENERATION,
        "units/vtool.target",
        Kind.TEXT,
        fill("systemd/vtool.target.j2", board=board),
        asked_by,
    )
    yield Artifact(
        Place.GENERATION, "sysusers.conf", Kind.TEXT, fill("systemd/sysusers.conf.j2", board=board), asked_by
    )
