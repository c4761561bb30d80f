"""Memory maps as one SVG picture, and as one HTML page with pictures and tables.

A range is a box; its height grows with the logarithm of its size, so that 4 KiB and 3 GiB both show, and
every box has room for its own two lines of text. What lies in a range is drawn in its box. Pure; XML is
made by a library and by an autoescaping template, so that no name can become markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache
from xml.etree import ElementTree as ET  # only writes; nothing is parsed here

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vtool.base.rooms import room
from vtool.base.units import KIB, format_size
from vtool.plan.types import WindowKind
from vtool.report.memory_map import Entry, MemoryMap
from vtool.report.memory_map_text import HEADINGS, cells, origin_of, pieces_of, whose
from vtool.report.summary import printable

_WIDTH = 640
_MARGIN = 20
_INDENT = 14
_LINES = 36
_PER_DOUBLING = 2.5
_BREAK = 16
_TITLE = 64
_COLUMNS = 2
_NOTE_LINE = 16
# Pixels a character of the smaller and of the larger letters is taken to need; wide enough for common fonts.
_SMALL_CHARACTER, _CHARACTER, _MONO_CHARACTER = 6.1, 7.4, 7.3

# kind -> (fill, fill on a dark page)
_COLOURS = {
    WindowKind.RAM: ("#f4f5f7", "#23272e"),
    WindowKind.CARVE_OUT: ("#e6d9c6", "#53452f"),
    WindowKind.BOOT_LOAD: ("#f3ead9", "#6b5a3d"),
    WindowKind.REGION: ("#b9e3c0", "#22583a"),
    WindowKind.DOMAIN_MEMORY: ("#bcd7f5", "#234a77"),
    WindowKind.MACHINE: ("#e3dcf2", "#44395f"),
    WindowKind.DEVICE: ("#cbb8ec", "#6a4fa0"),
    WindowKind.FREE: ("#ffffff", "#15181c"),
}
_STYLE = """
.vtool-map { font-family: "DejaVu Sans", Verdana, Arial, sans-serif; font-size: 12px; }
.vtool-map .page { fill: #ffffff; }
.vtool-map text { fill: #1b1f24; }
.vtool-map .title { font-size: 14px; font-weight: bold; }
.vtool-map .name { font-weight: bold; }
.vtool-map .number { font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.vtool-map .small { font-size: 10px; fill: #57606a; }
.vtool-map rect.box { stroke: #8c959f; stroke-width: 1; }
.vtool-map .free rect.box { stroke-dasharray: 4 3; }
.vtool-map .break { stroke: #8c959f; stroke-width: 2; stroke-dasharray: 2 3; }
"""
_DARK = """
.vtool-map .page { fill: #0d1117; }
.vtool-map text { fill: #e6edf3; }
.vtool-map .small { fill: #a9b4c0; }
.vtool-map rect.box, .vtool-map .break { stroke: #6e7681; }
"""


def map_svg(maps: Sequence[MemoryMap], *, styled: bool = True) -> str:
    """Return one SVG with every map, two beside each other; without a style it is for a page with ``map_style``."""
    root = _svg(styled)
    y, width, row_height = 0.0, 0.0, 0.0
    for index, found in enumerate(maps):
        column = index % _COLUMNS
        if column == 0:
            y, row_height = y + row_height, 0.0
        x = _MARGIN + column * (_WIDTH + _MARGIN)
        row_height = max(row_height, _draw_map(root, found, x, y + _MARGIN) + _MARGIN)
        width = max(width, x + _WIDTH + _MARGIN)
    return _finished(root, width, y + row_height + _MARGIN)


def map_html(topology: str, maps: Sequence[MemoryMap]) -> str:
    """Return one self-contained page: a picture and a table for every map."""
    shown = [
        {
            "heading": f"domain {found.domain} on {found.board}" if found.domain else f"board {found.board}",
            "picture": map_svg([found]),
            "rows": [[cell.strip() for cell in cells(entry)] for entry in found.entries],
            "kinds": [entry.kind.value for entry in found.entries],
            "depths": [entry.depth for entry in found.entries],
        }
        for found in maps
    ]
    template = _environment().get_template("memory-map.html.j2")
    return template.render(topology=printable(topology), headings=HEADINGS, maps=shown)


@cache
def _environment() -> Environment:
    folder = FileSystemLoader(room("templates") / "report")
    return Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _svg(styled: bool) -> ET.Element:
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "vtool-map"})
    if styled:
        ET.SubElement(root, "style").text = map_style()
    ET.SubElement(root, "rect", {"class": "page", "width": "100%", "height": "100%"})
    return root


def map_style() -> str:
    """Return the style that maps have, light and dark."""
    return _STYLE + _fills(0) + _dark()


def _fills(which: int) -> str:
    return "".join(f".vtool-map .{kind.value} > rect.box {{ fill: {c[which]}; }}\n" for kind, c in _COLOURS.items())


def _dark() -> str:
    return "@media (prefers-color-scheme: dark) {" + _DARK + _fills(1) + "}\n"


def _finished(root: ET.Element, width: float, height: float) -> str:
    size = {"width": _number(width), "height": _number(height)}
    root.attrib.update({**size, "viewBox": f"0 0 {size['width']} {size['height']}"})
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _draw_map(root: ET.Element, found: MemoryMap, x: float, y: float) -> float:
    """Draw a map with its top left corner at x, y; return its height."""
    group = ET.SubElement(root, "g", {"class": "map", "data-board": found.board, "data-domain": found.domain or ""})
    _text(group, x, y + 14, found.title, "title", _WIDTH, 8.8)
    _text(
        group,
        x,
        y + 32,
        f"{found.addresses} addresses; a box's height grows with the logarithm of its size; owner > borrowers",
        "small",
    )
    top = y + _TITLE - 20
    outermost = [index for index, entry in enumerate(found.entries) if entry.depth == 0]
    bottom = _draw_row(group, found.entries, outermost, x, top, _WIDTH)
    for note in found.notes:
        bottom += _NOTE_LINE
        _text(group, x, bottom, note, "small", _WIDTH, _SMALL_CHARACTER)
    return bottom - y


def _draw_row(
    parent: ET.Element, entries: Sequence[Entry], row: Iterable[int], x: float, y: float, width: float
) -> float:
    """Draw boxes under each other, a dotted break where addresses are left out; return where they end."""
    last: Entry | None = None
    for index in row:
        entry = entries[index]
        if last is not None:
            if last.range.end != entry.range.base:
                middle = _number(x + width / 2)
                ends = {"x1": middle, "x2": middle, "y1": _number(y + 2), "y2": _number(y + _BREAK - 2)}
                ET.SubElement(parent, "line", {"class": "break", **ends})
                y += _BREAK
            else:
                y += 2
        y = _draw_box(parent, entries, index, x, y, width)
        last = entry
    return y


def _draw_box(parent: ET.Element, entries: Sequence[Entry], index: int, x: float, y: float, width: float) -> float:
    entry, inside = entries[index], pieces_of(entries, index)
    data = {"data-name": entry.name, "data-base": f"{entry.range.base:#x}", "data-end": f"{entry.range.end:#x}"}
    group = ET.SubElement(parent, "g", {"class": f"entry {entry.kind.value}", **data})
    ET.SubElement(group, "title").text = printable(", ".join(cell.strip() for cell in cells(entry) if cell))
    box = ET.SubElement(group, "rect", {"class": "box", "rx": "3", "x": _number(x), "y": _number(y)})
    numbers = f"{entry.range}  {format_size(entry.range.size_bytes)}"
    room_left = width - 2 * 10 - len(numbers) * _MONO_CHARACTER
    owner = whose(entry)
    name = entry.name if not owner or owner in entry.name else f"{entry.name} · {owner}"
    _text(group, x + 8, y + 15, name, "name", room_left, _CHARACTER + 0.8)
    _text(group, x + width - 8, y + 15, numbers, "number", anchor="end")
    said = "; ".join(part for part in (entry.note, origin_of(entry)) if part)
    _text(group, x + 8, y + 29, said, "small", width - 16, _SMALL_CHARACTER)
    bottom = y + _LINES + _PER_DOUBLING * max(0.0, math.log2(entry.range.size_bytes / (4 * KIB)))
    if inside:
        bottom = _draw_row(group, entries, inside, x + _INDENT, y + _LINES, width - _INDENT - 6) + 6
    box.attrib.update({"width": _number(width), "height": _number(bottom - y)})
    return bottom


def _text(
    parent: ET.Element,
    x: float,
    y: float,
    text: str,
    style: str,
    room_left: float = math.inf,
    character: float = 1.0,
    anchor: str = "start",
) -> None:
    """Write text; what would not fit is cut in the middle (the whole of it is in the box's title)."""
    text = printable(text)
    most = len(text) if math.isinf(room_left) else max(4, int(room_left / character))
    if len(text) > most:
        text = text[: most // 2] + "…" + text[len(text) - (most - most // 2 - 1) :]
    place = {"x": _number(x), "y": _number(y), "class": style}
    if anchor != "start":
        place["text-anchor"] = anchor
    ET.SubElement(parent, "text", place).text = text


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
