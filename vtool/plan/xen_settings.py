"""What a guest of Xen gets alike, whether xl or Xen itself builds it: only how it is written differs."""

from __future__ import annotations

from typing import Any

from vtool.base.units import format_cpu_list
from vtool.model.topology import Domain, XenDomain


def settings_of(domain: Domain) -> dict[str, Any]:
    """Return a guest's settings as the fields that ``plan.XenGuest`` and ``plan.XenBootGuest`` share."""
    settings = domain.xen or XenDomain()
    return {
        "p2m_bytes": settings.p2m_memory,
        "traps_unmapped_accesses": settings.trap_unmapped_accesses,
        "sve_bits": settings.sve,
        "llc_colors": format_cpu_list(settings.llc_colors) or None,
        "sci_type": "scmi_smc" if settings.scmi_smc else None,
        "max_grant_version": settings.max_grant_version,
        "max_grant_frames": settings.max_grant_frames,
        "max_maptrack_frames": settings.max_maptrack_frames,
        "passthrough": domain.passthrough,
    }
