"""What facts of a kind of board leave to be asked of the board itself, filled in. Enter at ``for_installation``.

Which partition is booted from, and which is the root file system, are facts of one installation: what the facts file
says stands, and the rest the running board is asked for. What it does not tell is asked for by name (VT722).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vtool.board.installation import Installation, Mount, installation, question, starts_systemd_boot
from vtool.board.protocols import Commands
from vtool.diagnostics import Diagnostic, ExitCode, VtoolError
from vtool.diagnostics.codes import declare
from vtool.model.board_facts import ASKED, BoardFacts, Boot, SystemdBoot, UBoot
from vtool.model.command_lines import of_control_domain
from vtool.plan.types import BoardPlan

_LOOK_S = 120.0
_RUN_SCRIPTS = ("distro_bootcmd", "bootflow scan", "boot.scr", "source ")
"""What is in a boot command that comes to a script (U-Boot include/config_distro_bootcmd.h, cmd/bootflow.c)."""

declare(
    "VT722",
    what="a board does not tell how it is installed",
    why="Which partition it boots from and where its root is are facts of one installation, which it is asked for.",
    example="a board with two partitions that have a boot.scr, or with a root file system that no partition has",
    fix="Write what the message names into a facts file of your own; `vtool board import --ssh` makes one.",
)

declare(
    "VT724",
    what="a board is not the one that its facts are of",
    why="What is loaded where, and what is kept free, is another on every kind of board.",
    example="a Raspberry Pi 5 at the address that the inventory has for a Raspberry Pi 4",
    fix="Name the facts of this board, or reach the board that is meant; nothing was changed.",
)
declare(
    "VT725",
    what="a board's boot loader does not come to what vtool gives it",
    why="U-Boot's script or systemd-boot's entries choose a generation; else what boots now boots on.",
    example="a boot command that loads a kernel by TFTP, or a boot.scr.uimg beside boot.scr",
    fix="Do as the hint says in U-Boot or on the boot partition; nothing was changed.",
)


def look(commands: Commands) -> Installation:
    """Ask a running board how it is installed, with the rights of whoever is logged in. Raises VtoolError of ssh."""
    return installation(commands.run(question(), timeout_s=_LOOK_S).stdout)


def asks(boot: Boot | None) -> bool:
    """Whether facts leave something to be asked of the board."""
    return boot is not None and ASKED in (boot.partition_mount, boot.root_device, boot.root_filesystem)


def for_installation(board: BoardPlan, found: Installation) -> BoardPlan:
    """Return the plan for a board that is installed so. Raises VtoolError VT722 for each thing that is not clear."""
    boot = board.facts.boot
    if boot is None:
        return board
    complete = completed(boot, found)
    unclear = [*unclear_in(board.name, complete, found), *_root_flags(board, found)]
    unclear += faults_in(board.facts, complete, found)
    if unclear:
        raise VtoolError(unclear, ExitCode.BOARD_FAILED)
    facts = board.facts.model_copy(update={"boot": complete})
    bootargs = board.control.bootargs.replace(_own_words(board, board.facts), _own_words(board, facts), 1)
    return replace(board, facts=facts, control=replace(board.control, bootargs=bootargs))


def _own_words(board: BoardPlan, facts: BoardFacts) -> str:
    return " ".join(of_control_domain(facts, board.watchdog, is_xen=board.xen_bootargs is not None))


def completed(boot: Boot, found: Installation) -> Boot:
    """Return how a board boots with what it tells where facts leave that to it."""
    told = found.told(boot.loader).items()
    return boot.model_copy(update={key: value for key, value in told if getattr(boot, key) == ASKED})


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


def faults_in(facts: BoardFacts | None, boot: Boot | None, found: Installation) -> Iterator[Diagnostic]:
    """Yield VT724 for a board that is not that of the facts, VT725 for a loader that does not run vtool's script.

    Boards of one SoC are not the same, one board's revisions are: the last name is the SoC's (Linux
    Documentation/devicetree/usage-model.rst).
    """
    said = found.words.get("compatible", "").split()
    wanted = facts.compatible[:-1] or facts.compatible if facts is not None else ()
    if facts is not None and said and wanted and not {*said} & {*wanted}:
        message = f"the board is a '{said[0]}', the facts are of a '{facts.compatible[0]}'"
        yield Diagnostic("VT724", message, hints=("name the facts of this board, or reach the board that is meant",))
    mount = found.mount_at(boot.partition_mount) if boot is not None else None
    if isinstance(boot, SystemdBoot) and mount is not None and not starts_systemd_boot(mount):
        what = "GRUB" if any("grub" in file for file in mount.files) else "no systemd-boot"
        message = f"the firmware starts what is on {mount.target}, and there is {what}"
        hint = "`bootctl install` makes systemd-boot the first, beside what is there; vtool cannot be started by GRUB"
        yield Diagnostic("VT725", message, hints=(hint,))
    if not isinstance(boot, UBoot):
        return
    for name in (file for file in (mount.files if mount else ()) if file.endswith("boot.scr.uimg")):
        message = f"U-Boot runs '{name}' of {boot.partition_mount} before vtool's boot.scr"
        yield Diagnostic("VT725", message, hints=("rename it to boot.scr: U-Boot looks for both",))
    command = found.environment.get("bootcmd", "")
    if command and not any(word in command for word in _RUN_SCRIPTS):
        hint = (
            boot.note or "setenv bootcmd 'bootflow scan', or 'run distro_bootcmd', whichever this U-Boot has; saveenv"
        )
        yield Diagnostic(
            "VT725", f"U-Boot runs no script of the boot partition: its bootcmd is `{command}`", hints=(hint,)
        )


def sector_of(found: Installation, mount: Mount) -> str:
    """Return, in words, where a sector for the boot state may be on the disk that a partition is on."""
    disk = found.disk_of(mount)
    sector = found.free_sectors(disk) if disk else None
    if sector is None:
        return "a sector that nothing else uses, with `device`, `sector`, `read_command` and `write_command`"
    return f"such as sector {sector} of /dev/{disk}, if nothing is there (`device`, `sector`, U-Boot's commands)"
