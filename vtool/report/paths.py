"""The table of data paths with what this vtool deploys of it, as text and data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from vtool.check.devices import why_not as why_no_combination
from vtool.data_paths import DataPath, rows
from vtool.data_paths.facts import Parts, Row, Transport
from vtool.model.combinations import Combination, combinations
from vtool.model.devices import Program

_PARTS = {
    Parts.DEBIAN: "Debian's packages suffice",
    Parts.BUILT: "upstream's code, built with other options",
    Parts.PATCHED: "upstream's code, patched",
    Parts.OWN: "a program of vtool's own over upstream's code",
    Parts.OUTSIDE: "code from outside upstream",
}

PROVEN = Path(__file__).parents[1] / "proven.json"
"""What `make paths` proved last: an entry a combination, with its date, versions, bytes and reach.

Where a guest serves the device, an entry of its own, whose ``backend`` is ``guest``. ``also`` has dates and versions of
other releases that it was proven with.
"""
ALSO = "also"
BACKEND = "backend"
GUEST = "guest"


def choices_of(combination: Combination) -> dict[str, str]:
    """Return the five choices as plain data."""
    return {
        "hypervisor": combination.hypervisor,
        "data_path": combination.data_path.value,
        "type": combination.type,
        "transport": combination.transport.value,
        "program": combination.program.value,
    }


@cache
def _record() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(PROVEN.read_text())
    return entries


def proven(combination: Combination, *, by_a_guest: bool) -> dict[str, Any] | None:
    """Return what was recorded when a combination, served by a guest or not, was proven last; or None."""
    choices = choices_of(combination)
    found = (entry for entry in _record() if entry.items() >= choices.items() and (BACKEND in entry) == by_a_guest)
    said = ({key: value for key, value in entry.items() if key not in (*choices, BACKEND)} for entry in found)
    return next(said, None)


def deployed(row: Row, hypervisor: str) -> tuple[Combination, ...]:
    """Return the combinations of a row that this vtool deploys and proves."""
    return tuple(c for c in known(row, hypervisor) if c.deployed)


def known(row: Row, hypervisor: str) -> tuple[Combination, ...]:
    """Return the combinations of a row that this vtool plans and renders."""
    return tuple(
        c
        for c in combinations()
        if (c.hypervisor, c.data_path.value) == (hypervisor, row.data_path)
        and c.type != "iommu"  # carries no data itself
        and (not row.types or c.type in row.types)
    )


def why_not(row: Row, hypervisor: str) -> str:
    """Return why vtool does not deploy a row on a hypervisor; empty when it does."""
    if deployed(row, hypervisor):
        return ""
    way = row.way(hypervisor)
    if known(row, hypervisor):
        return "vtool plans and renders it, and does not deploy it yet (VT714)"
    reason = way.obstacle
    if not reason and row.data_path in {path.value for path in DataPath}:
        path = DataPath(row.data_path)
        reason = why_no_combination(Combination(hypervisor, "blk", path, Transport.MMIO, Program.QEMU_STORAGE_DAEMON))
    return reason or "it can run, but this vtool does not render it"


def paths_data(hypervisors: Sequence[str]) -> dict[str, Any]:
    """Return the table as plain data, in its order; ``deployed`` is an object so that it can say more later."""
    return {"data_paths": [_row_data(row, hypervisors) for row in rows()]}


def _row_data(row: Row, hypervisors: Sequence[str]) -> dict[str, Any]:
    return {
        "number": row.number,
        "key": row.key,
        "data_path": row.data_path or None,
        "idea": row.idea,
        "backend_reaches": row.backend_reaches,
        "cost": row.cost,
        "hypervisors": {hypervisor: _way_data(row, hypervisor) for hypervisor in hypervisors},
    }


def _way_data(row: Row, hypervisor: str) -> dict[str, Any]:
    way = row.way(hypervisor)
    combinations = deployed(row, hypervisor)
    return {
        "parts": way.parts.value,
        "transports": list(way.transports),
        "programs": list(way.programs),
        "needs": [{"part": need.part, "since": need.since or None, "what": need.what} for need in way.needs],
        "debian_suffices": way.parts is Parts.DEBIAN,
        "debian_lacks": list(way.debian_lacks),
        "deployed": {
            "today": bool(combinations),
            "combinations": [
                {"type": c.type, "transport": c.transport.value, "program": c.program.value}
                | {"proven": proven(c, by_a_guest=row.by_a_guest)}
                for c in combinations
            ],
        },
        "rendered": sorted({c.type for c in known(row, hypervisor)}),
        "why_not": why_not(row, hypervisor) or None,
    }


def paths_lines(hypervisors: Sequence[str]) -> Iterator[str]:
    """Yield a paragraph a data path, with a block a hypervisor."""
    for row in rows():
        yield f"{row.number:>2} {row.key}: {row.idea}"
        yield f"   backend reaches: {row.backend_reaches}; cost: {row.cost}"
        for hypervisor in hypervisors:
            yield from _way_lines(row, hypervisor)


def _when(record: dict[str, Any]) -> str:
    return f"{record['date']} with " + ", ".join(f"{name} {version}" for name, version in record["versions"].items())


def _way_lines(row: Row, hypervisor: str) -> Iterator[str]:
    way, combinations = row.way(hypervisor), deployed(row, hypervisor)
    said = "deployed" if combinations else "impossible" if way.parts is Parts.NONE else "not deployed"
    yield f"   {hypervisor}: {said}" + (f"; {_PARTS[way.parts]}" if way.parts in _PARTS else "")
    for combination in combinations:
        yield f"        deployed: {combination.type}, {combination}"
        if (record := proven(combination, by_a_guest=row.by_a_guest)) is not None:
            reach = f"; its backend could reach: {record['reach'].split(':')[0]}" if record["reach"] else ""
            yield f"        proven {_when(record)}{reach}"
            yield from (f"        proven {_when(other)}" for other in record.get(ALSO, ()))
    reason = why_not(row, hypervisor)
    if reason:
        yield f"        why not: {reason}"
    if way.transports:
        by = f" by {', '.join(way.programs)}" if way.programs else ""
        yield f"        runs over {', '.join(way.transports)}{by}"
    for need in way.needs:
        since = f" >= {need.since}" if need.since else ""
        yield f"        needs {need.part}{since}: {need.what}"
    if way.debian_lacks:
        yield f"        Debian lacks: {', '.join(way.debian_lacks)}"
