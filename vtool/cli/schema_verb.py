"""``vtool schema``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from vtool.diagnostics import Diagnostic, VtoolError
from vtool.model.schema import topology_schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("-o", "--output", type=Path, help="file to write (default: standard output)")


def run(arguments: argparse.Namespace) -> int:
    """Print or write the JSON Schema of topology files."""
    text = json.dumps(topology_schema(), indent=2, sort_keys=True) + "\n"
    if arguments.output is None:
        sys.stdout.write(text)
        return 0
    try:
        arguments.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise VtoolError(Diagnostic("VT100", f"cannot write '{arguments.output}': {error.strerror}")) from None
    return 0
