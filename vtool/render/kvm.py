"""Units of KVM guests and of the daemons that serve their disks."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.plan.types import PROGRAM, BoardPlan
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.templating import fill


def render(board: BoardPlan) -> Iterator[Artifact]:
    """One domain unit per guest, one backend unit per disk."""
    for guest in board.kvm_guests:
        yield Artifact(
            Place.GENERATION,
            f"units/{guest.unit}",
            Kind.TEXT,
            fill("kvm/domain.service.j2", guest=guest, program=PROGRAM),
            asked_by=("domains", guest.name),
            used_by=(guest.unit,),
        )
        for disk in guest.devices:
            yield Artifact(
                Place.GENERATION,
                f"units/{disk.backend_unit}",
                Kind.TEXT,
                fill("kvm/qemu-storage-daemon.service.j2", guest=guest, disk=disk),
                asked_by=("devices", disk.name),
                used_by=(disk.backend_unit, guest.unit),
            )
