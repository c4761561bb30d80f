"""Graphviz, which lays out graphs."""

from __future__ import annotations

import subprocess

from vtool.diagnostics import board_failed, not_installed
from vtool.diagnostics.codes import declare

_DEADLINE_S = 60

declare(
    "VT440",
    what="graphviz does not draw the graph",
    why="vtool graph leaves the layout to graphviz; its own words are shown.",
    example="a dot program that was killed",
    fix="Use --format dot or --format mermaid, which need no other program.",
)


def drawn(dot: str) -> str:
    """Return a graph as SVG. VtoolError VT440, or when graphviz is not installed."""
    try:
        done = subprocess.run(
            ["dot", "-Tsvg"], input=dot, capture_output=True, check=False, timeout=_DEADLINE_S, encoding="utf-8"
        )
    except FileNotFoundError:
        raise not_installed("dot") from None
    except subprocess.TimeoutExpired:
        raise board_failed("VT440", f"'dot' did not end within {_DEADLINE_S} s", hints=("use --format dot",)) from None
    if done.returncode != 0:
        detail = done.stderr.splitlines()[-10:]
        raise board_failed("VT440", "'dot' refuses the graph", hints=("use --format dot",), detail=detail)
    return done.stdout
