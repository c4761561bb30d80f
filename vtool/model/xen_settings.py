"""What a domain says of each of Xen's properties, by their table."""

from __future__ import annotations

from enum import Enum
from typing import Any

from vtool.model.topology import Domain
from vtool.platform.xen_properties import XenProperty

_DEFAULTS = Domain.model_construct()  # not checked: that would build a validator at import


def requested(domain: Domain, row: XenProperty) -> Any:
    """Return the value of a property, with names in place of enums; the default where the domain says nothing."""
    value = _value(domain, row)
    return tuple(map(_named, value)) if isinstance(value, tuple) else _named(value)


def is_requested(domain: Domain, row: XenProperty) -> bool:
    """Whether a domain says something of a property that is not its default."""
    return bool(_value(domain, row) != _value(_DEFAULTS, row))


def _value(domain: Domain, row: XenProperty) -> Any:
    return getattr(domain.under_xen if row.key.startswith("xen.") else domain, row.field)


def _named(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
