"""From a matrix to what is measured: variants, workloads, cells, and why some cannot be. Enter at ``plan_matrix``.

A variant is a topology like any other, and has the topology's own errors. Those of a matrix's setting that cannot even
be read are the matrix's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from vtool.base.records import record
from vtool.bench.matrix import TOPOLOGY_AXIS, LoadedMatrix, Value, digest_of
from vtool.bench.places import Spot, places_of
from vtool.bench.workloads.base import Point, WorkloadBase
from vtool.diagnostics import Diagnostic, Span, VtoolError, in_order, nearest
from vtool.diagnostics.codes import declare
from vtool.model.topology import OWN_RAMDISKS, Topology
from vtool.plan.types import Plan
from vtool.reading.language import SETTING_FILE, read_topology
from vtool.reading.source import Document
from vtool.report.summary import plan_data
from vtool.results.records import Cell, DomainMemory, Fault, Variant, WorkloadUsed

_KINDS = {"blk": "disk", "net": "network", "fs": "share"}
MOST_CELLS = 1000
"""What `--at-most` is by itself."""
_OF_MEANING = "VT3"
"""From this code on an error is the topology's, not the matrix's: it can be read, and cannot be."""

declare(
    "VT942",
    what="a workload of a matrix fits nothing that is measured",
    why="It would be left out of every cell, and missed by nobody.",
    example="tool: fio with device: net0",
    fix="Name another device, or change what the message says.",
)
declare(
    "VT972",
    what="a matrix sets a part of something that the topology does not have",
    why="A device or region that nobody wrote would be half made: its name is misspelt in most cases.",
    example="key: regions.pool9.size, of a topology with regions: {pool0: ...}",
    fix="Use a name that the topology has; or add the whole of it by a choice: regions.pool9={size: 16MiB, ...}.",
)
declare(
    "VT943",
    what="a matrix multiplies to nothing",
    why="None of its cells can be: there is nothing to measure.",
    example="an axis of data paths, none of which the hypervisor has",
    fix="Read why; `vtool bench --plan` lists each cell's reason.",
)
declare(
    "VT944",
    what="a matrix multiplies to more cells than --at-most",
    why="Axes and lists multiply, and a week of measuring is seldom what was meant.",
    example="four axes of ten values each",
    fix="Leave out values, or give a larger --at-most.",
)
declare(
    "VT947",
    what="two variants of a matrix are the same topology",
    why="A value that changes nothing would be compared with itself.",
    example="a choice that sets a key to what the topology says already",
    fix="Change what the choice sets, or remove it.",
)


class Ready(Protocol):
    """A topology that passed every check and that vtool deploys, with its plan."""

    @property
    def document(self) -> Document:
        """Return the document."""

    @property
    def topology(self) -> Topology:
        """Return what the user wrote."""

    @property
    def plan(self) -> Plan:
        """Return what was decided."""


Prepare = Callable[[Path, Sequence[Path], Sequence[str]], Ready]
"""Reads, checks and plans a topology with overlays and settings. VtoolError with everything that is wrong."""


@record
class WorkloadPoint:
    """One point of a workload of the matrix, with its name."""

    name: str
    workload: WorkloadBase
    point: Point


@dataclass(frozen=True)
class Planned:
    """What a matrix comes to. ``ready`` has the variants that can be deployed, ``spots`` where cells are measured."""

    loaded: LoadedMatrix
    variants: tuple[Variant, ...]
    workloads: Mapping[str, WorkloadPoint]
    cells: tuple[Cell, ...]
    ready: Mapping[str, Ready]
    spots: Mapping[str, Spot]

    @property
    def possible(self) -> list[Cell]:
        """Return the cells that can be."""
        return [cell for cell in self.cells if not cell.faults]

    @property
    def used(self) -> tuple[WorkloadUsed, ...]:
        """Return the workloads as a run tells them."""
        return tuple(
            WorkloadUsed(id=name, tool=point.workload.tool, parameters=dict(point.point))
            for name, point in self.workloads.items()
        )


def plan_matrix(loaded: LoadedMatrix, prepare: Prepare, at_most: int = MOST_CELLS) -> Planned:
    """Return everything that a matrix comes to. VtoolError VT942 to VT944, VT947, and what cannot be read."""
    workloads = {point.name: point for name, w in loaded.matrix.workloads.items() for point in _points(name, w)}
    combined = [*itertools.product(*loaded.axes.values())]
    _require_at_most(loaded, len(combined) * len(workloads), at_most)
    variants: list[Variant] = []
    ready: dict[str, Ready] = {}
    wrong: list[Diagnostic] = []
    for values in combined:
        variant, prepared, found = _variant(loaded, dict(zip(loaded.axes, values, strict=True)), prepare)
        wrong += [one for one in found if one.code < _OF_MEANING or one.code == "VT972"]
        variants.append(variant)
        if prepared is not None:
            ready[variant.id] = prepared
    if wrong:
        raise VtoolError(in_order(dict.fromkeys(wrong)))
    _require_different(loaded, variants)
    cells, spots = _cells(loaded, variants, ready, workloads)
    _require_fitting(loaded, cells, spots, workloads, ready)
    _require_at_most(loaded, len(cells), at_most)
    if all(cell.faults for cell in cells):
        _nothing(loaded, variants, cells)
    return Planned(loaded, tuple(variants), workloads, tuple(_with_baselines(loaded, variants, cells)), ready, spots)


def _points(name: str, workload: WorkloadBase) -> Iterator[WorkloadPoint]:
    for point in workload.points():
        yield WorkloadPoint(name + workload.words_of(point), workload, point)


# -- variants


def _variant(
    loaded: LoadedMatrix, values: Mapping[str, Value], prepare: Prepare
) -> tuple[Variant, Ready | None, list[Diagnostic]]:
    topology = values[TOPOLOGY_AXIS].topology
    assert topology is not None
    overlays = [file for value in values.values() for file in value.overlays]
    settings = [setting for value in values.values() for setting in value.settings]
    places = [place for value in values.values() for place in value.places]
    axes = {name: value.name for name, value in values.items()}
    variant = Variant(
        id=_id(loaded, axes),
        axes=axes,
        topology=str(topology),
        settings=tuple(settings),
        overlays=tuple(map(str, overlays)),
    )
    try:
        ready = prepare(topology, overlays, settings)
    except VtoolError as error:
        written = _written(topology, overlays)
        missing = {
            number: fault for number, setting in enumerate(settings, 1) if (fault := _of_nothing(setting, written))
        }
        told = (_instead(one, missing) for one in error.diagnostics)
        found = [*dict.fromkeys(_placed(loaded, one, places, axes) for one in told)]
        return variant.model_copy(update={"faults": tuple(map(fault_of, found))}), None, found
    known = {"digest": digest_of(ready.document.value), "plans": plan_digests(ready), "memory": _memory_of(ready)}
    return variant.model_copy(update=known), ready, []


def _written(topology: Path, overlays: Sequence[Path]) -> Mapping[str, Any]:
    """Return a topology as it is without settings; nothing of one that cannot be read, where no setting is at fault."""
    try:
        value = read_topology(topology, overlays, ()).value
    except VtoolError:
        return {}
    return value if isinstance(value, dict) else {}


def _of_nothing(setting: str, written: Mapping[str, Any]) -> Diagnostic | None:
    """Return what is wrong with a setting that changes a part of something which the topology does not have."""
    key = setting.partition("=")[0]
    section, _, rest = key.partition(".")
    name, _, part = rest.partition(".")
    there = written.get(section)
    if not part or not isinstance(there, dict) or name in there:
        return None
    hints = nearest(name, there) or (f"its {section}: {', '.join(there)}",)
    return Diagnostic("VT972", f"'{key}' is set, and the topology has no '{name}' in '{section}'", hints=hints)


def _instead(found: Diagnostic, missing: Mapping[int, Diagnostic]) -> Diagnostic:
    """Return the fault of a setting for what followed from it."""
    span = found.span
    fault = missing.get(span.line) if span is not None and span.path == SETTING_FILE else None
    return found if fault is None else replace(fault, span=replace(span, column=1, end_column=2)) if span else fault


def plan_digests(ready: Ready) -> dict[str, str]:
    """Return the digest of each board's plan, by the board's name."""
    return {board.name: digest_of(plan_data(board)) for board in ready.plan.boards}


def _memory_of(ready: Ready) -> dict[str, DomainMemory]:
    """Return what each domain owns, borrows and exposes, by the topology and the plan."""
    topology = ready.topology
    ram = {guest.name: guest.memory_bytes for board in ready.plan.boards for guest in board.guests}
    found: dict[str, DomainMemory] = {}
    for name, domain in topology.domains.items():
        owned = sum(region.size for region in topology.regions.values() if region.owner == name)
        borrowed = sum(region.size for region in topology.regions.values() if name in region.borrowers)
        # A guest's memory has the pools behind it in it.
        plain = domain.memory if domain.memory is not None else ram.get(name, 0)
        served = [device for device in topology.devices.values() if device.frontend == name]
        devices = [device for device in served if device.type != "iommu"]  # which carries no data
        all_of_it = any(device.data_path.traits.shares_ram for device in devices)
        regions = {device.region for device in devices if device.region is not None}
        confined = sum(topology.regions[region].size for region in regions)
        exposed = plain + owned if all_of_it else confined
        found[name] = DomainMemory(owns=plain + owned, borrows=borrowed, exposed=exposed)
    return found


def _id(loaded: LoadedMatrix, axes: Mapping[str, str]) -> str:
    """Return a variant's name: of the axes that have several values, else the topology's."""
    several = [f"{name}={axes[name]}" for name, values in loaded.axes.items() if len(values) > 1]
    return ",".join(several) or axes[TOPOLOGY_AXIS]


def _placed(
    loaded: LoadedMatrix, found: Diagnostic, places: Sequence[tuple[str | int, ...]], axes: Mapping[str, str]
) -> Diagnostic:
    """Return a finding at the matrix's place where it is of one of its settings, or of a file that it names."""
    span = found.span
    if span is not None and span.path == SETTING_FILE:
        where = loaded.document.span(places[span.line - 1])
        return replace(found, span=_inside(where, span) if _is_as_written(where, span) else where)
    if span is None and loaded.matrix.topologies:
        return replace(found, span=loaded.document.span(("topologies", axes[TOPOLOGY_AXIS], "file")))
    return found


