"""How far each cell is from its baseline, as a plot of ratios."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from vtool.report.measured.cells import measured_cells
from vtool.report.measured.panels import Mark, Plot, Series, overviews, styles_of
from vtool.report.measured.plots import draw, ratio_ticks
from vtool.results.records import Clock
from vtool.results.run_folder import read_run


def drawn(*ratios: tuple[float, float, float]) -> list[str]:
    """Return the words of the ticks of a plot of ratios, each with the ends of its interval."""
    marks = tuple(Mark(ratio, 1.0, low, high, "words") for ratio, low, high in ratios)
    plot = Plot("t", "u", Clock.REAL, (Series("pool", 0, marks),), ((1.0, "pool"),), across=True, log=True, ratios=True)
    words = re.findall(r"<text[^>]*>([^<]*)</text>", draw(plot, "p"))
    return [word for word in words if re.fullmatch(r"[0-9.,]+", word)]


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ([(1.1, 1.05, 1.2)], ["1", "1.1", "1.2"]),
        ([(0.8, 0.75, 0.9), (1.6, 1.5, 1.7)], ["0.8", "1", "1.2", "1.5"]),
        ([(0.6, 0.5, 0.7), (7.0, 6.0, 12.0)], ["0.5", "1", "2", "5", "10"]),
        ([(40.0, 30.0, 95.0)], ["1", "2", "5", "10", "20", "50", "100"]),
        ([(1e4, 1e3, 1e6)], ["1", "10", "100", "1,000", "10,000", "100,000"]),
        ([(1.0, 1.0, 1.0)], ["1"]),
    ],
)
def test_the_axis_has_1_and_what_there_is_room_for(ratios: list[tuple[float, float, float]], words: list[str]) -> None:
    assert drawn(*ratios) == words


@pytest.mark.parametrize("high", [1.05, 1.9, 3.0, 1e3, 1e9, 1e59])
@pytest.mark.parametrize("low", [0.95, 0.4, 1e-3, 1e-59])
def test_ticks_are_few_apart_and_1_is_one(low: float, high: float) -> None:
    ticks = ratio_ticks(low, high, 160)
    assert any(math.isclose(tick, 1) for tick in ticks) and len(ticks) <= 8
    assert all(low <= tick <= high for tick in ticks) and ticks == sorted(ticks)


def test_a_mark_is_the_baselines_throughput_over_its_own(kvm: Path) -> None:
    cells = measured_cells([read_run(kvm)])
    disks, _ = overviews(cells, styles_of(cells), several=False)
    throughput = {
        (cell.variant, cell.cell.workload): cell for cell in cells if cell.cell.type == "blk" and cell.changes
    }
    assert disks.plot.ratios and disks.plot.log
    for series in disks.plot.series:
        mine = [cell for (variant, _), cell in throughput.items() if variant == series.name]
        assert len(mine) == len(series.marks) == 4
        for cell, mark in zip(mine, series.marks, strict=True):
            change = next(change for change in cell.changes.values() if change.measure.name == "throughput")
            assert mark.x == pytest.approx(change.reference / change.value, rel=0.02)
            assert mark.low <= mark.x <= mark.high and f"{series.name} by {cell.cell.program}, disk: " in mark.words


def test_what_no_such_axis_has_is_left_to_the_table(kvm: Path) -> None:
    """Nothing went through, or more than everything was lost by a made-up number."""
    cells = measured_cells([read_run(kvm)])

    def odd(share: float) -> int:
        changed = []
        for cell in cells:
            changes = {name: replace(one, change=share, low=None, high=None) for name, one in cell.changes.items()}
            changed.append(replace(cell, changes=changes))
        return len([*overviews(changed, styles_of(cells), several=False)])

    assert [odd(share) for share in (1.0, 4.5, 1 - 1e-70, 0.5, -3.0)] == [0, 0, 0, 2, 2]
