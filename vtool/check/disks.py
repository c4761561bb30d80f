"""Rules on disks: what is behind them, how large they are, that nobody else writes to it, who can serve it."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import MIB, align_up, format_size
from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.combinations import combination_of
from vtool.model.devices import Disk, DiskFormat, OnChange, Program, VerifyAccess
from vtool.model.devices.disk import SCRATCH_BYTES, SECTOR_BYTES
from vtool.model.places import xl_disks
from vtool.model.topology import Start
from vtool.platform.xen_disks import meet
from vtool.reading.source import KeyPath

MINIMUM_SCRATCH_DISK = 16 * MIB
_THROUGH_QEMU = (Program.QEMU, Program.QEMU_STORAGE_DAEMON, Program.QEMU_XENPVH)
_OPENS_DEVICES = (*_THROUGH_QEMU, Program.BLKBACK)


def _disks(context: Context) -> Iterator[tuple[str, Disk, KeyPath]]:
    for name, device in context.topology.devices.items():
        for disk, below in device.disk_files():
            yield name, disk, ("devices", name, *below)


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
    for name, disk, at in _disks(context):
        if disk.size is not None and disk.size % SECTOR_BYTES:
            message = f"disk of '{name}': {disk.size} bytes is not a multiple of the 512-byte sector"
            least = MINIMUM_SCRATCH_DISK if disk.verify is VerifyAccess.WRITE else SECTOR_BYTES
            hint = f"the next is {format_size(align_up(max(disk.size, least), SECTOR_BYTES))}"
            yield context.find("VT320", message, (*at, "size"), hints=(hint,))
        elif disk.size is not None and disk.verify is VerifyAccess.WRITE and disk.size < MINIMUM_SCRATCH_DISK:
            message = (
                f"disk of '{name}' is {format_size(disk.size)}; `verify: write` takes its last 8MiB "
                f"and needs at least {format_size(MINIMUM_SCRATCH_DISK)}"
            )
            yield context.find("VT320", message, (*at, "size"))
        if disk.file or disk.device:
            yield from _written_once(context, first, name, disk.behind, (*at, "device" if disk.device else "file"))
    for name, device in context.topology.devices.items():
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


@rule(
    "VT460",
    what="it is not said what is behind a disk, or how large it is",
    why="It is one thing: a file that vtool makes, empty or from an image, or a device that the board has.",
    example="disk: {file: disk0.img}, without size and source",
    fix="Write file with size or source, or device.",
)
def disks_have_one_thing_behind_them(context: Context) -> Iterator[Diagnostic]:
    """Behind a disk is a file of a known size or a device, and not both."""
    for name, disk, at in _disks(context):
        if disk.file and disk.device:
            message = f"disk of '{name}' is the file '{disk.file}' and the board's {disk.device}"
            yield context.find("VT460", message, (*at, "device"), hints=("leave out one of the two",))
        elif not disk.file and not disk.device:
            hint = "write `file` for one that vtool makes, `device` for a partition or logical volume of the board"
            yield context.find("VT460", f"disk of '{name}' has nothing behind it", at, key=True, hints=(hint,))
        elif disk.file and disk.size is None and disk.source is None:
            hint = "write `size`; or `source`, for a disk that begins as an image"
            message = f"nobody says how large disk '{disk.file}' of '{name}' is"
            yield context.find("VT460", message, (*at, "file"), hints=(hint,), blames=((*at, "size"),))


@rule(
    "VT461",
    what="settings of a disk contradict each other",
    why="One of them would have no effect, or harm what the other protects.",
    example="read_only: true with verify: write",
    fix="Leave out the one that is named.",
)
def settings_of_disks_agree(context: Context) -> Iterator[Diagnostic]:
    """A disk's settings have an effect, and none is against another."""
    for name, disk, at in _disks(context):
        for key, why in _contradictions(disk):
            yield context.find("VT461", f"`{key}` of the disk of '{name}': {why}", (*at, key), key=True)


def _contradictions(disk: Disk) -> Iterator[tuple[str, str]]:
    written = disk.model_fields_set
    if disk.device and not disk.file:
        what = "of a device vtool makes, formats and resizes nothing"
        yield from ((key, what) for key in ("source", "on_change") if key in written)
        if disk.format is not DiskFormat.RAW:
            yield "format", "a guest sees a device of the board as it is, which is raw"
        if disk.verify is VerifyAccess.WRITE and disk.size is None:
            yield "verify", "write `size`, too, that of the device, so that it is known where its last 8MiB are"
    elif disk.source is None and "on_change" in written:
        yield "on_change", "it is about another `source`, and there is none"
    if disk.read_only and disk.verify is VerifyAccess.WRITE:
        yield "verify", "nothing is written to a disk with `read_only: true`"
    if disk.read_only and "on_change" in written and disk.on_change is OnChange.KEEP:
        yield "on_change", "a guest cannot write to it, so there is nothing to keep: it is always what `source` says"