def _is_as_written(where: Span, setting: Span) -> bool:
    """Whether a setting stands in its file letter for letter, so that its columns can be told."""
    return where.line == where.end_line and where.end_column - where.column == len(setting.text or "")


def _inside(where: Span, setting: Span) -> Span:
    first = where.column - 1
    return replace(where, column=first + setting.column, end_column=first + setting.end_column)


def fault_of(found: Diagnostic) -> Fault:
    """Return a diagnostic as a run keeps it."""
    return Fault(code=found.code, message=found.message, place=str(found.span) if found.span else "")


# -- cells


def _cells(
    loaded: LoadedMatrix,
    variants: Iterable[Variant],
    ready: Mapping[str, Ready],
    workloads: Mapping[str, WorkloadPoint],
) -> tuple[list[Cell], dict[str, Spot]]:
    """Return every cell, those that cannot be with why, and the spot of each."""
    spots_of = {
        name: [spot for board in one.plan.boards for spot in places_of(one.topology, board)]
        for name, one in ready.items()
    }
    # What a broken variant would have measured, is what the others do.
    known = {
        (w, where): None for spots in spots_of.values() for w, p in workloads.items() for where in _places(p, spots)
    }
    cells: list[Cell] = []
    spots: dict[str, Spot] = {}
    for variant in variants:
        mine = spots_of.get(variant.id, [])
        for name, point in workloads.items():
            here = _places(point, mine)
            wheres = [where for (of, where) in known if of == name] or [point.workload.device or ""]
            for where in wheres:
                spot = here.get(where)
                cell = Cell(id=f"{variant.id}/{name}@{where}", variant=variant.id, workload=name, device=where)
                if spot is not None:
                    cell = _told(cell, spot)
                    spots[cell.id] = spot
                cells.append(cell.model_copy(update={"faults": tuple(_faults(loaded, variant, point, where, spot))}))
    return cells, spots


