"""Memory maps as text: a table in the order of the addresses, and a bar of the RAM that is in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from string import ascii_lowercase

from vtool.base.units import format_size
from vtool.plan.types import WindowKind
from vtool.report.memory_map import Entry, MemoryMap
from vtool.report.summary import printable, table

HEADINGS = ("range", "size", "what", "kind", "owner > borrowers", "who chose it")
_BAR_WIDTH = 64


def map_lines(maps: Iterable[MemoryMap]) -> Iterator[str]:
    """Yield every map as a heading, bars, a table and notes."""
    for number, found in enumerate(maps):
        if number:
            yield ""
        yield f"{found.title} ({found.addresses})"
        letters = _letters(found)
        yield from _bars(found, letters)
        rows: list[tuple[str, ...]] = [("", *HEADINGS)]
        rows += [(letters.get(index, ""), *cells(entry)) for index, entry in enumerate(found.entries)]
        yield from table(rows)
        for note in found.notes:
            yield f"  note: {note}"


def cells(entry: Entry) -> tuple[str, ...]:
    """Return what is said of an entry, in the order of ``HEADINGS``."""
    indent = "  " * entry.depth
    return (
        f"{indent}{entry.range}",
        format_size(entry.range.size_bytes),
        entry.name,
        entry.kind.value,
        whose(entry),
        printable("; ".join(part for part in (origin_of(entry), entry.note) if part)),
    )


def whose(entry: Entry) -> str:
    """Return the owner and who borrows: ``fe0 > host``."""
    return " > ".join(part for part in (entry.owner, ", ".join(entry.borrowers)) if part)


def origin_of(entry: Entry) -> str:
    """Return who chose an entry's place: ``allocated: right after ...``."""
    return f"{entry.origin.kind.value}: {entry.origin.reason}" if entry.origin else ""


def pieces_of(entries: Sequence[Entry], index: int) -> list[int]:
    """Return the indices of what lies directly in an entry."""
    outer = entries[index]
    found = []
    for at in range(index + 1, len(entries)):
        if entries[at].depth <= outer.depth:
            break
        if entries[at].depth == outer.depth + 1:
            found.append(at)
    return found


def _letters(found: MemoryMap) -> dict[int, str]:
    """Give each piece of RAM that is in use a letter of the bar; after z they start again."""
    used = [
        at
        for index, entry in enumerate(found.entries)
        if entry.kind is WindowKind.RAM
        for at in pieces_of(found.entries, index)
        if found.entries[at].kind is not WindowKind.FREE
    ]
    return {at: ascii_lowercase[number % len(ascii_lowercase)] for number, at in enumerate(used)}


def _bars(found: MemoryMap, letters: dict[int, str]) -> Iterator[str]:
    """Yield a bar for each piece of RAM: widths as sizes, at least one column each; a guest's ends with its memory."""
    for index, entry in enumerate(found.entries):
        pieces = pieces_of(found.entries, index) if entry.kind is WindowKind.RAM else []
        if found.domain is not None and pieces and found.entries[pieces[-1]].kind is WindowKind.FREE:
            pieces = pieces[:-1]
        if not pieces:
            continue
        total = sum(found.entries[at].range.size_bytes for at in pieces)
        widths = (max(1, round(found.entries[at].range.size_bytes * _BAR_WIDTH / total)) for at in pieces)
        yield "  |" + "".join(letters.get(at, ".") * width for at, width in zip(pieces, widths, strict=True)) + "|"
