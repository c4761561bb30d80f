"""What facts of a kind of board leave to be asked of the board itself, filled in. Enter at ``for_installation``.

Which partition is booted from, and which is the root file system, are facts of one installation: what the facts file
says stands, and the rest the running board is asked for. What it does not tell is asked for by name (VT722).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vtool.board.installation import SCRIPT, Installation, Mount, installation
from vtool.board.protocols import Commands
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError
from vtool.diagnostics.codes import declare
from vtool.model.board_facts import ASKED, BoardFacts, Boot, UBoot
from vtool.model.command_lines import of_control_domain
from vtool.plan.types import BoardPlan

_LOOK_S = 120.0

declare(
    "VT722",
    what="a board does not tell how it is installed",
    why="Which partition it boots from and where its root is are facts of one installation, which it is asked for.",
    example="a board with two partitions that have a boot.scr, or with a root file system that no partition has",
    fix="Write what the message names into a facts file of your own; `vtool board import --ssh` makes one.",
)


def look(commands: Commands) -> Installation:
    """Ask a running board how it is installed. Raises VtoolError of ssh."""
    said = commands.run(commands.as_root("/bin/sh", "-c", SCRIPT.read_text()), timeout_s=_LOOK_S)
    return installation(said.stdout)


def asks(boot: Boot | None) -> bool:
    """Whether facts leave something to be asked of the board."""
    return boot is not None and ASKED in (boot.partition_mount, boot.root_device, boot.root_filesystem)


def for_installation(board: BoardPlan, found: Installation) -> BoardPlan:
    """Return the plan for a board that is installed so. Raises VtoolError VT722 for each thing that is not clear."""
    boot = board.facts.boot
    if boot is None:
        return board
    told = {key: value for key, value in _told(boot, found).items() if getattr(boot, key) == ASKED}
    complete = boot.model_copy(update=told)
    unclear = [*unclear_in(board.name, complete, found), *_root_flags(board, found)]
    if unclear:
        raise VtoolError(unclear, ExitCode.BOARD_FAILED)
    facts = board.facts.model_copy(update={"boot": complete})
    bootargs = board.control.bootargs.replace(_own_words(board, board.facts), _own_words(board, facts), 1)
    return replace(board, facts=facts, control=replace(board.control, bootargs=bootargs))


def _own_words(board: BoardPlan, facts: BoardFacts) -> str:
    return " ".join(of_control_domain(facts, board.watchdog, is_xen=board.xen_bootargs is not None))


def _told(boot: Boot, found: Installation) -> dict[str, str]:
    mounts = found.boot_mounts(boot.loader)
    told = {"root_device": found.root_device, "root_filesystem": found.root_filesystem}
    told["partition_mount"] = mounts[0].target if len(mounts) == 1 else ""
    return {key: value for key, value in told.items() if value}


def unclear_in(name: str, boot: Boot, found: Installation) -> Iterator[Diagnostic]:
    """Yield VT722 for what neither a ``boot`` nor its board tells, and for a state that the board cannot hold."""
    hint = "vtool board import --ssh HOST -o FILE writes facts with all that a board tells; say the rest there"
    if boot.partition_mount == ASKED:
        others = [f"{mount.target} ({mount.kind} on {mount.source})" for mount in found.boot_mounts(boot.loader)]
        why = f"several have files for it: {', '.join(others)}" if others else "no mounted partition has files for it"
        message = f"board '{name}' does not tell which partition {boot.loader} reads: {why}"
        yield Diagnostic("VT722", message, hints=("say `partition_mount`, where it is mounted on the board", hint))
    if ASKED in {boot.root_device, boot.root_filesystem}:
        message = f"board '{name}' does not tell where its root file system is"
        yield Diagnostic("VT722", message, hints=("say `root_device` and `root_filesystem`", hint))
    mount = found.mount_at(boot.partition_mount)
    if isinstance(boot, UBoot) and boot.state == "file" and mount is not None and mount.kind != "vfat":
        what = f"a file of {mount.target}, which is {mount.kind} and not FAT"
        message = f"board '{name}' cannot keep its boot state in {what}"
        yield Diagnostic("VT722", message, hints=(f"say `state`: {sector_of(found, mount)}", hint))


def _root_flags(board: BoardPlan, found: Installation) -> Iterator[Diagnostic]:
    flags = found.command_line("rootflags")
    if flags and "rootflags=" not in board.control.bootargs:
        message = f"board '{board.name}' mounts its root with `rootflags={flags}`, and the plan does not"
        yield Diagnostic("VT722", message, hints=(f"say `bootargs: rootflags={flags}` of '{board.control.name}'",))


def sector_of(found: Installation, mount: Mount) -> str:
    """Return, in words, where a sector for the boot state may be on the disk that a partition is on."""
    disk = found.disk_of(mount)
    sector = found.free_sectors(disk) if disk else None
    if sector is None:
        return "a sector that nothing else uses, with `device`, `sector`, `read_command` and `write_command`"
    return f"such as sector {sector} of /dev/{disk}, if nothing is there (`device`, `sector`, U-Boot's commands)"
