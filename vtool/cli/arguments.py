"""The arguments that verbs share. Apart from what they do with them, so that a verb can begin before that is read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return what reads an option's whole number from ``least`` to ``most``, both included."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is no whole number") from None
        if value < least or (most is not None and value > most):
            bounds = f"{least} or more" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{value} is not {bounds}")
        return value

    return read


def add_topology(parser: argparse.ArgumentParser, what: str = "the topology file") -> None:
    """Add the topology with its options, and those of the inventory; ``what`` says what may be named."""
    add_topology_file(parser, what)
    add_inventory(parser)
    add_use(parser)


def add_topology_file(parser: argparse.ArgumentParser, what: str = "the topology file") -> None:
    """Add the topology argument, ``--overlay`` and ``--set``; ``prepare_arguments`` reads them."""
    parser.add_argument("topology", type=Path, help=what)
    add_changes(parser)


def add_changes(parser: argparse.ArgumentParser) -> None:
    """Add ``--overlay`` and ``--set``."""
    parser.add_argument(
        "--overlay",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="merge this file over the topology (repeatable)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH.TO.KEY=VALUE",
        help="set a value, after all overlays (repeatable)",
    )


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Add ``--limit``."""
    parser.add_argument(
        "--limit", action="append", default=[], metavar="BOARD", help="only this board of the topology (repeatable)"
    )


def add_base_tree(parser: argparse.ArgumentParser) -> None:
    """Add ``--base-tree``; ``with_base_trees`` reads it."""
    parser.add_argument(
        "--base-tree",
        action="append",
        default=[],
        metavar="[BOARD=]FILE",
        help="a board's own device tree, .dtb or .dts: what it says of nodes that are passed through (repeatable)",
    )


def add_inventory(parser: argparse.ArgumentParser) -> None:
    """Add ``--inventory``."""
    parser.add_argument("--inventory", type=Path, help="how boards are reached (default: the emulated board)")


def add_use(parser: argparse.ArgumentParser) -> None:
    """Add ``--use``."""
    parser.add_argument(
        "--use",
        action="append",
        default=[],
        metavar="BOARD=NAME",
        help="what of the inventory to use for a board of the topology (repeatable)",
    )
