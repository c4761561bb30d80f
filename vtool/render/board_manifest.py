"""``manifest.json``: what vtool-board needs to know on the board to run, watch and remove a generation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, assert_never

from vtool.model.access import Way
from vtool.plan.types import BoardPlan, FileDisk, Guest, XenGuest, file_disks, served_by
from vtool.render.artifacts import Artifact, Kind, Place


def render(board: BoardPlan) -> Iterator[Artifact]:
    """One JSON file: domains with their consoles, disks to make, the hypervisor."""
    manifest: dict[str, Any] = {
        "format": 1,
        "board": board.name,
        "hypervisor": board.hypervisor,
        "boot_mount": board.facts.boot.partition_mount if board.facts.boot else None,
        "control": board.control.name,
        "domains": {guest.name: _domain(guest) for guest in board.guests},
        "disks": [_disk(disk) for guest in board.guests for disk in file_disks(guest)],
        "backends": {device: unit for guest in board.guests for device, unit in served_by(guest).items()},
    }
    yield Artifact(
        Place.GENERATION,
        "manifest.json",
        Kind.TEXT,
        json.dumps(manifest, indent=2, sort_keys=True) + "\n",
        asked_by=("boards", board.name),
    )


def _domain(guest: Guest) -> dict[str, Any]:
    said = {
        "kind": guest.kind.value,
        "unit": guest.unit,
        "ready": guest.ready,
        "ready_timeout_s": guest.ready_timeout_s,
        "domain_id": guest.domain_id,
        "console_log": guest.console_log,
        "uart_log": guest.uart_log if isinstance(guest, XenGuest) else None,
        "console": guest.console_socket,
        "qmp": guest.qmp_socket,
        "access": _access(guest),
    }
    return {key: value for key, value in said.items() if value is not None}


def _access(guest: Guest) -> dict[str, Any] | None:
    """Return how to get into a guest, None for a root shell on its console; no board is told where secrets are."""
    access = guest.access
    match access.way:
        case Way.SHELL:
            return None
        case Way.NONE if guest.at_boot:
            return None  # its console takes nothing anyway
        case Way.PROMPT | Way.NONE:
            return {"by": access.way.value}
        case Way.LOGIN:
            asks = access.password_file is not None or access.password_env is not None
            prompts = {"prompt": access.prompt, "password_prompt": access.password_prompt}
            return {"by": access.way.value, "user": access.user, "password": asks, **prompts}
        case Way.SSH:
            where = {"address": access.address, "port": access.port, "host_key": access.host_key}
            return {"by": access.way.value, "user": access.user, **where}
        case _ as never:
            assert_never(never)


def _disk(disk: FileDisk) -> dict[str, Any]:
    return {"path": disk.disk_path, "size_bytes": disk.disk_bytes}
