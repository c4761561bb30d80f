"""``vtool completion SHELL``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="whose words to write")


def run(arguments: argparse.Namespace) -> int:
    """Print what the shell is to read."""
    import shtab

    from vtool.cli.main import parser_of_every_verb

    parser = parser_of_every_verb()
    _name_files(parser)
    print(shtab.complete(parser, arguments.shell))
    return 0


def _name_files(parser: argparse.ArgumentParser) -> None:
    """Have files completed wherever one is asked for."""
    import shtab

    for action in parser._actions:
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _name_files(below)
