"""``vtool schema``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vtool.cli.views import write_text
from vtool.model.schema import topology_schema


def _records_schema() -> dict[str, Any]:
    from vtool.results.records import records_schema

    return records_schema()


def _comparison_schema() -> dict[str, Any]:
    from vtool.results.failures import require_libraries

    require_libraries("numpy", "scipy")
    from vtool.results.comparison import comparison_schema

    return comparison_schema()


def _matrix_schema() -> dict[str, Any]:
    from vtool.bench.matrix import matrix_schema

    return matrix_schema()


def _bundle_schema() -> dict[str, Any]:
    from vtool.bundle.manifest import bundle_schema

    return bundle_schema()


_SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "bundle": _bundle_schema,
    "comparison": _comparison_schema,
    "matrix": _matrix_schema,
    "run": _records_schema,
    "topology": topology_schema,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--of", choices=sorted(_SCHEMAS), default="topology", help="of which files (default: topology)")
    parser.add_argument("-o", "--output", type=Path, help="file to write (default: standard output)")


def run(arguments: argparse.Namespace) -> int:
    """Print or write a JSON Schema."""
    write_text(json.dumps(_SCHEMAS[arguments.of](), indent=2, sort_keys=True) + "\n", arguments.output)
    return 0
