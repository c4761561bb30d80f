"""A configuration for ImageBuilder, for people whose boot scripts come from there.

Its keys are those of its README (gitlab.com/ViryaOS/imagebuilder) and of the patches to it on the xen-devel list up to
January 2026. A guest's partial tree and the paths of its nodes are given together, as Xen's own
automation/scripts/xilinx-smoke-dom0less-arm64.sh does: the paths make it mark the board's nodes `xen,passthrough`.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.model.topology import Enhanced
from vtool.plan.types import BoardPlan, XenBootGuest, XenCpuPool
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.templating import fill


def render(board: BoardPlan) -> Iterator[Artifact]:
    """One shell file for a Xen board with guests that Xen starts at boot; it is not pushed."""
    boot = board.xen_boot
    if not boot.guests:
        return
    memory = next(bank for bank in board.ram if bank.base <= boot.guests[0].kernel.window.base < bank.end)
    pools = {pool.label: number for number, pool in enumerate(boot.cpupools)}
    values = {
        "memory": memory,
        "pools": pools,
        "pool_words": {pool.label: _pool_words(board, pool) for pool in boot.cpupools},
        "enhanced": {Enhanced.ENABLED: 1, Enhanced.NO_XENSTORE: 2},
        "channels": {guest.name: _channels(board, guest) for guest in boot.guests},
        "cannot": sorted(set(_cannot(board))),
    }
    text = fill("imagebuilder/config.j2", board=board, boot=boot, **values)
    yield Artifact(Place.EXPORT, "imagebuilder.config", Kind.TEXT, text, ("boards", board.name))


def _pool_words(board: BoardPlan, pool: XenCpuPool) -> str:
    """Write a pool as names of CPU nodes and its scheduler."""
    nodes = [node.path.rsplit("/")[-1] for node in board.facts.cpu_nodes]
    names = ",".join(nodes[cpu] if cpu < len(nodes) else f"cpu@{cpu}" for cpu in pool.cpus)
    return f"{names} {pool.scheduler.value if pool.scheduler else ''}".rstrip()


def _channels(board: BoardPlan, guest: XenBootGuest) -> str:
    """Write a guest's event channels to other guests: its port, the other's number and port."""
    numbers = {other.name: number for number, other in enumerate(board.xen_boot.guests)}
    ends = [end for end in guest.event_channels if end.other_domain in numbers]
    return "; ".join(f"{end.port} {numbers[end.other_domain]} {end.other_port}" for end in ends)


def _cannot(board: BoardPlan) -> Iterator[str]:
    """Yield what the plan has and ImageBuilder's configuration cannot say."""
    boot = board.xen_boot
    if boot.event_channels:
        yield "static event channels of dom0"
    if boot.shared:
        yield "memory shared with dom0"
    if board.host_regions:
        yield "regions of dom0"
    for guest in boot.guests:
        if guest.attached:
            yield f"PV devices, which xl attaches ('{guest.name}')"
        if len(guest.shared) > 1:
            yield f"more than one shared region ('{guest.name}')"
        if any(view.role is not None for view in guest.shared):
            yield "who owns a shared region"
        if guest.enhanced is Enhanced.LEGACY:
            yield f"xen,enhanced = legacy ('{guest.name}')"
        for setting in guest.settings:
            if setting.in_tree is not None and setting.row.imagebuilder is None:
                yield f"{setting.row.feature.what} ('{guest.name}')"
        if guest.not_checked:
            yield f"properties that are the user's own ('{guest.name}')"
        if '"' in guest.bootargs or "$" in guest.bootargs:
            yield f"a command line with quotes or '$' ('{guest.name}')"
