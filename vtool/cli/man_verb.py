"""``vtool man``."""

from __future__ import annotations

import argparse


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Declare nothing."""


def run(_: argparse.Namespace) -> int:
    """Print the manual page of this version, made of its parsers."""
    from argparse_manpage.manpage import Manpage

    from vtool.cli.main import parser_of_every_verb, version

    parser = parser_of_every_verb()
    print(Manpage(parser, {"project_name": "vtool", "version": version(), "manual_title": "User Commands",
                           "description": parser.description, "date": ""}), end="")  # fmt: skip
    return 0
