"""``vtool explain CODE``."""

from __future__ import annotations

import argparse
import sys

from vtool.diagnostics.codes import every_code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("code", metavar="CODE", help="a code such as VT401")


def run(arguments: argparse.Namespace) -> int:
    """Print a code's row of the table."""
    code = every_code().get(arguments.code.upper())
    if code is None:
        print(f"error: there is no code '{arguments.code}'", file=sys.stderr)
        return 2
    print(f"{code.code}: {code.what}\n\nwhy: {code.why}\nexample: {code.example}\nfix: {code.fix}")
    return 0
