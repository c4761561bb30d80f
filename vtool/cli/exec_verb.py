"""``vtool exec DOMAIN -- COMMAND``."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from pathlib import Path

from vtool.cli.arguments import add_changes
from vtool.cli.domains import add_domain, find_board
from vtool.deploy.asking import ON_BOARD, board_json
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError, nearest

_TO_ENTER_S = 60.0
"""How long there may be no shell yet, and no answer of the board's."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_domain(parser)
    parser.add_argument(
        "--topology", type=Path, metavar="FILE", help="its `access` of the domain says where a password or key is"
    )
    add_changes(parser)
    parser.add_argument("--timeout", type=_seconds, default=60.0, metavar="SECONDS", help="default: 60")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="the command to run")


def _secret(arguments: argparse.Namespace) -> str | None:
    """Return what gets into the domain by its topology, if anything does. VtoolError VT441, VT487."""
    from vtool.cli.common import prepare_arguments
    from vtool.deploy.secrets import secrets_of

    name = arguments.domain
    guests = [guest for board in prepare_arguments(arguments).plan.boards for guest in board.guests]
    if not (found := [guest for guest in guests if guest.name == name]):
        hints = nearest(name, [guest.name for guest in guests])
        message = f"no guest '{name}' in the topology"
        raise VtoolError(Diagnostic("VT441", message, hints=hints), ExitCode.USAGE)
    return secrets_of(found).get(name)


def run(arguments: argparse.Namespace) -> int:
    """Run a command in a domain's shell; its exit code becomes vtool's."""
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not words:
        print("usage: vtool exec DOMAIN -- COMMAND", file=sys.stderr)
        return 2
    command = words[0] if len(words) == 1 else shlex.join(words)
    secret = _secret(arguments) if arguments.topology else None
    with find_board(arguments) as shell:
        words = ["--timeout", str(arguments.timeout)]
        words += ["--patience", f"{shell.patience:.2f}"] if shell.patience > 1 else []
        words += ["--secret"] if secret is not None else []
        line = shell.as_root(ON_BOARD, "exec", *words, "--", arguments.domain, command)
        deadline_s = arguments.timeout + _TO_ENTER_S * shell.patience
        result = shell.run(line, timeout_s=deadline_s, stdin=secret or "")
    said = board_json(result.stdout, result.stderr)
    sys.stdout.write(said["output"])
    return int(said["code"])


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds above 0")
    return seconds
