"""``vtool logs DOMAIN|BACKEND``."""

from __future__ import annotations

import argparse

from vtool.cli.arguments import whole_number
from vtool.cli.domains import add_domain, find_board
from vtool.deploy.asking import ON_BOARD


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_domain(parser)
    parser.add_argument("-n", "--lines", type=whole_number(0), default=50, help="how many lines (default: 50)")
    parser.add_argument("-f", "--follow", action="store_true", help="follow the log until interrupted")


def run(arguments: argparse.Namespace) -> int:
    """Show a domain's console log and unit's journal, or a backend's journal."""
    follow = ["--follow"] if arguments.follow else []
    with find_board(arguments, backends=True) as shell:
        line = [ON_BOARD, "logs", *follow, "--lines", str(arguments.lines), "--", arguments.domain]
        return shell.attach(shell.as_root(*line))
