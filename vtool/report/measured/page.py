"""The page: one file that needs no other and no network, for a screen of any width and for paper. Enter at ``page``.

What is decided here is what stands where. All words go through a template that escapes; markup of our own making is
pictures alone. The same runs make the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vtool.base.records import record
from vtool.base.rooms import room
from vtool.report.measured import models, tables
from vtool.report.measured.cells import MeasuredCell, measured_cells, names_of, variant_names
from vtool.report.measured.fingerprint import fingerprint
from vtool.report.measured.panels import Panel, Plot, hypervisor_name, overviews, panels_of, styles_of
from vtool.report.measured.plots import draw, swatch
from vtool.report.measured.topologies import MAP_HEADINGS, TopologyShown
from vtool.report.measured.words import LEFT_OUT, MARKS
from vtool.report.memory_map_picture import map_style
from vtool.report.summary import printable
from vtool.results.fewest import cannot_decide
from vtool.results.records import Clock
from vtool.results.run_folder import RunRead

MOST_PLOTS = 40
"""How many plots a page has by itself: each takes some 30 ms, and 8 KB or, with many payloads and paths, 30."""


@record
class Picture:
    """A plot as it is shown: its title, and the picture."""

    title: str
    svg: Markup


@record
class Legend:
    """A line of a legend: what a data path's marks look like."""

    swatch: Markup
    name: str


@dataclass(frozen=True)
class ShownPanel:
    """A panel with its pictures; without any where the page had room for no more."""

    panel: Panel
    note: str
    pictures: tuple[Picture, ...]
    legend: tuple[Legend, ...]


@dataclass(frozen=True)
class Part:
    """What was measured by one clock: numbers of two clocks never stand in one table."""

    clock: Clock
    note: str
    paths: tables.Table | None
    cells: tables.Table | None
    other: tables.Table | None
    models: models.Models | None
    model_pictures: tuple[tuple[str, Picture], ...]
    legend: tuple[Legend, ...]
    overviews: tuple[tuple[str, Picture], ...]
    panels: tuple[ShownPanel, ...]
    compared: int
    by_other_programs: int

    @property
    def drawn(self) -> int:
        """Return how many panels are drawn."""
        return sum(1 for panel in self.panels if panel.pictures)


class _Drawing:
    """Draws as many plots as there is room for, each by a key of its own."""

    def __init__(self, most: int) -> None:
        self._left, self._count = most, 0

    def room_for(self, plots: int) -> bool:
        """Take room for some plots, if there is some."""
        self._left -= plots
        return self._left >= 0

    def picture(self, plot: Plot) -> Picture:
        """Draw."""
        self._count += 1
        unit = "" if plot.ratios else f", {plot.unit}"
        return Picture(f"{plot.title}{unit}", Markup(draw(plot, f"p{self._count}-")))  # noqa: S704 - XML


def page(runs: Sequence[RunRead], topologies: Sequence[TopologyShown], most_plots: int = MOST_PLOTS) -> str:
    """Return the page of some runs. ``most_plots``: further panels are tables only, and the page says so."""
    cells = measured_cells(runs)
    names = names_of([run.run for run in runs])
    by_name = dict(zip(names, runs, strict=True))
    drawing = _Drawing(most_plots)
    modelled = {one.clock: one for one in models.models_of(runs, styles_of(cells), _ambiguous(by_name))}
    parts = tuple(
        _part(clock, modelled.get(clock), [cell for cell in cells if cell.clock is clock], by_name, drawing)
        for clock in Clock
        if any(cell.clock is clock for cell in cells)
    )
    script = _source("benchmark.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    said: dict[str, Any] = {
        "title": " and ".join(names),
        "runs": [_of_run(run, name) for name, run in by_name.items()],
        "parts": parts,
        "has_models": any(part.models and (part.models.terms or part.models.crossovers) for part in parts),
        "marks": [MARKS[part.clock] for part in parts if MARKS[part.clock]],
        "left_out": LEFT_OUT,
        "reached": tables.reached(runs),
        "memory": tables.memory(runs),
        "missing": tables.missing(runs, cells),
        "fingerprint": fingerprint(runs),
        "topologies": topologies,
        "map_headings": MAP_HEADINGS,
        "few": any(cell.wanted < tables.FEWEST for cell in cells),
        "style": Markup(_source("benchmark.css") + map_style()),  # noqa: S704 - our own file
        "script": Markup(script),  # noqa: S704 - our own file
        "script_digest": digest,
    }
    return _environment().get_template("benchmark.html.j2").render(said)


