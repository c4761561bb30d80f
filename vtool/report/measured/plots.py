"""Plots as SVG to stand in a page: Matplotlib draws, and what it drew is made part of the page. Enter at ``draw``.

Colours become the page's own, for light, dark and paper. Every mark gets a place that can be pointed at and reached by
keyboard, and that says its numbers. Nothing of a plot depends on the time or on what was drawn before.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from vtool.report.measured.panels import Plot, Series
from vtool.report.measured.words import LEFT_OUT, MARKS
from vtool.report.summary import printable

SHAPES = ("o", "s", "D", "^", "v", "P", "X", "p")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
"""Eight colours and shapes, and four dashes: series do not look alike before there are more than eight."""

# What Matplotlib is told, and what the page makes of it.
_SERIES = ("#000101", "#000102", "#000103", "#000104", "#000105", "#000106", "#000107", "#000108")
_INK, _GRID, _PAPER = "#000201", "#000202", "#000203"
_PAGE = {colour: f"var(--s{index})" for index, colour in enumerate(_SERIES)}
_PAGE |= {_INK: "var(--ink)", _GRID: "var(--grid)", _PAPER: "var(--paper)"}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vtool",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 6.0,
}
_DPI = 72
_WIDTH, _HEIGHT, _ROW, _ROW_OF_MANY = 340.0, 226.0, 26.0, 36.0
_LETTER = 6.0
"""How wide a letter of ten points is taken to be."""
_SPACE = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"


def draw(plot: Plot, key: str) -> str:
    """Return a plot as an ``svg`` element; ``key`` sets its ids apart from those of the page's others."""
    with mpl.rc_context():
        mpl.rcParams.update(_STYLE)
        figure, axes = _axes(plot)
        _values_axis(axes, plot)
        for series in plot.series:
            _draw_series(axes, plot, series)
        if MARKS[plot.clock]:
            words = textwrap.fill(f"{MARKS[plot.clock]}, without {LEFT_OUT}", 46)
            x, y = 1 - 4 / _WIDTH, 3 / figure.get_figheight() / _DPI
            figure.text(x, y, words, ha="right", va="bottom", fontsize=7.8)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
        places = axes.transData.transform([(mark.x, mark.y) for series in plot.series for mark in series.marks])
    return _of_page(text.getvalue(), plot, key, places.tolist())


_OUTLINES = (
    '<circle cx="18" cy="7" r="4"/>',
    '<rect x="14.5" y="3.5" width="7" height="7"/>',
    '<path d="M18 2l5 5-5 5-5-5z"/>',
    '<path d="M18 2.5l4.5 8.5h-9z"/>',
    '<path d="M18 11.5l4.5-8.5h-9z"/>',
    '<path d="M16.4 2.5h3.2v2.9h2.9v3.2h-2.9v2.9h-3.2v-2.9h-2.9v-3.2h2.9z"/>',
    '<path d="M18 5.2l2.2-2.2 2 2-2.2 2.2 2.2 2.2-2 2-2.2-2.2-2.2 2.2-2-2 2.2-2.2-2.2-2.2 2-2z"/>',
    '<path d="M18 2.5l4.6 3.4-1.8 5.4h-5.6l-1.8-5.4z"/>',
)
"""SHAPES, as a legend in a page has them."""


