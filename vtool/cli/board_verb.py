"""``vtool board up|down|power|console|write|list|reserve|release|destroy|import|check``."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from vtool.base.units import AddressRange, parse_size
from vtool.board.boot_import import BootImport, boot_of
from vtool.board.dts import read_board_tree
from vtool.board.inventory import Inventory
from vtool.board.local_lock import local_lock
from vtool.board.over_ssh import installed_over_ssh, read_over_ssh
from vtool.board.protocols import Board
from vtool.board.shell import open_shell
from vtool.cli.arguments import add_inventory
from vtool.cli.common import print_diagnostics
from vtool.cli.output import add_format, print_json, print_lines
from vtool.cli.show import ShownProgress
from vtool.cli.views import write_text
from vtool.deploy.board_check import Verdict, checked
from vtool.deploy.booting import bring_up
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError, board_failed
from vtool.files.regular import fault_of
from vtool.model.board_facts import LIVE_TREE, Source
from vtool.model.facts_import import import_facts, name_from, one_line, passed_a_boot_loader
from vtool.report.facts_yaml import facts_lines, facts_yaml
from vtool.report.summary import plan_data, table

_SHUT_DOWN_DEADLINE_S = 30.0
_CYCLE_PAUSE_S = 2.0
"""A supply needs a moment between off and on."""
_HOW_TO = "docs/how-to/reach-boards.md says how a board gets it"
_IMPORT = "Write a facts file from a board's device tree; with --ssh also how the board boots, which no tree holds."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, text, function in (
        ("up", "make the board if necessary, switch it on, and wait until it answers", _up),
        ("down", "shut the board's system down, then switch it off", _down),
        ("console", "attach to the board's serial console", _console),
        ("reserve", "reserve a board of a lab until you release it", _reserve),
        ("release", "give a reserved board back", _release),
        ("destroy", "remove an emulated board with its disk and keys", _destroy),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("board", nargs="?", default="board0", help="default: board0")
        add_inventory(action)
        action.set_defaults(action=function)
    power = actions.add_parser(
        "power", help="switch the power on, off (a power cut) or cycle it", description="switch a board's power"
    )
    power.add_argument("state", choices=("on", "off", "cycle"))
    power.add_argument("board", nargs="?", default="board0", help="default: board0")
    add_inventory(power)
    power.set_defaults(action=_power)
    text = "write a disk image to the board's boot medium; everything on it is lost"
    write = actions.add_parser("write", help=text, description=text)
    write.add_argument("image", type=Path, help="an image of a whole disk, not compressed")
    write.add_argument("board", nargs="?", default="board0", help="default: board0")
    write.add_argument("--force", action="store_true", help="cut the board's power if it is on")
    add_inventory(write)
    write.set_defaults(action=_write)
    _add_import(actions.add_parser("import", help="write a facts file from a device tree", description=_IMPORT))
    text = "look at all that a deploy to the board will stand on; nothing is changed there"
    check = actions.add_parser("check", help=text, description=text)
    check.add_argument("board", nargs="?", default="board0", help="default: board0")
    add_inventory(check)
    add_format(check)
    check.set_defaults(action=_check)
    listing = actions.add_parser("list", help="list the boards", description="list the boards of an inventory")
    add_inventory(listing)
    add_format(listing)
    listing.set_defaults(action=_list)


def _add_import(parser: argparse.ArgumentParser) -> None:
    tree = parser.add_mutually_exclusive_group(required=True)
    tree.add_argument("tree", nargs="?", type=Path, help="a .dtb, or a .dts that cpp and dtc compile")
    tree.add_argument("--ssh", metavar="HOST", help="read the tree of a running board, as root@HOST")
    parser.add_argument("--ssh-config", type=Path, metavar="FILE", help="use this ssh configuration (ssh -F)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the facts file to write")
    parser.add_argument(
        "-I",
        "--include",
        type=Path,
        action="append",
        default=[],
        help="where a .dts finds what it includes (repeatable)",
    )
    parser.add_argument("--name", type=name_from, help="default: the output's name without .yaml")
    parser.add_argument("--description", default="", help="default: the tree's model")
    parser.add_argument(
        "--memory", type=_memory, action="append", default=[], metavar="BASE:SIZE",
        help="RAM, instead of what the tree says (repeatable)",
    )  # fmt: skip
    parser.add_argument("--source", type=one_line, metavar="TEXT", help="where the tree comes from, such as Linux 6.12")
    parser.add_argument("--source-file", type=one_line, metavar="TEXT", help="its file there; default: the file's name")
    parser.add_argument(
        "--note", type=one_line, metavar="TEXT", help="what was assumed, such as how much RAM this model has"
    )
    add_format(parser)
    parser.set_defaults(action=_import)


def _memory(text: str) -> AddressRange:
    base, colon, size = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"'{text}' is not BASE:SIZE, such as 0x4000_0000:2GiB")
    try:
        where = AddressRange.of_size(int(base, 0), parse_size(size))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not BASE:SIZE: {error}") from None
    if where.end > 1 << 60:
        raise argparse.ArgumentTypeError(f"'{text}' ends beyond 1 EiB")
    return where


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action."""
    return int(arguments.action(arguments))


