"""A configuration for ImageBuilder, for people whose boot scripts come from there (xen.md section 7)."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.plan.types import BoardPlan
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.templating import fill


def render(board: BoardPlan) -> Iterator[Artifact]:
    """One shell file for a Xen board with guests that Xen starts at boot; it is not pushed."""
    boot = board.xen_boot
    if not boot.guests:
        return
    memory = next(bank for bank in board.ram if bank.base <= boot.guests[0].kernel.window.base < bank.end)
    pools = {pool.label: number for number, pool in enumerate(boot.cpupools)}
    words = {
        p.label: ",".join(f"cpu@{cpu}" for cpu in p.cpus) + f" {p.scheduler or ''}".rstrip() for p in boot.cpupools
    }
    values = {"memory": memory, "pools": pools, "pool_words": words, "cannot": sorted(set(_cannot(board)))}
    text = fill("imagebuilder/config.j2", board=board, boot=boot, **values)
    yield Artifact(Place.EXPORT, "imagebuilder.config", Kind.TEXT, text, ("boards", board.name))


def _cannot(board: BoardPlan) -> Iterator[str]:
    """Yield what the plan has and ImageBuilder's configuration cannot say."""
    boot = board.xen_boot
    if boot.event_channels or any(guest.event_channels for guest in boot.guests):
        yield "static event channels"
    if boot.shared:
        yield "memory shared with dom0"
    if board.host_regions:
        yield "regions of dom0"
    for guest in boot.guests:
        if len(guest.shared) > 1:
            yield f"more than one shared region ('{guest.name}')"
        if any(view.role is not None for view in guest.shared):
            yield "who owns a shared region"
        if guest.p2m_bytes or guest.max_grant_frames is not None or guest.max_maptrack_frames is not None:
            yield f"page-table memory and grant limits ('{guest.name}')"
        if '"' in guest.bootargs or "$" in guest.bootargs:
            yield f"a command line with quotes or '$' ('{guest.name}')"
        if guest.spis:
            yield f"the number of interrupts ('{guest.name}')"
