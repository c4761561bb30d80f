"""Rules on disks: their sizes, and that nobody else writes to them."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import MIB, align_up, format_size
from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.devices import VerifyAccess
from vtool.reading.source import KeyPath

MINIMUM_SCRATCH_DISK = 16 * MIB


@rule(
    "VT320",
    what="a disk has an unusable size",
    why="Disks are whole sectors, and verify needs room when it may write.",
    example="size: 1000B",
    fix="Use a multiple of 512 bytes, at least 16MiB with verify: write.",
)
@rule(
    "VT321",
    what="two devices write to one file",
    why="Two writers destroy a disk.",
    example="file: disk0.img in two devices",
    fix="Give each its own file.",
)
def disks_are_sound(context: Context) -> Iterator[Diagnostic]:
    """Disks have a usable size, and no two devices write to one file."""
    first: dict[tuple[str | None, str], tuple[str, KeyPath]] = {}
    for name, device in context.topology.devices.items():
        for disk, below in device.disk_files():
            at = ("devices", name, *below)
            if disk.size % 512:
                message = f"disk of '{name}': {disk.size} bytes is not a multiple of the 512-byte sector"
                least = MINIMUM_SCRATCH_DISK if disk.verify is VerifyAccess.WRITE else 512
                hint = f"the next is {format_size(align_up(max(disk.size, least), 512))}"
                yield context.find("VT320", message, (*at, "size"), hints=(hint,))
            elif disk.verify is VerifyAccess.WRITE and disk.size < MINIMUM_SCRATCH_DISK:
                message = (
                    f"disk of '{name}' is {format_size(disk.size)}; `verify: write` takes its last 8MiB "
                    f"and needs at least {format_size(MINIMUM_SCRATCH_DISK)}"
                )
                yield context.find("VT320", message, (*at, "size"))
            yield from _written_once(context, first, name, f"the file '{disk.file}'", (*at, "file"))
        if device.type == "blk" and device.backend_device is not None:
            what = f"{device.backend_device} of '{device.backend}'"
            yield from _written_once(context, first, name, what, ("devices", name, "backend_device"))


def _written_once(
    context: Context,
    first: dict[tuple[str | None, str], tuple[str, KeyPath]],
    name: str,
    what: str,
    at: KeyPath,
) -> Iterator[Diagnostic]:
    other, place = first.setdefault((context.board_of.get(context.topology.devices[name].backend), what), (name, at))
    if place != at:
        label = Label(context.span(*place), "the first is here")
        yield context.find("VT321", f"devices '{other}' and '{name}' both write to {what}", at, labels=(label,))
