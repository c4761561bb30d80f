"""What a run would be, as text and as data: which cells there are, which cannot be and why, how long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vtool.bench.cells import Planned
from vtool.bench.default_matrix import DEFAULT_FILE
from vtool.bench.estimates import Estimate, in_words
from vtool.bench.matrix import TOPOLOGY_AXIS
from vtool.bench.side_by_side import Spreading
from vtool.model.combinations import Combination, combinations
from vtool.report.quantities import served
from vtool.results.fewest import FEWEST_PAIRED, FEWEST_UNPAIRED, cannot_decide
from vtool.results.records import Cell


def plan_lines(planned: Planned, told: Spreading) -> Iterator[str]:
    """Write the plan as lines for a person."""
    possible = planned.possible
    yield (
        f"{planned.loaded.matrix.name}: {_count(len(possible), 'cell')} of {len(planned.cells)}, "
        f"{len(planned.variants)} variants, {len(planned.workloads)} workloads, "
        f"{planned.loaded.matrix.repetitions} repetitions"
    )
    by_id = {cell.id: cell for cell in planned.cells}
    for variant in planned.variants:
        mine = [cell for cell in planned.cells if cell.variant == variant.id]
        can = [cell for cell in mine if not cell.faults]
        yield f"{variant.id}: {len(can)} of {_count(len(mine), 'cell')}"
        for fault in variant.faults:
            yield f"  cannot be: {fault.code}: {fault.message}"
            yield from (f"    at {fault.place}" for _ in [0] if fault.place)
        for cell in can:
            how = f": {served(cell)}" if cell.device else ""
            yield f"  {cell.id[len(variant.id) + 1 :]}{how}{_against(cell, by_id.get(cell.baseline or ''))}"
        reasons = [] if variant.faults else ["; ".join(fault.message for fault in cell.faults) for cell in mine]
        for reason in dict.fromkeys(filter(None, reasons)):
            which = [cell for cell, why in zip(mine, reasons, strict=True) if why == reason]
            what = which[0].id[len(variant.id) + 1 :] if len(which) == 1 else _count(len(which), "cell")
            yield f"  {what} cannot be: {reason}"
    for (hypervisor, type_of), left_out in ways_without_a_cell(planned).items():
        named = ", ".join(f"{one.data_path.value} by {one.program.value} ({one.transport.value})" for one in left_out)
        missing = f"deployed, and of no cell: {named}" if named else "every way that is deployed has a cell"
        yield f"{hypervisor}, {type_of}: {missing}"
    if len(told.lanes) > 1:
        yield f"on {len(told.lanes)} boards side by side; what is compared with each other runs on one, any of them:"
        for lane in told.lanes:
            yield f"  {lane.name}: {_how_long(told.estimates[lane.name])}"
            for group in told.given[lane.name]:
                others = f" and {_count(len(group.cells) - 1, 'cell')} compared with it" if len(group.cells) > 1 else ""
                yield f"    {group.name}{others}{', begun here' if group.name in told.began else ''}"
    if any(fault.place.startswith(str(DEFAULT_FILE)) for variant in planned.variants for fault in variant.faults):
        topology = planned.loaded.axes[TOPOLOGY_AXIS][0].topology
        yield f"{DEFAULT_FILE} is what `vtool bench --print-matrix {topology}` prints"
    repetitions = planned.loaded.matrix.repetitions
    if repetitions < FEWEST_PAIRED and any(cell.baseline for cell in possible):
        yield (
            f"vtool compare {cannot_decide(repetitions, FEWEST_PAIRED)}; of two runs {FEWEST_UNPAIRED} each. They show "
            "how far numbers are apart"
        )
    yield _how_long(told.whole)


def _against(cell: Cell, baseline: Cell | None) -> str:
    if baseline is None:
        return ""
    by_another = cell.device and cell.program != baseline.program
    return f", against {baseline.variant}{f' by {baseline.program}, another program' if by_another else ''}"


def ways_without_a_cell(planned: Planned) -> dict[tuple[str, str], list[Combination]]:
    """Return the deployed ways to serve a device that no cell measures: by hypervisor, and type that others are of."""
    measured = {
        (cell.hypervisor, cell.type, cell.data_path, cell.program, cell.transport)
        for cell in planned.possible
        if cell.device
    }
    found: dict[tuple[str, str], list[Combination]] = {one[:2]: [] for one in sorted(measured)}
    for one in combinations():
        of, how = (one.hypervisor, one.type), (one.data_path.value, one.program.value, one.transport.value)
        if one.deployed and of in found and (*of, *how) not in measured:
            found[of].append(one)
    return found


def _how_long(told: Estimate) -> str:
    known = f", {told.measured} of {told.parts} parts as they were measured" if told.measured else ", by estimates"
    counted = f"{_count(told.repetitions, 'repetition')}, {_count(told.deployments, 'deployment')}"
    return f"about {in_words(told.seconds)}: {counted}{known}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def plan_data(planned: Planned, told: Spreading) -> dict[str, Any]:
    """Return the same as plain data."""
    whole = told.whole
    return {
        "name": planned.loaded.matrix.name,
        "variants": [variant.model_dump(mode="json") for variant in planned.variants],
        "workloads": [workload.model_dump(mode="json") for workload in planned.used],
        "cells": [cell.model_dump(mode="json") for cell in planned.cells],
        "boards": [
            {
                "stands": dict(lane.stands),
                "groups": [list(group.cells) for group in told.given[lane.name]],
                "estimated_seconds": round(told.estimates[lane.name].seconds),
            }
            for lane in told.lanes
        ],
        "repetitions": whole.repetitions,
        "deployments": whole.deployments,
        "estimated_seconds": round(whole.seconds),
        "repetitions_to_decide": FEWEST_PAIRED,
        "parts_measured": whole.measured,
        "parts": whole.parts,
    }