def _places(point: WorkloadPoint, spots: Iterable[Spot]) -> dict[str, Spot]:
    """Return where a workload is measured: devices of its types, or guests, by name."""
    types, device = point.workload.TYPES, point.workload.device
    if not types:
        return {spot.place.frontend: spot for spot in spots if not spot.place.device}
    return {
        spot.place.device: spot for spot in spots if spot.place.type in types and device in (None, spot.place.device)
    }


def _told(cell: Cell, spot: Spot) -> Cell:
    place = spot.place
    return cell.model_copy(
        update={
            "board": spot.board,
            "frontend": place.frontend,
            "device": place.device,
            "hypervisor": spot.hypervisor,
            "type": place.type,
            "data_path": spot.data_path,
            "program": spot.program,
            "transport": spot.transport,
        }
    )


def _faults(
    loaded: LoadedMatrix, variant: Variant, point: WorkloadPoint, where: str, spot: Spot | None
) -> Iterator[Fault]:
    if variant.faults:
        yield from variant.faults
        return
    place = str(loaded.document.span(("workloads", point.name.split(",")[0]), key=True))
    if spot is None:
        kinds = " or ".join(_KINDS.get(kind, kind) for kind in point.workload.TYPES) or "guest"
        yield Fault(code="VT942", message=f"it has no {kinds}{f' {where!r}' if where else ''}", place=place)
        return
    if not spot.place.has_shell and point.workload.PROGRAMS:
        why = "Xen built it at boot, and nobody reaches its shell"
        but = f"only with a network and '{OWN_RAMDISKS[1]}' does it take commands"
        message = f"nothing can be run in '{spot.place.frontend}': {why}; {but}"
        yield Fault(code="VT942", message=message, place=place)
        return
    for why in point.workload.unfit(point.point, spot.place):
        yield Fault(code="VT942", message=why, place=place)


