"""Granted pages: QEMU's queues are short, since what is granted for every entry is the domain's to limit."""

from __future__ import annotations

from vtool.model.combinations import Combination
from vtool.model.devices import Device
from vtool.model.devices.arguments import Pairs
from vtool.plan.paths import Planning


def properties(_: Device, row: Combination) -> Pairs:
    """Return the properties of a device whose frontend grants pages."""
    return row.service.granted if row.service is not None else ()


PLANNING = Planning(properties=properties)
