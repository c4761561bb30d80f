"""How verbs print data. Apart from what verbs share, so that one without a topology starts at once."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add ``--format``."""
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def print_json(value: Any) -> None:
    """Print data as JSON on stdout."""
    print(json.dumps(value, indent=2, sort_keys=True, default=str))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout."""
    for line in lines:
        print(line)
