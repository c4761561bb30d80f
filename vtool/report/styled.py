"""Headings, notes and tables, as plain text or as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from vtool.report.summary import table


class Style(Enum):
    """How tables and headings are written."""

    TEXT = "text"
    MARKDOWN = "markdown"


def heading(words: str, style: Style) -> str:
    """Return a heading."""
    return f"## {words}" if style is Style.MARKDOWN else words


def note(words: str, style: Style) -> str:
    """Return a paragraph of one line."""
    return f"\n{words}" if style is Style.MARKDOWN else words


def styled_table(rows: Sequence[Sequence[str]], style: Style) -> Iterable[str]:
    """Return a table's lines; the first row is its head."""
    if style is Style.TEXT:
        return table(rows)
    first, *others = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return ["", *(f"| {' | '.join(row)} |" for row in (first, ["---"] * len(first), *others))]
