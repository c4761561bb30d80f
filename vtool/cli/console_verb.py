"""``vtool console DOMAIN``."""

from __future__ import annotations

import argparse
import sys

from vtool.cli.domains import add_domain, find_board
from vtool.deploy.asking import ON_BOARD


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_domain(parser)


def run(arguments: argparse.Namespace) -> int:
    """Join terminal and console until Ctrl-] is typed."""
    with find_board(arguments) as shell:
        print(f"console of '{arguments.domain}'; leave with Ctrl-]", file=sys.stderr)
        return shell.attach(shell.as_root(ON_BOARD, "console", "--", arguments.domain))
