"""What a generation says of its disks: what vtool-board makes, gives away and watches. Enter at ``disk_entries``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vtool.plan.types import BoardPlan, FileDisk, units_of


def disk_entries(board: BoardPlan, made: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return an entry a disk of a board's guests; ``made`` says what each is made of that begins as something."""
    found = []
    for guest in board.guests:
        for device in guest.devices:
            units = list(units_of(guest, device))
            found += [_entry(disk, units, made.get(disk.name, {})) for disk in device.files]
        found += [_entry(disk, [guest.unit], {}) for disk in guest.own_files]
    return found


def _entry(disk: FileDisk, units: list[str], made: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "size_bytes": disk.disk_bytes,
        "read_only": disk.read_only,
        "scratch": [disk.scratch.base, disk.scratch.end] if disk.scratch else None,
        "units": units,
    }
    if disk.is_device:
        return {**said, "device": disk.disk_path}
    said |= {"path": disk.disk_path, "name": disk.name, "format": disk.format.value, "sized": disk.sized}
    if disk.image is not None:
        said |= {
            "resets": disk.image.resets,
            "source": made["source"],
            "image": {key: made[key] for key in ("sha256", "size_bytes")},
        }
    return said


def disk_of(board: BoardPlan, name: str) -> FileDisk:
    """Return the disk of a board that is the file of that name."""
    disks = (disk for guest in board.guests for device in guest.devices for disk in device.files)
    return next(disk for disk in disks if disk.name == name)
