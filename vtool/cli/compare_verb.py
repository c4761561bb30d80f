"""``vtool compare``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from vtool.cli.common import print_diagnostics
from vtool.cli.output import print_lines
from vtool.diagnostics import ExitCode

REGRESSED = 2
"""The exit code of a significant regression beyond the threshold."""
_THRESHOLD = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders; the first is the reference")
    parser.add_argument(
        "--threshold",
        type=_share,
        metavar="PERCENT",
        help="how much worse is a regression, for which it ends with 2 (default: 5 between runs; of one run: nothing)",
    )
    parser.add_argument(
        "--across",
        type=_axes,
        default=(),
        metavar="AXIS,AXIS",
        help="in what the runs may differ, such as kernel or board (default: in any one thing)",
    )
    parser.add_argument(
        "--relative", action="store_true", help="compare what cells lose against their baselines, not their values"
    )
    parser.add_argument("--explain", action="store_true", help="also model what a request costs by each path")
    parser.add_argument("--all", action="store_true", help="every measure, and each run against its own baselines")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text", help="default: text")


def run(arguments: argparse.Namespace) -> int:
    """Compare runs; exit code 2 when there is a significant regression beyond the threshold."""
    from vtool.results.failures import require_libraries

    require_libraries("numpy", "scipy")
    from vtool.results.comparison import compare, comparison_json
    from vtool.results.run_folder import read_run

    runs = [read_run(folder) for folder in arguments.runs]
    for one in runs:
        print_diagnostics(one.warnings)
    threshold = arguments.threshold if arguments.threshold is not None or len(runs) == 1 else _THRESHOLD
    comparison = compare(runs, threshold, arguments.across, relative=arguments.relative, explained=arguments.explain)
    if arguments.format == "json":
        print(comparison_json(comparison))
    else:
        from vtool.report.comparison_text import comparison_lines
        from vtool.report.styled import Style

        print_lines(comparison_lines(comparison, Style(arguments.format), all_rows=arguments.all))
    return REGRESSED if comparison.regressed else ExitCode.OK.value


def _share(text: str) -> float:
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = math.nan
    if not 0 <= percent < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is no percentage such as 5")
    return percent / 100


def _axes(text: str) -> tuple[str, ...]:
    from vtool.results.fingerprint import AXES

    named = tuple(filter(None, (word.strip() for word in text.split(","))))
    if unknown := [name for name in named if name not in AXES]:
        raise argparse.ArgumentTypeError(f"no axis '{unknown[0]}'; the axes are {', '.join(AXES)}")
    return named
