"""Finding the board a domain is on, from the inventory and what is deployed."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from vtool.board.failures import WrongHostKey
from vtool.board.inventory import Inventory
from vtool.board.shell import Shell, open_shell
from vtool.cli.arguments import add_inventory
from vtool.deploy.asking import board_state
from vtool.diagnostics import VtoolError, board_failed, nearest


def add_domain(parser: argparse.ArgumentParser) -> None:
    """Add the domain argument, ``--board`` and ``--inventory``."""
    parser.add_argument("domain", metavar="DOMAIN", help="a deployed domain")
    parser.add_argument("--board", help="the board, if several have a domain of that name")
    add_inventory(parser)


@contextlib.contextmanager
def find_board(arguments: argparse.Namespace, *, backends: bool = False) -> Iterator[Shell]:
    """Hold the running board that has the domain (or backend), and connect to it. VT711 names what there is."""
    inventory = Inventory(arguments.inventory)
    known: list[str] = []
    silent: list[str] = []
    any_is_on = False
    for name in [arguments.board] if arguments.board else inventory.names():
        board = inventory.board(name)
        with contextlib.ExitStack() as stack:
            try:
                if not board.exists():
                    continue
                stack.enter_context(board.hold())
                if not board.power.is_on():
                    continue
                any_is_on = True
                shell = stack.enter_context(open_shell(board))
                state = board_state(shell)
            except VtoolError as error:
                if arguments.board or isinstance(error, WrongHostKey):
                    raise
                silent.append(f"not asked: {error.diagnostics[0].message}")  # the domain may be on another
                continue
            known += (*state["domains"], *(state["backends"] if backends else ()))
            if arguments.domain in known:
                yield shell
                return
    what = "domain or backend" if backends else "domain"
    hints = nearest(arguments.domain, known) or (f"there are: {', '.join(known) or 'none'}",)
    if not any_is_on:
        hints = ("no board is on; see: vtool board list",)
    raise board_failed("VT711", f"no {what} '{arguments.domain}' is deployed", hints=(*hints, *silent))
