"""``vtool board up|down|power|console|list``."""

from __future__ import annotations

import argparse
import contextlib
import time

from vtool.board.emulated import EmulatedBoard
from vtool.board.inventory import Inventory
from vtool.board.shell import open_shell
from vtool.cli.common import add_format, add_inventory, print_json, print_lines
from vtool.cli.show import ShownProgress
from vtool.deploy.deployment import board_lock, bring_up
from vtool.diagnostics import VtoolError, board_failed
from vtool.report.summary import table

_SHUT_DOWN_DEADLINE_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, text, function in (
        ("up", "make the board if need be, switch it on, wait until it answers", _up),
        ("down", "let the board's system end, then switch it off", _down),
        ("console", "join the board's serial console", _console),
        ("destroy", "remove an emulated board with its disk and keys", _destroy),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("board", nargs="?", default="board0", help="default: board0")
        add_inventory(action)
        action.set_defaults(action=function)
    power = actions.add_parser("power", help="on, off (a power cut) or cycle", description="the supply")
    power.add_argument("state", choices=("on", "off", "cycle"))
    power.add_argument("board", nargs="?", default="board0", help="default: board0")
    add_inventory(power)
    power.set_defaults(action=_power)
    listing = actions.add_parser("list", help="the boards there are", description="the boards there are")
    add_inventory(listing)
    add_format(listing)
    listing.set_defaults(action=_list)


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action."""
    return int(arguments.action(arguments))


def _board(arguments: argparse.Namespace, *, must_exist: bool = True) -> EmulatedBoard:
    board = Inventory(arguments.inventory).board(arguments.board)
    if must_exist and not board.exists():
        hint = f"make it: vtool board up {board.name}"
        raise board_failed("VT602", f"board '{board.name}' has not been made", hints=(hint,))
    return board


def _up(arguments: argparse.Namespace) -> int:
    board = _board(arguments, must_exist=False)
    with board_lock(board.name):
        bring_up(board, ShownProgress())
    target = board.ssh()
    print(f"board '{board.name}' answers at {target.host} port {target.port}")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    board = _board(arguments)
    with board_lock(board.name):
        asked = board.is_on()
        if asked:
            # Not every system listens to its power button; asking over ssh works on any.
            with contextlib.suppress(VtoolError), open_shell(board) as shell:
                shell.run("systemctl --no-block poweroff")
        ended = board.shut_down(_SHUT_DOWN_DEADLINE_S)
        board.off()
    how = "ended by itself" if asked and ended else "was cut off" if asked else "was off"
    print(f"board '{board.name}' {how}")
    return 0


def _power(arguments: argparse.Namespace) -> int:
    board = _board(arguments)
    if arguments.state in ("off", "cycle"):
        board.off()
    if arguments.state in ("on", "cycle"):
        time.sleep(0.2 if arguments.state == "cycle" else 0)  # a supply needs a moment between off and on
        board.on()
    print(f"board '{board.name}' is {'on' if board.is_on() else 'off'}")
    return 0


def _console(arguments: argparse.Namespace) -> int:
    return _board(arguments).interact()


def _destroy(arguments: argparse.Namespace) -> int:
    board = _board(arguments)
    with board_lock(board.name):
        board.destroy()
    print(f"board '{board.name}' is gone")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    inventory = Inventory(arguments.inventory)
    found = []
    for name in inventory.names():
        board = inventory.board(name)
        power = ("on" if board.is_on() else "off") if board.exists() else "not made"
        port = board.ssh().port if power == "on" else None
        found.append(
            {"name": name, "driver": board.driver, "facts": board.facts.name, "power": power, "ssh_port": port}
        )
    if arguments.format == "json":
        print_json(found)
        return 0
    rows = [("board", "driver", "facts", "power", "ssh")]
    for item in found:
        ssh = f"127.0.0.1:{item['ssh_port']}" if item["ssh_port"] else "-"
        rows.append((str(item["name"]), str(item["driver"]), str(item["facts"]), str(item["power"]), ssh))
    print_lines(table(rows, indent=""))
    return 0