@rule(
    "VT463",
    what="a disk is too small for its image",
    why="vtool makes images larger, never smaller; and scratch space must not be in what the image holds.",
    example="size: 1GiB for an image of 2GiB",
    fix="Write a larger size, or none: the disk is as large as its image then.",
)
def images_fit_into_disks(context: Context) -> Iterator[Diagnostic]:
    """A disk is at least as large as the image it begins as, and the scratch space of `verify: write` behind that."""
    for name, disk, at in _disks(context):
        image = context.disk_images.get(disk.source or "")
        if image is None:
            continue
        if image.size_bytes is None:
            if disk.size is None:
                message = f"how large '{disk.source}' of '{name}' is shows only when it is unpacked"
                hint = "write `size`: at least that"
                yield context.find("VT463", message, (*at, "source"), hints=(hint,), blames=((*at, "size"),))
            continue
        whole = align_up(image.size_bytes, SECTOR_BYTES)
        least = align_up(whole, MIB) + SCRATCH_BYTES if disk.verify is VerifyAccess.WRITE else whole
        if disk.size is None and least > whole:
            message = f"`verify: write` takes the last 8MiB of the disk of '{name}', where its image has data"
            hint = f"write `size: {format_size(least)}`, or more"
            yield context.find("VT463", message, (*at, "verify"), hints=(hint,))
        elif disk.size is not None and disk.size < least:
            more = " and `verify: write` needs 8MiB behind it" if least > whole else ""
            message = f"disk of '{name}' is {format_size(disk.size)}, its image {format_size(whole)}{more}"
            yield context.find("VT463", message, (*at, "size"), hints=(f"at least {format_size(least)}",))


@rule(
    "VT464",
    what="a program cannot serve such a disk",
    why="Only QEMU and its storage daemon read qcow2; the other programs know files that they may write to.",
    example="format: qcow2 with program: blkback",
    fix="Use another program, or a raw file.",
)
def programs_can_serve_disks(context: Context) -> Iterator[Diagnostic]:
    """A disk is served by a program that can: qcow2 by QEMU's, devices and read-only disks also by blkback."""
    for name, disk, at in _disks(context):
        program = context.topology.devices[name].program
        wishes = (
            ("format", disk.format is not DiskFormat.RAW, _THROUGH_QEMU, "reads raw files only"),
            ("device", disk.device is not None, _OPENS_DEVICES, "gets files of vtool's only"),
            ("read_only", disk.read_only, _OPENS_DEVICES, "cannot be told to write nothing"),
        )
        frontend = context.topology.domains.get(context.topology.devices[name].frontend)
        by_itself = frontend is not None and frontend.start is Start.DOM0LESS
        if disk.format is not DiskFormat.RAW and disk.verify is VerifyAccess.WRITE and by_itself:
            why = "a guest that Xen starts copies at its file, which only QEMU writes where that is qcow2"
            yield context.find("VT464", f"`verify: write` of '{name}': {why}", (*at, "verify"), key=True)
        for key, wished, able, why in wishes:
            if wished and program not in able:
                names = ", ".join(one.value for one in able)
                message = f"'{program.value}', which serves '{name}', {why}"
                yield context.find("VT464", message, (*at, key), key=True, hints=(f"those that can: {names}",))


@rule(
    "VT465",
    what="a disk cannot have the name that is wished",
    why=(
        "Xen hands a name over with each disk of xl's list, each once, and not one of a partition beside its disk's; "
        "other disks are named by the guest's Linux."
    ),
    example="vdev: xvda for two disks of one guest",
    fix="Use another name, or leave it out.",
)
def names_of_disks_are_free(context: Context) -> Iterator[Diagnostic]:
    """A disk's name is one that Xen hands over, and no other disk's."""
    taken: dict[str, dict[str, str]] = {}
    for name, device in context.sound_devices():
        if device.type != "blk" or device.vdev is None:
            continue
        at: KeyPath = ("devices", name, "vdev")
        hypervisor = context.hypervisor_of(device.frontend)
        if hypervisor is None or combination_of(hypervisor.kind, device) is None:
            continue  # VT310
        if name not in xl_disks(device.frontend, context.lookup.devices_of[device.frontend]):
            message = f"`vdev` of '{name}' has no effect: a guest's Linux names a {device.program.value} disk itself"
            yield context.find("VT465", message, at, key=True)
            continue
        mine = taken.setdefault(device.frontend, {})
        clash = next((each for each in mine if meet(each, device.vdev)), None)
        if clash is None:
            mine[device.vdev] = name
            continue
        label = Label(context.span("devices", mine[clash], "vdev"), "the first is here")
        message = f"disks '{mine[clash]}' and '{name}' of '{device.frontend}' are both {device.vdev}"
        if clash != device.vdev:
            part, whole = sorted((clash, device.vdev), key=len, reverse=True)
            message = f"'{device.frontend}' has {whole} and {part}, which is a partition of it"
        yield context.find("VT465", message, at, labels=(label,))
