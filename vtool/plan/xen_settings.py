"""What a guest of Xen gets by the table of Xen's properties, whether xl or Xen itself builds it."""

from __future__ import annotations

import functools
from typing import Any

from vtool.model.topology import Domain
from vtool.model.xen_settings import requested
from vtool.platform.xen_properties import SETTINGS, XenSetting


def settings_of(domain: Domain, **decided: Any) -> tuple[XenSetting, ...]:
    """Return a guest's settings in the order of the table; ``decided`` are fields that are not as requested."""
    return tuple(
        _setting(index, decided[field] if field in decided else requested(domain, row))
        for index, (field, row) in enumerate(_ROWS)
    )


_ROWS = [(row.field, row) for row in SETTINGS]


@functools.lru_cache(maxsize=1024, typed=True)
def _setting(index: int, value: Any) -> XenSetting:
    """Return a setting; of thousands of guests most have most of them alike."""
    return XenSetting(SETTINGS[index], value)
