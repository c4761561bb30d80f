"""``vtool logs DOMAIN|BACKEND``."""

from __future__ import annotations

import argparse
import shlex

from vtool.board.shell import open_shell
from vtool.cli.domains import add_domain, find_board


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_domain(parser)
    parser.add_argument("-n", "--lines", type=int, default=50, help="how many (default 50)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until interrupted")


def run(arguments: argparse.Namespace) -> int:
    """Show a domain's console log and unit's journal, or a backend's journal."""
    board, name = find_board(arguments, backends=True)
    line = ["vtool-board", "logs", "--lines", str(arguments.lines), "--", name]
    if arguments.follow:
        line.insert(2, "--follow")
    with open_shell(board) as shell:
        return shell.attach(shlex.join(line))
