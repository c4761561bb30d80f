"""Who chose a number. Every address that was decided carries it."""

from __future__ import annotations

from enum import Enum

from vtool.base.records import record
from vtool.base.units import AddressRange


class OriginKind(Enum):
    """Who chose a number."""

    FIXED = "fixed"
    FACT = "fact"
    ALLOCATED = "allocated"


@record
class Origin:
    """Who chose a number, and why or where."""

    kind: OriginKind
    reason: str


def fact(reason: str) -> Origin:
    """Make the origin of a number that a board or a hypervisor is made with."""
    return Origin(OriginKind.FACT, reason)


@record
class StaticRange:
    """Host memory set aside for one purpose, with who chose it."""

    range: AddressRange
    origin: Origin
