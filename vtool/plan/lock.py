"""The lock file: every number that vtool chose, so that the next plan chooses the same.

``<topology>.lock``, JSON, key -> number. A number that cannot be kept is an error, never a silent move:
somebody may have written it down elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from vtool.diagnostics import Diagnostic, VtoolError
from vtool.diagnostics.codes import declare
from vtool.files.json_text import from_json
from vtool.files.regular import read_text
from vtool.plan.types import BoardPlan, Origin, OriginKind, Plan

_FORMAT = 1


def lock_path(topology: Path) -> Path:
    """Return where the lock file of a topology lies: beside it."""
    return topology.with_name(topology.name + ".lock")


declare(
    "VT412",
    what="a lock file cannot be read",
    why="It is damaged or of another version of vtool.",
    example="a merge conflict in it",
    fix="Restore it, or run vtool plan TOPOLOGY --lock.",
)


def read_lock(path: Path) -> Mapping[str, int]:
    """Read a lock file; nothing when there is none. VtoolError VT412 when it is damaged."""
    try:
        data = from_json(read_text(path))
        numbers = data["numbers"]
        if data["format"] != _FORMAT or not all(type(v) is int and v >= 0 for v in numbers.values()):
            raise ValueError
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        hint = "restore it, or delete it and let vtool choose again: vtool plan TOPOLOGY --lock"
        raise VtoolError(Diagnostic("VT412", f"the lock file '{path}' cannot be read", hints=(hint,))) from None
    return dict(numbers)


def format_lock(plan: Plan) -> str:
    """Write the lock file's text: everything in the plan that vtool chose."""
    return json.dumps({"format": _FORMAT, "numbers": dict(_chosen(plan))}, indent=2, sort_keys=True) + "\n"


def view_key(domain: str, region: str) -> str:
    """Return the key of where a domain sees a region, within its board."""
    return f"domain {domain}/region {region}"


def port_key(channel: str, domain: str) -> str:
    """Return the key of a domain's port of an event channel, within its board."""
    return f"channel {channel}/{domain}"


def _chosen(plan: Plan) -> Iterator[tuple[str, int]]:
    for board in plan.boards:
        for key, number, origin in _numbers(board):
            if origin.kind is OriginKind.ALLOCATED:
                yield f"{board.name}/{key}", number


def _numbers(board: BoardPlan) -> Iterator[tuple[str, int, Origin]]:
    for region in board.host_regions:
        yield f"region {region.region}", region.range.base, region.origin
    boot = board.xen_boot
    if boot.static_heap is not None:
        yield "heap", boot.static_heap.range.base, boot.static_heap.origin
    for guest in board.guests:
        for static in guest.static_memory:  # several are the user's, and not kept
            yield f"domain {guest.name}", static.range.base, static.origin
    for domain, views, ends in boot.shared_with(board.control.name):
        for view in views:
            if view.host is not None:
                yield f"region {view.region}", view.host.base, view.host_origin
            yield view_key(domain, view.region), view.inside.base, view.inside_origin
        for end in ends:
            yield port_key(end.channel, domain), end.port, end.origin
