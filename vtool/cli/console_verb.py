"""``vtool console DOMAIN``."""

from __future__ import annotations

import argparse
import shlex
import sys

from vtool.board.shell import open_shell
from vtool.cli.domains import add_domain, find_board


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_domain(parser)


def run(arguments: argparse.Namespace) -> int:
    """Join terminal and console until Ctrl-] is typed."""
    board, domain = find_board(arguments)
    print(f"console of '{domain}'; leave with Ctrl-]", file=sys.stderr)
    with open_shell(board) as shell:
        return shell.attach(shlex.join(["vtool-board", "console", "--", domain]))
