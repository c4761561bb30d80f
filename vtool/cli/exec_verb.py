"""``vtool exec DOMAIN -- COMMAND``."""

from __future__ import annotations

import argparse
import shlex
import sys

from vtool.cli.domains import add_domain, find_board
from vtool.deploy.asking import ON_BOARD, board_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_domain(parser)
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="default: 60")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the command to run")


def run(arguments: argparse.Namespace) -> int:
    """Run a command on a domain's console shell; its exit code becomes vtool's."""
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not words:
        print("usage: vtool exec DOMAIN -- COMMAND", file=sys.stderr)
        return 2
    command = words[0] if len(words) == 1 else shlex.join(words)
    with find_board(arguments) as shell:
        line = [ON_BOARD, "exec", "--timeout", str(arguments.timeout), "--", arguments.domain, command]
        result = shell.run(shell.as_root(*line), timeout_s=arguments.timeout + 20)
    said = board_json(result.stdout, result.stderr)
    sys.stdout.write(said["output"])
    return int(said["code"])
