"""Finding the board a domain is on, from the inventory and what is deployed."""

from __future__ import annotations

import argparse

from vtool.board.emulated import EmulatedBoard
from vtool.board.inventory import Inventory
from vtool.cli.common import add_inventory
from vtool.deploy.asking import board_state
from vtool.diagnostics import board_failed, nearest


def add_domain(parser: argparse.ArgumentParser) -> None:
    """Add the domain argument, ``--board`` and ``--inventory``."""
    parser.add_argument("domain", metavar="DOMAIN", help="a deployed domain")
    parser.add_argument("--board", help="its board, where several have a domain of that name")
    add_inventory(parser)


def find_board(arguments: argparse.Namespace, *, backends: bool = False) -> tuple[EmulatedBoard, str]:
    """Return the running board that has the domain (or backend). VT711 names what there is."""
    inventory = Inventory(arguments.inventory)
    names = [arguments.board] if arguments.board else inventory.names()
    boards = [board for board in map(inventory.board, names) if board.exists() and board.is_on()]
    known: dict[str, EmulatedBoard] = {}
    for board in boards:
        state = board_state(board)
        for name in (*state["domains"], *(state["backends"] if backends else ())):
            known.setdefault(name, board)
    if arguments.domain in known:
        return known[arguments.domain], arguments.domain
    what = "domain or backend" if backends else "domain"
    hints = nearest(arguments.domain, list(known)) or (f"there are: {', '.join(known) or 'none'}",)
    if not boards:
        hints = ("no board is on; see: vtool board list",)
    raise board_failed("VT711", f"no {what} '{arguments.domain}' is deployed", hints=hints)
