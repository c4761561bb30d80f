"""xl.cfg and units of Xen domUs, their disks' loop devices, their shares' folders, and the bridges."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.plan.types import PROGRAM, BoardPlan
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.templating import fill


def render(board: BoardPlan) -> Iterator[Artifact]:
    """One xl.cfg and unit per domU, one unit per disk and share that dom0 serves, one per bridge."""
    for guest in board.xen_guests:
        asked_by = ("domains", guest.name)
        yield Artifact(
            Place.GENERATION,
            f"domains/{guest.name}/{guest.name}.cfg",
            Kind.TEXT,
            fill("xen/domain.cfg.j2", guest=guest),
            asked_by,
            (guest.unit,),
        )
        yield _unit(guest.unit, fill("xen/domain.service.j2", guest=guest, program=PROGRAM), asked_by)
        for disk in guest.disks:
            text = fill("xen/loop-disk.service.j2", guest=guest, disk=disk)
            yield _unit(disk.backend_unit, text, ("devices", disk.name), guest.unit)
        for share in guest.shares:
            text = fill("xen/share.service.j2", guest=guest, share=share)
            yield _unit(share.backend_unit, text, ("devices", share.name), guest.unit)
    for bridge in board.bridges:
        users = [g.unit for g in board.xen_guests if bridge.unit in g.backend_units]
        yield _unit(bridge.unit, fill("xen/bridge.service.j2", bridge=bridge), ("devices",), *users)


def _unit(name: str, text: str, asked_by: tuple[str, ...], *also_used_by: str) -> Artifact:
    return Artifact(Place.GENERATION, f"units/{name}", Kind.TEXT, text, asked_by, (name, *also_used_by))
