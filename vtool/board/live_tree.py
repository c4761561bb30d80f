"""The base device tree of a board that runs: read from it, without what every boot writes anew.

The tree of a system that vtool booted is not the firmware's; then the one that was read before is kept.
"""

from __future__ import annotations

import base64
import re
import shlex
from pathlib import Path

from vtool.base.units import AddressRange
from vtool.board.protocols import Board, Commands
from vtool.diagnostics import VtoolError, board_failed
from vtool.files.replacing import write_whole
from vtool.lint.context import Context
from vtool.lint.regions import initrd
from vtool.model.board_facts import LIVE_TREE
from vtool.platform.devicetree import Tree, describes_nothing, read_blob
from vtool.platform.xen_releases import NEWEST

HAS_ACPI = ("test", "-d", "/sys/firmware/acpi/tables")
"""The command that succeeds on a board whose firmware has handed ACPI's tables to Linux."""
_BOOTED_BY_VTOOL = "vtool.boot="
_FACTORY = "vtool.boot=factory"
_OF_ONE_BOOT = re.compile("bootargs|kaslr-seed|rng-seed|linux,initrd-(start|end)|linux,uefi-.*")
"""Properties of /chosen that are of one boot: U-Boot's (Linux Documentation/devicetree, chosen.yaml), and those of
Linux's EFI stub (drivers/firmware/efi/libstub/fdt.c)."""


def live_tree(board: Board, commands: Commands, kept: Path) -> bytes:
    """Read the base tree from the running system, or from ``kept`` while it runs what vtool booted.

    Raises VtoolError VT620, VT626 and those of ssh.
    """
    if _runs_what_vtool_booted(commands):
        return _kept(board, kept)
    said = commands.run(commands.as_root("base64", LIVE_TREE))
    has_acpi = commands.run(shlex.join(HAS_ACPI)).code == 0
    if said.code != 0 and has_acpi:
        raise _by_acpi(board)
    if said.code != 0:
        raise _no_tree(board, f"{LIVE_TREE} cannot be read", said.stderr.splitlines()[-5:])
    try:
        blob = base64.b64decode(said.stdout)
        tree = read_blob(blob)
    except ValueError as error:
        raise _no_tree(board, f"{LIVE_TREE} is no device tree: {error}") from None
    if describes_nothing(tree) and has_acpi:
        raise _by_acpi(board)
    if tree.node("/hypervisor") is not None:
        raise _no_tree(board, "what runs there is a guest of a hypervisor, and sees the tree made for it")
    blob = without_traces_of_a_boot(blob)
    write_whole(kept, blob)
    return blob


def running_tree(commands: Commands) -> Tree | None:
    """Return the tree that the running system was booted with, None where it does not tell: vtool's own, a guest's.

    Raises VtoolError of ssh.
    """
    if _runs_what_vtool_booted(commands):
        return None
    said = commands.run(commands.as_root("base64", LIVE_TREE))
    try:
        tree = read_blob(without_traces_of_a_boot(base64.b64decode(said.stdout)))
    except ValueError:
        return None
    return None if tree.node("/hypervisor") is not None else tree


def _runs_what_vtool_booted(commands: Commands) -> bool:
    words = commands.run("cat /proc/cmdline").stdout.split()
    return any(word.startswith(_BOOTED_BY_VTOOL) and word != _FACTORY for word in words)


def _kept(board: Board, kept: Path) -> bytes:
    try:
        return kept.read_bytes()
    except OSError:
        reason = "it runs what vtool booted, and no tree was read from it before"
        raise _no_tree(board, reason) from None


def _no_tree(board: Board, reason: str, detail: list[str] | None = None) -> VtoolError:
    return board_failed(
        "VT620",
        f"board '{board.name}' does not show its base device tree: {reason}",
        hints=("name the file that its firmware hands over as `device_tree` in the inventory",),
        detail=detail or [],
    )


def _by_acpi(board: Board) -> VtoolError:
    """Make the error for a board whose firmware hands over no tree that could be named."""
    hint = "many boards' firmware can be set to hand over a device tree instead of ACPI's tables"
    message = f"board '{board.name}' has no base device tree: it describes itself by ACPI"
    return board_failed("VT620", message, hints=(hint,))


def without_traces_of_a_boot(blob: bytes) -> bytes:
    """Remove what differs from boot to boot, so that the same board is always the same tree.

    Boot loaders list the ramdisk in /memreserve/ as well (U-Boot boot/fdt_support.c fdt_initrd).
    """
    import libfdt  # noqa: PLC0415 - compiled code, needed here only

    fdt, data = libfdt.Fdt(blob), bytearray(blob)
    ramdisk = initrd(Context(read_blob(blob), NEWEST))
    for index in reversed(range(fdt.num_mem_rsv())):
        *_, base, size = fdt.get_mem_rsv(index)
        if ramdisk and size and ramdisk.overlaps(AddressRange.of_size(base, size)):
            libfdt.check_err(libfdt.fdt_del_mem_rsv(data, index))
    fdt = libfdt.Fdt(bytes(data))
    chosen = fdt.path_offset("/chosen", quiet=(libfdt.NOTFOUND,))
    if chosen >= 0:
        for name in read_blob(blob).root.children["chosen"].values:
            if _OF_ONE_BOOT.fullmatch(name):
                fdt.delprop(fdt.path_offset("/chosen"), name)
        fdt.pack()
    return bytes(fdt.as_bytearray())[: fdt.totalsize()]
