"""Settings for a device of each type, as ``tests/topologies`` write them: for tests that make topologies of their own.

What a device has on its board is told apart by a number: numbers grow by it, names of files and those in lists have it
in them.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import yaml

TOPOLOGIES = Path(__file__).parent / "topologies"
NOT_SETTINGS = {
    "type",
    "frontend",
    "backend",
    "program",
    "transport",
    "data_path",
    "region",
    "backend_cpus",
    "queues",
    "queue_size",
    "socket",
}


@functools.cache
def _written(device_type: str) -> dict[str, dict[str, Any]]:
    """Return the fewest settings of a type by program."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(TOPOLOGIES.glob("kvm-*.yaml")):
        for device in yaml.safe_load(path.read_text()).get("devices", {}).values():
            if device["type"] == device_type:
                settings = {key: value for key, value in device.items() if key not in NOT_SETTINGS}
                found[device["program"]] = min(found.get(device["program"], settings), settings, key=_length)
    return found


def _length(settings: dict[str, Any]) -> int:
    return len(str(settings))


def settings_for(device_type: str, program: str, number: int) -> dict[str, Any]:
    """Return what a device of a type, served by a program, has to say besides what all devices say."""
    own = socket_for(program, number)
    known = _written(device_type)
    assert known, f"no file of tests/topologies has a device of type {device_type}"
    if not known.get(program, True):
        return own
    # The same for all programs, so that a number tells their devices apart, too.
    varied: dict[str, Any] = _varied(min(filter(None, known.values()), key=_length, default={}), number)
    return {**varied, **own}


def socket_for(program: str, number: int) -> dict[str, str]:
    """Return where the daemon of another tool listens; nothing for what vtool or the board's kernel serves."""
    return {"socket": f"/run/vtool/of-another-{number}.sock"} if program == "vhost-user" else {}


def _varied(value: Any, number: int) -> Any:
    if isinstance(value, dict):
        return {key: inner if key == "size" else _varied(inner, number) for key, inner in value.items()}
    if isinstance(value, list):
        return [re.sub(r"\d+$", str(number), i) if isinstance(i, str) else _varied(i, number) for i in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value + number
    return f"{number}-{value}" if isinstance(value, str) and value.endswith(".img") else value