@contextlib.contextmanager
def _held(arguments: argparse.Namespace) -> Iterator[tuple[Inventory, Board]]:
    """Hold the board that was named; VT602 when it has to be made first."""
    inventory = Inventory(arguments.inventory)
    board = inventory.board(arguments.board)
    if not board.exists():
        hint = f"make it: vtool board up {board.words}"
        raise board_failed("VT602", f"board '{board.name}' has not been made", hints=(hint,))
    with board.hold():
        yield inventory, board


def _up(arguments: argparse.Namespace) -> int:
    board = Inventory(arguments.inventory).board(arguments.board)
    with board.hold(), local_lock(board):
        bring_up(board, ShownProgress())
        with open_shell(board):  # it answers as itself, by the key that is pinned, and to who may log in
            target = board.ssh()
    print(f"board '{board.name}' answers at {target.host} port {target.port}")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    with _held(arguments) as (inventory, board), local_lock(board):
        if not board.power.can_switch:
            what = "has no power control: nobody could switch it on again"
            raise inventory.cannot(board.name, what, _HOW_TO)
        asked, ended = board.power.is_on(), False
        if asked:
            # Not every system listens to its power button; asking over ssh works on any.
            with contextlib.suppress(VtoolError), open_shell(board) as shell:
                shell.run(shell.as_root("systemctl", "--no-block", "poweroff"))
            ended = board.shut_down(_SHUT_DOWN_DEADLINE_S)
        board.power.off()
    how = "ended by itself" if ended else "was cut off" if asked else "was off"
    print(f"board '{board.name}' {how}")
    return 0


def _power(arguments: argparse.Namespace) -> int:
    with _held(arguments) as (inventory, board):
        power = board.power
        if not power.can_switch:
            raise inventory.cannot(board.name, "has no power control", _HOW_TO)
        if arguments.state in ("off", "cycle"):
            power.off()
        if arguments.state in ("on", "cycle"):
            time.sleep(_CYCLE_PAUSE_S if arguments.state == "cycle" else 0)
            power.on()
        print(f"board '{board.name}' is {'on' if power.is_on() else 'off'}")
    return 0


def _console(arguments: argparse.Namespace) -> int:
    with _held(arguments) as (inventory, board):
        if not board.console.can_join:
            raise inventory.cannot(board.name, "has no console that can be joined", _HOW_TO)
        return board.console.interact()


def _write(arguments: argparse.Namespace) -> int:
    if fault := fault_of(arguments.image):
        raise board_failed("VT627", f"'{arguments.image}' cannot be written to a board: {fault}")
    with _held(arguments) as (inventory, board), local_lock(board):
        if not board.media.can_write or not board.power.can_switch:
            raise inventory.cannot(board.name, "has no boot medium that can be written from outside", _HOW_TO)
        if board.power.is_on() and not arguments.force:
            hints = (f"vtool board down {board.words}, or --force, which cuts its power",)
            raise board_failed("VT627", f"board '{board.name}' is on", hints=hints)
        board.power.off()
        board.media.write(arguments.image)
    print(f"'{arguments.image}' is what board '{board.name}' boots next: vtool board up {board.words}")
    return 0