def _with_baselines(loaded: LoadedMatrix, variants: Sequence[Variant], cells: Sequence[Cell]) -> Iterator[Cell]:
    """Yield each cell with the one that it is compared with, where that can be."""
    of_axes = {tuple(variant.axes.items()): variant.id for variant in variants}
    baselines = {
        variant.id: of_axes[tuple((variant.axes | _baseline_of(loaded, variant)).items())] for variant in variants
    }
    known = {cell.id: cell for cell in cells}
    for cell in cells:
        other = baselines[cell.variant]
        name = f"{other}/{cell.id[len(cell.variant) + 1 :]}"
        is_one = other != cell.variant and name in known and not known[name].faults
        yield cell.model_copy(update={"baseline": name if is_one else None})


def _baseline_of(loaded: LoadedMatrix, variant: Variant) -> dict[str, str]:
    """Return the values that a variant is compared with: the matrix', or what its own values say instead."""
    found = dict(loaded.baseline)
    for axis, values in loaded.axes.items():
        for value in values:
            if value.name == variant.axes[axis]:
                found |= dict(value.baseline)
    return found


# -- what is wrong with the whole


def _require_at_most(loaded: LoadedMatrix, number: int, at_most: int) -> None:
    if number <= at_most:
        return
    factors = {f"axis '{name}'": len(values) for name, values in loaded.axes.items()}
    factors |= {f"workload '{name}'": len([*w.points()]) for name, w in loaded.matrix.workloads.items()}
    told = ", ".join(f"{what} {count}" for what, count in factors.items() if count > 1)
    message = f"the matrix multiplies to at least {number} cells, more than {at_most}: {told}"
    place = ("axes",) if loaded.matrix.axes else ("workloads",)
    hint = f"leave out values, or give --at-most {number}"
    raise VtoolError(Diagnostic("VT944", message, loaded.document.span(place, key=True), hints=(hint,)))


def _require_different(loaded: LoadedMatrix, variants: Iterable[Variant]) -> None:
    """Raise VT947 for variants that came out as the same topology, at the value that changed nothing."""
    first: dict[str, Variant] = {}
    found: dict[Span, Diagnostic] = {}
    for variant in variants:
        if variant.digest is None:
            continue
        other = first.setdefault(variant.digest, variant)
        if other is variant:
            continue
        name = next(name for name in variant.axes if variant.axes[name] != other.axes[name])
        value, was = variant.axes[name], other.axes[name]
        way = ("topologies", value) if name == TOPOLOGY_AXIS else ("axes", name, "choices", value)
        span = loaded.document.span(way, key=True)
        message = f"'{value}' of axis '{name}' is the same topology as '{was}': it changes nothing"
        found.setdefault(span, Diagnostic("VT947", message, span))
    if found:
        raise VtoolError(in_order(found.values()))


def _require_fitting(
    loaded: LoadedMatrix,
    cells: Iterable[Cell],
    spots: Mapping[str, Spot],
    workloads: Mapping[str, WorkloadPoint],
    ready: Mapping[str, Ready],
) -> None:
    """Raise VT942 for each workload of which no cell fits what it would be measured on."""
    if not ready:
        return  # nothing is known of the places
    found = []
    for name, workload in loaded.matrix.workloads.items():
        mine = [cell for cell in cells if workloads[cell.workload].workload is workload]
        if any(all(fault.code != "VT942" for fault in cell.faults) and cell.id in spots for cell in mine):
            continue
        why = next((fault.message for cell in mine for fault in cell.faults if fault.code == "VT942"), "")
        key = "device" if workload.device is not None else "tool"
        span = loaded.document.span(("workloads", name, key))
        message = f"workload '{name}' fits nothing that is measured: {why}"
        found.append(Diagnostic("VT942", message, span, hints=_others_to_measure(workload, ready)))
    if found:
        raise VtoolError(in_order(found))


def _others_to_measure(workload: WorkloadBase, ready: Mapping[str, Ready]) -> tuple[str, ...]:
    """Return hints: the device that was meant, else those that the workload could measure."""
    devices = (each for one in ready.values() for each in one.topology.devices.items())
    names = dict.fromkeys(name for name, device in devices if device.type in workload.TYPES)
    close = nearest(workload.device, names) if workload.device else ()
    return close or ((f"there is {', '.join(names)}",) if workload.device and names else ())


def _nothing(loaded: LoadedMatrix, variants: Iterable[Variant], cells: Iterable[Cell]) -> None:
    """Raise VT943 with every reason, each once."""
    reasons = [fault for variant in variants for fault in variant.faults]
    reasons += [fault for cell in cells for fault in cell.faults]
    told = dict.fromkeys(f"{fault.place}: " * bool(fault.place) + f"{fault.code}: {fault.message}" for fault in reasons)
    message = "the matrix multiplies to nothing: none of its cells can be"
    raise VtoolError(Diagnostic("VT943", message, loaded.document.span(()), detail=tuple(told)))
