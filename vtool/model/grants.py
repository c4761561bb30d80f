"""What a Xen guest's devices hold at once, at worst, on both sides, and how much of it a domain has.

Grants and event channels on the frontend's side, mappings of them and the same event channels on the backend's. How
much one device holds stands in the file of its type or daemon.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from vtool.base.units import PAGE_BYTES
from vtool.model.combinations import combination_of
from vtool.model.devices import Device
from vtool.platform.xen_grants import Held, holds_nothing

GRANTS_PER_FRAME = PAGE_BYTES // 8
"""Of version 1, 8 bytes each: Arm has no other (Xen xen/arch/arm/include/asm/grant_table.h, GNTTAB_MAX_VERSION)."""
RESERVED_GRANTS = 8
"""Xen xen/include/public/grant_table.h GNTTAB_NR_RESERVED_ENTRIES."""
DEFAULT_FRAMES = 64
"""gnttab_max_frames of Xen."""
MAPPINGS_PER_FRAME = PAGE_BYTES // 16
"""Xen xen/common/grant_table.c MAPTRACK_PER_PAGE."""
DEFAULT_MAPTRACK_FRAMES = 1024
"""gnttab_max_maptrack_frames of Xen."""
EVENT_CHANNELS = 1023
"""A domain's default max_evtchn_port (Xen 4.20 tools/libs/light/libxl_create.c)."""
EVENT_PORTS = range(1, EVENT_CHANNELS + 1)
"""Ports of a static event channel (Xen 4.20 xen/arch/arm/dom0less-build.c)."""
OWN_EVENT_CHANNELS = 2
"""Every guest's console and xenstore."""


def held_by(device: Device, cpus: int) -> Held:
    """Return what a device of a Xen guest with so many CPUs holds at worst; nothing where it does not grant."""
    row = combination_of("xen", device)
    holds = row.service.holds if row and row.service and device.data_path.traits.grants else holds_nothing
    return holds(device, cpus)


def driver_domain_load(served: Iterable[tuple[Device, int]], own: Iterable[tuple[Device, int]]) -> tuple[int, int]:
    """Return what a driver domain takes at worst: mappings of grants, and event channels.

    ``served`` are the PV devices it serves, ``own`` those it has, each with the CPUs of its frontend.
    """
    held = [held_by(device, cpus) for device, cpus in served]
    also = [held_by(device, cpus) for device, cpus in own]
    channels = OWN_EVENT_CHANNELS + sum(one.event_channels for one in (*held, *also))
    return sum(one.mappings for one in held), channels


def maptrack_frames_for(mappings: int) -> int:
    """Return how many maptrack frames a domain needs to map so many grants."""
    return -(-mappings // MAPPINGS_PER_FRAME)


def grant_frames_for(grants: int) -> int:
    """Return how many grant frames a domain needs to have so many grants."""
    return -(-(grants + RESERVED_GRANTS) // GRANTS_PER_FRAME)


def free_port(used: Collection[int]) -> int | None:
    """Return the lowest port of a static event channel that a domain has free, None when it has none."""
    return next((port for port in EVENT_PORTS if port not in used), None)


def available_mappings(frames: int | None) -> int:
    """Return how many grants a domain can map with so many maptrack frames (Xen's default when None)."""
    return (DEFAULT_MAPTRACK_FRAMES if frames is None else frames) * MAPPINGS_PER_FRAME


def available_grants(frames: int | None) -> int:
    """Return how many grants a domain can have with so many grant frames (Xen's default when None)."""
    return (frames or DEFAULT_FRAMES) * GRANTS_PER_FRAME - RESERVED_GRANTS
