"""Showing what deploying would change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vtool.base.units import format_size
from vtool.cli.output import print_json, print_lines
from vtool.deploy.difference import Change, Difference
from vtool.reading.source import Document
from vtool.report.summary import plan_data, table


def show_differences(document: Document, found: Sequence[Difference], output: str) -> None:
    """Print every board's difference, each change with the place in the topology that asks for it."""
    if output == "json":
        print_json([{**plan_data(item), "empty": item.empty} for item in found])
        return
    for item in found:
        print_lines(difference_lines(document, item))


def difference_lines(document: Document, item: Difference) -> Iterator[str]:
    """Yield what is to be said of one board's difference."""
    runs = f"runs generation {item.running}" if item.running else "runs no generation of vtool"
    if item.empty:
        yield f"board {item.board} {runs}: nothing to do"
        return
    yield f"board {item.board} {runs}, generation {item.generation} is requested"
    rows = [(change.change, f"{change.place}/{change.name}", _reason(document, change)) for change in item.changes]
    rows += [("repaired", name, "changed by hand on the board") for name in item.damaged]
    yield from table(rows)
    yield f"  to send: at most {format_size(item.send_bytes)}"
    if item.reboot:
        yield "  the board reboots: its hypervisor, kernel, device tree or boot script changes"
    elif item.restart:
        yield f"  restarts: {', '.join(item.restart)}"
    else:
        yield "  nothing restarts"
    if item.running == item.generation and not item.confirmed:
        yield "  it runs already and still has to be confirmed"


def _reason(document: Document, change: Change) -> str:
    if not change.asked_by:
        return "no longer asked for"
    place = document.span(change.asked_by, key=True)
    image = f", image {change.image}" if change.image else ""
    return f"{'.'.join(change.asked_by)} ({place.path}:{place.line}){image}"