def swatch(style: int) -> str:
    """Return what a series looks like, for a legend: its line with its mark."""
    dash = DASHES[style // 2 % len(DASHES)]
    pattern = "" if isinstance(dash, str) else f' stroke-dasharray="{" ".join(str(2 * d) for d in dash[1])}"'
    colour, shape = style % len(_SERIES), _OUTLINES[style % len(_OUTLINES)]
    line = f'<path d="M0 7h36" fill="none" stroke="var(--s{colour})" stroke-width="1.6"{pattern}/>'
    return f'<svg viewBox="0 0 36 14" aria-hidden="true">{line}<g fill="var(--s{colour})">{shape}</g></svg>'


def _axes(plot: Plot) -> tuple[Figure, Axes]:
    left, bottom, top, right = 46.0, 56.0, 10.0, 14.0
    height = _HEIGHT
    if plot.across:
        left = min(166.0, 14 + _LETTER * max(len(word) for _, word in plot.ticks))
        height = top + bottom + (_ROW_OF_MANY if plot.ratios else _ROW) * (len(plot.ticks) + 0.2)
    figure = Figure(figsize=(_WIDTH / _DPI, height / _DPI), dpi=_DPI)
    box = (left / _WIDTH, bottom / height, 1 - (left + right) / _WIDTH, 1 - (bottom + top) / height)
    return figure, figure.add_axes(box)


def _values_axis(axes: Axes, plot: Plot) -> None:
    """Set both axes: the ticks that are given on one, values on the other."""
    places, words = [place for place, _ in plot.ticks], [_short(word) for _, word in plot.ticks]
    named, values = (axes.yaxis, axes.xaxis) if plot.across else (axes.xaxis, axes.yaxis)
    if not plot.across:
        axes.set_xscale("log", base=2)
        shown = _spaced(places)
        places, words = [places[i] for i in shown], [words[i] for i in shown]
    named.set_major_locator(FixedLocator(places))
    named.set_major_formatter(FixedFormatter(words))
    named.set_minor_locator(NullLocator())
    low, high = _limits(plot)
    if plot.log:
        (axes.set_xscale if plot.across else axes.set_yscale)("log", base=10)
    if plot.ratios:
        values.set_major_locator(FixedLocator(ratio_ticks(low, high, axes.get_position().width * _WIDTH)))
    elif plot.log:
        values.set_major_locator(LogLocator(base=10, subs=(1.0,) if high / low > 300 else (1.0, 2.0, 5.0), numticks=8))
    else:
        values.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    values.set_minor_locator(NullLocator())
    values.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    values.grid(True, clip_on=False)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    (axes.set_xlim if plot.across else axes.set_ylim)(low, high)
    for place, _ in plot.limits:
        axes.axvline(place, color=_INK, linewidth=0.9, linestyle=(0, (2, 2)), clip_on=False)
    if plot.ratios:
        axes.axvline(1, color=_INK, linewidth=0.9, clip_on=False)
    if plot.across:
        axes.set_ylim(0.4, len(plot.ticks) + 0.6)
        scale = " (log)" if plot.ratios else ", logarithmic" if plot.log else ""
        axes.set_xlabel(_short(plot.unit + scale, 60))
    else:
        first, last = plot.ticks[0][0], plot.ticks[-1][0]
        around = (last / first) ** 0.06
        axes.set_xlim(first / around, last * around)
        axes.set_xlabel("payload of a request" + (" (values: logarithmic)" if plot.log else ""))


def _tick(value: float) -> str:
    return f"{value:,.6g}".replace("-", "−")


def _limits(plot: Plot) -> tuple[float, float]:
    """Return the ends of the axis of values: from 0, but for logarithms, and for ratios both sides of 1."""
    ends = [end for series in plot.series for mark in series.marks for end in (mark.low, mark.high)]
    low, high = min(ends), max(ends)
    if plot.ratios:
        low, high = min(low, 0.95), max(high, 1.05)
        room = (high / low) ** 0.06
        return low / room, high * room
    if plot.log:
        return low / 1.4, high * 1.4
    room = 0.06 * (max(high, 0.0) - min(low, 0.0)) or 1.0
    return (low - room if low < 0 else 0.0), (high + room if high > 0 else (room if low < 0 else 1.0))


_TENTHS = tuple(number / 10 for number in range(5, 21))
_FEW = (0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0)


def ratio_ticks(low: float, high: float, length: float) -> list[float]:
    """Return where an axis of ratios has its ticks: 1 and as many others as there is room for, as 0.5, 2, 5, 10."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    choices = [_TENTHS, _FEW, [step * 10.0**decade for decade in decades for step in (1, 2, 5)]]
    choices += [[10.0**decade for decade in decades if decade % every == 0] for every in (1, 2, 5, 10, 20, 50)]

    def have_room(ticks: Sequence[float]) -> bool:
        scale = length / math.log(high / low)
        return all(
            math.log(after / before) * scale > _LETTER * (len(_tick(before)) + len(_tick(after)) + 1) / 2
            for before, after in itertools.pairwise(ticks)
        )

    for ticks in choices[0 if low >= 0.5 and high <= 2 else 2 :]:
        shown = [tick for tick in ticks if low <= tick <= high]
        if have_room(shown):
            break
    return shown


def _spaced(places: Sequence[float]) -> list[int]:
    """Return which ticks have room for their words beside each other on a logarithmic axis."""
    shown: list[int] = []
    span = math.log2(places[-1] / places[0]) or 1.0
    for index, place in enumerate(places):
        if not shown or math.log2(place / places[shown[-1]]) / span > 0.14:
            shown.append(index)
    return shown


def _draw_series(axes: Axes, plot: Plot, series: Series) -> None:
    style, marks = series.style, series.marks
    colour = _SERIES[style % len(_SERIES)]
    bars = [[(m.low, m.y), (m.high, m.y)] if plot.across else [(m.x, m.low), (m.x, m.high)] for m in marks]
    # One path for all of them, which is half the page of a collection's.
    path = Path([end for bar in bars for end in bar], [Path.MOVETO, Path.LINETO] * len(bars))
    axes.add_patch(PathPatch(path, edgecolor=colour, facecolor="none", linewidth=2.2, clip_on=False))
    if not plot.across:
        dash = DASHES[style // 2 % len(DASHES)]
        line = [(m.x, m.y) for m in marks] if series.line is None else series.line
        x, y = [x for x, _ in line], [y for _, y in line]
        axes.plot(x, y, color=colour, linestyle=dash, linewidth=1.3, clip_on=False)
    for hollow in (False, True):
        some = [mark for mark in marks if mark.hollow is hollow]
        if some:
            x, y = [m.x for m in some], [m.y for m in some]
            size, face = 5.0 if plot.ratios else 6.0, _PAPER if hollow else colour
            shape = SHAPES[style % len(SHAPES)]
            axes.plot(
                x, y, linestyle="none", marker=shape, markersize=size, color=colour, markerfacecolor=face, clip_on=False
            )


def _short(text: str, most: int = 26) -> str:
    text = printable(text)
    return text if len(text) <= most else text[: most // 2] + "…" + text[len(text) - most // 2 + 1 :]


# -- from Matplotlib's file to a part of the page


def _of_page(text: str, plot: Plot, key: str, places: Sequence[Sequence[float]]) -> str:
    for colour, name in _PAGE.items():
        text = text.replace(colour, name)
    drawn = ET.fromstring(text)  # noqa: S314 - of our own making
    height = float(drawn.attrib["viewBox"].split()[3])
    _slim(drawn, key)
    root = ET.Element("svg", {"viewBox": drawn.attrib["viewBox"], "class": "plot", "role": "group"})
    root.set("aria-label", printable(plot.words))
    ET.SubElement(root, "g", {"aria-hidden": "true"}).extend(drawn)
    left, stop = iter(places), "0"
    for series in plot.series:
        row = ET.SubElement(root, "g", {"class": "row"})
        for mark in series.marks:
            x, y = next(left)
            place = ET.SubElement(row, "g", {"role": "img", "tabindex": stop})
            ET.SubElement(place, "title").text = printable(mark.words)
            ET.SubElement(place, "circle", {"cx": f"{x:.1f}", "cy": f"{height - y:.1f}", "r": "9"})
            stop = "-1"
    return ET.tostring(root, encoding="unicode")


def _hoist_style(group: ET.Element) -> None:
    """Say once what marks of a group look like, which inherit it."""
    styles = {mark.attrib.get("style") for mark in group if mark.tag == "use"}
    if len(styles) == 1 and all(mark.tag == "use" for mark in group):
        (style,) = styles
        if style is not None:
            group.set("style", style)
            for mark in group:
                del mark.attrib["style"]


_NOTHING = ("metadata", "style")
_LONG_NUMBER = re.compile(r"\d+\.\d{2,}")


def _slim(root: ET.Element, key: str) -> None:
    """Leave out what a page does not need, and set ids that are used apart."""
    used = {element.attrib[_LINK][1:] for element in root.iter() if _LINK in element.attrib}
    _tidy(root, used, key)


def _tidy(element: ET.Element, used: set[str], key: str) -> bool:
    """Do that to an element and all in it; return whether anything is left to be seen of it."""
    element.tag = element.tag.removeprefix(_SPACE)
    element.text, element.tail = (element.text or "").strip() or None, None
    attributes = element.attrib
    identity = attributes.pop("id", "")
    if identity in used:
        attributes["id"] = f"{key}{identity}"
    if _LINK in attributes:
        attributes["href"] = f"#{key}{attributes.pop(_LINK)[1:]}"
    if element.tag == "text":
        if attributes.get("transform", "").startswith("rotate(-0 "):
            del attributes["transform"]
        attributes["style"] = re.sub(r"font: ([0-9.]+px)[^;]*", r"font-size:\1", attributes["style"])
    for name in ("d", "x", "y"):
        if name in attributes and element.tag != "svg":
            attributes[name] = _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.1f}", attributes[name]).strip()
    if "style" in attributes:
        attributes["style"] = attributes["style"].replace("; ", ";").replace(": ", ":")
    for child in list(element):
        if child.tag.removeprefix(_SPACE) in _NOTHING or not _tidy(child, used, key):
            element.remove(child)
    if element.tag == "path" and attributes.get("style") == "fill:none":
        return False
    _hoist_style(element)
    return len(element) > 0 or element.tag not in ("g", "defs")
