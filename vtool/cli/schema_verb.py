"""``vtool schema``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vtool.cli.views import write_text
from vtool.model.schema import topology_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("-o", "--output", type=Path, help="file to write (default: standard output)")


def run(arguments: argparse.Namespace) -> int:
    """Print or write the JSON Schema of topology files."""
    write_text(json.dumps(topology_schema(), indent=2, sort_keys=True) + "\n", arguments.output)
    return 0
