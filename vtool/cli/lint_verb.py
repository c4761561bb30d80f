"""``vtool lint FILE``."""

from __future__ import annotations

import argparse
import sys

from vtool.cli.output import add_format, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    from pathlib import Path

    from vtool.platform.xen_releases import NEWEST, VERSIONS

    parser.add_argument("file", type=Path, help="a device tree, compiled (.dtb) or source (.dts)")
    parser.add_argument(
        "--xen-version", choices=[str(v) for v in VERSIONS], metavar="VERSION",
        help=f"the Xen release that will boot it (default: {NEWEST}; a tree without modules is judged for Linux alone)",
    )  # fmt: skip
    add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Judge a tree; exit code 1 when anything is found."""
    from vtool.board.dts import read_tree
    from vtool.diagnostics import VtoolError, format_diagnostic, said_of
    from vtool.lint import Kind, lint, printable
    from vtool.platform.xen_releases import NEWEST, VERSIONS

    version = next((v for v in VERSIONS if str(v) == arguments.xen_version), None)
    try:
        kind, findings = lint(read_tree(arguments.file), version)
    except VtoolError as error:
        if arguments.format == "json":
            print_json({"diagnostics": [d.to_json() for d in error.diagnostics]})
            return error.exit_code.value
        raise
    judged_for = str(version or NEWEST) if version or kind is not Kind.LINUX else None
    if arguments.format == "json":
        found = [{**f.diagnostic().to_json(), "node": printable(f.node.path)} for f in findings]
        print_json({"kind": kind.name.lower(), "xen_version": judged_for, "diagnostics": found})
        return 1 if findings else 0
    for finding in findings:
        for line in format_diagnostic(finding.diagnostic()).splitlines():
            print(printable(line), file=sys.stderr)
    said = said_of(finding.diagnostic() for finding in findings)
    print(f"{arguments.file}: {kind.value}{f', judged for Xen {judged_for}' if judged_for else ''}: {said}")
    return 1 if findings else 0
