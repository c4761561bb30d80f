"""``vtool explain [CODE]``."""

from __future__ import annotations

import argparse
import sys

from vtool.diagnostics.codes import Code, code_of, every_code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("code", metavar="CODE", nargs="?", help="a code such as VT401; all of them without one")


def run(arguments: argparse.Namespace) -> int:
    """Print a code's row of the table, or the whole table as a page in Markdown."""
    if arguments.code is None:
        print("# Codes of diagnostics\n")
        print("\n\n".join(f"## {_as_text(code)}" for code in every_code().values()))
        return 0
    code = code_of(arguments.code.upper())
    if code is None:
        print(f"error: there is no code '{arguments.code}'", file=sys.stderr)
        return 2
    print(_as_text(code))
    return 0


def _as_text(code: Code) -> str:
    return f"{code.code}: {code.what}\n\nwhy: {code.why}\nexample: {code.example}\nfix: {code.fix}"
