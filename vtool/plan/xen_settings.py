"""What a guest of Xen gets by the table of Xen's properties, whether xl or Xen itself builds it."""

from __future__ import annotations

from typing import Any

from vtool.model.topology import Domain
from vtool.model.xen_settings import wished
from vtool.platform.xen_properties import SETTINGS, XenSetting


def settings_of(domain: Domain, **decided: Any) -> tuple[XenSetting, ...]:
    """Return a guest's settings in the order of the table; ``decided`` are fields that are not as they are wished."""
    return tuple(
        XenSetting(row, decided[row.field] if row.field in decided else wished(domain, row)) for row in SETTINGS
    )
