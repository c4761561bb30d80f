"""What a domain says of each of Xen's properties, by their table."""

from __future__ import annotations

from enum import Enum
from typing import Any

from vtool.model.topology import Domain, XenDomain
from vtool.platform.xen_properties import XenProperty

# Not checked: that would build their validators whenever this is imported.
_OF_DOMAIN, _OF_XEN = Domain.model_construct(), XenDomain.model_construct()


def requested(domain: Domain, row: XenProperty) -> Any:
    """Return the value of a property, with names in place of enums; the default where the domain says nothing."""
    value = getattr((domain.xen or _OF_XEN) if row.key.startswith("xen.") else domain, row.field)
    return tuple(map(_named, value)) if isinstance(value, tuple) else _named(value)


def is_requested(domain: Domain, row: XenProperty) -> bool:
    """Whether a domain says something of a property that is not its default."""
    if not row.key.startswith("xen."):
        return bool(getattr(domain, row.field) != getattr(_OF_DOMAIN, row.field))
    return domain.xen is not None and bool(getattr(domain.xen, row.field) != getattr(_OF_XEN, row.field))


def _named(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