def _ambiguous(runs: dict[str, RunRead]) -> bool:
    """Whether rows have to say of which run they are: where a hypervisor was measured in several."""
    seen = [{cell.hypervisor for cell in run.run.cells if cell.hypervisor} for run in runs.values()]
    return sum(map(len, seen)) > len(set().union(*seen))


def _part(
    clock: Clock,
    modelled: models.Models | None,
    cells: Sequence[MeasuredCell],
    runs: dict[str, RunRead],
    drawing: _Drawing,
) -> Part:
    several = _ambiguous(runs)
    styles = styles_of(cells)
    on_paths = [cell for cell in cells if cell.path]
    measured = [cell for cell in on_paths if cell.spreads]
    shown = tuple((one.heading, drawing.picture(one.plot)) for one in overviews(cells, styles, several)
                  if drawing.room_for(1))  # fmt: skip
    of_models = tuple((one.heading, drawing.picture(one.plot)) for one in (modelled.plots if modelled else ())
                      if drawing.room_for(1))  # fmt: skip
    return Part(
        clock,
        MARKS[clock],
        tables.path_table(on_paths, runs, several) if on_paths else None,
        tables.cell_table(measured, runs, several) if measured else None,
        tables.other_table(cells, several),
        modelled,
        of_models,
        _legend(plot.plot for plot in (modelled.plots if modelled else ())),
        shown,
        tuple(_shown(panel, drawing) for panel in panels_of(cells, styles, several)),
        sum(1 for cell in on_paths if cell.compared_with is not None),
        sum(1 for cell in on_paths if cell.by_another_program),
    )


def _shown(panel: Panel, drawing: _Drawing) -> ShownPanel:
    note = MARKS[panel.clock]
    if not drawing.room_for(len(panel.plots)):
        return ShownPanel(panel, note, (), ())
    pictures = tuple(drawing.picture(plot) for plot in panel.plots)
    return ShownPanel(panel, note, pictures, _legend(panel.plots))


def _legend(plots: Iterable[Plot]) -> tuple[Legend, ...]:
    names = {series.name: series.style for plot in plots for series in plot.series}
    return tuple(Legend(Markup(swatch(style)), name) for name, style in names.items())  # noqa: S704 - numbers alone


def _of_run(run: RunRead, name: str) -> dict[str, Any]:
    said = run.run
    clocks = dict.fromkeys(MARKS[one.clock] or "a real board" for one in run.repetitions)
    boards = run.boards or dict.fromkeys(cell.board for cell in said.cells if cell.board)
    return {
        "name": name,
        "id": said.id,
        "created": said.created.replace("T", " ").partition(".")[0] + " UTC",
        "vtool": said.vtool,
        "boards": ", ".join(boards) or "none",
        "hypervisors": ", ".join(dict.fromkeys(hypervisor_name(c.hypervisor) for c in said.cells if c.hypervisor)),
        "clocks": "; ".join(clocks) or "nothing was measured",
        "cells": len(said.cells),
        "possible": sum(1 for cell in said.cells if not cell.faults),
        "repetitions": said.repetitions,
        "counted": sum(1 for one in run.repetitions if one.void is None),
        "planned": run.planned,
        "unfinished": bool(run.missing()),
        "undecided": "" if said.repetitions >= tables.FEWEST else cannot_decide(said.repetitions, tables.FEWEST),
        "command": shlex.join(said.command),
        "matrix_digest": said.matrix_digest,
        "digests": [(variant.id, variant.digest or "none: it cannot be") for variant in said.variants],
        "baseline": _baselines(run),
        "warnings": [found.message for found in run.warnings],
    }


def _baselines(run: RunRead) -> str:
    """Return what cells are compared with: the matrix' baseline, and the variants that some have instead."""
    names = variant_names(run.run)
    cells = (run.cells.get(cell.baseline or "") for cell in run.run.cells)
    used = dict.fromkeys(cell.variant for cell in cells if cell is not None)
    told = ", ".join(f"{axis} {value}" for axis, value in run.run.baseline.items()) or "none"
    several = [names[variant] for variant in used]
    return told if len(several) < 2 else f"{told}; by path: {', '.join(several)}"


@cache
def _source(name: str) -> str:
    return (room("templates") / "report" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(room("templates") / "report")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                       finalize=_clean)  # fmt: skip
    made.filters["picture"] = Markup  # graphviz and our own XML, which escape
    return made


def _clean(value: Any) -> Any:
    """Replace what no text of a page should have: control characters, half of a pair."""
    return printable(value) if type(value) is str else value