def _destroy(arguments: argparse.Namespace) -> int:
    board = Inventory(arguments.inventory).emulated(arguments.board)
    if not board.exists():
        raise board_failed("VT602", f"board '{board.name}' has not been made")
    with local_lock(board):
        board.destroy()
    print(f"board '{board.name}' is gone")
    return 0


def _reserve(arguments: argparse.Namespace) -> int:
    inventory = Inventory(arguments.inventory)
    board = inventory.board(arguments.board)
    place = board.reserve()
    if place is None:
        raise inventory.cannot(arguments.board, "is no place of a lab: there is nobody to keep it from")
    print(f"board '{arguments.board}' is place '{place}', yours until: vtool board release {board.words}")
    return 0


def _release(arguments: argparse.Namespace) -> int:
    places = Inventory(arguments.inventory).board(arguments.board).release()
    told = f"gave back {', '.join(places)}" if places else "was not reserved by you"
    print(f"board '{arguments.board}' {told}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    observed = None
    if arguments.ssh is not None:
        if arguments.ssh_config is not None and (fault := fault_of(arguments.ssh_config)):
            raise VtoolError(Diagnostic("VT100", f"'{arguments.ssh_config}' cannot be read: {fault}"), ExitCode.USAGE)
        tree, observed = read_over_ssh(arguments.ssh, arguments.ssh_config)
        origin, file = arguments.ssh, LIVE_TREE
    else:
        tree, origin, file = read_board_tree(arguments.tree, arguments.include), "a local file", arguments.tree.name
    source = Source(
        tree=arguments.source or one_line(origin),
        file=arguments.source_file or one_line(file),
        note=arguments.note,
        booted=arguments.ssh is not None or passed_a_boot_loader(tree),
    )
    name = arguments.name or name_from(arguments.output.stem)
    imported = import_facts(
        tree, name, source, description=one_line(arguments.description), memory=arguments.memory, observed=observed
    )  # fmt: skip
    print_diagnostics(imported.warnings)
    boot = BootImport(imported.facts, (), ())
    if arguments.ssh is not None:
        boot = boot_of(imported.facts, installed_over_ssh(arguments.ssh, arguments.ssh_config))
    write_text(facts_yaml(boot.facts), arguments.output)
    if arguments.format == "json":
        print_json({**plan_data(boot.facts), "say": list(boot.say), "seen": dict(boot.seen)})
    else:
        print_lines([*facts_lines(boot.facts), *table(boot.seen), *(f"say by hand: {what}" for what in boot.say)])
    return 0


def _check(arguments: argparse.Namespace) -> int:
    with _held(arguments) as (_, board), open_shell(board) as shell:
        lines = checked(board, shell)
    ready = not any(line.verdict is Verdict.FAILED for line in lines)
    if arguments.format == "json":
        said = [line.to_json() for line in lines]
        print_json({"format": 1, "board": board.name, "facts": board.facts.name, "ready": ready, "checks": said})
    else:
        rows = [(line.verdict.value, line.check, line.found) for line in lines]
        for line, row in zip(lines, table(rows, indent=""), strict=True):
            print_lines([row, *([f"         do: {line.do}"] if line.do else [])])
    return 0 if ready else ExitCode.BOARD_FAILED.value


def _list(arguments: argparse.Namespace) -> int:
    inventory = Inventory(arguments.inventory)
    found = []
    for name in inventory.names():
        board = inventory.board(name)
        found.append({"name": name, "driver": board.driver, "facts": board.facts.name, **vars(board.standing())})
    if arguments.format == "json":
        print_json(found)
        return 0
    columns = ["name", "driver", "facts", "power", "ssh", *(["place"] if any(item["place"] for item in found) else [])]
    rows = [("board", *columns[1:])] + [tuple(str(item[column] or "-") for column in columns) for item in found]
    print_lines(table(rows, indent=""))
    return 0
