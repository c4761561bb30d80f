"""Rules on what a boot loader puts into memory: its windows are free and in order, and files fit into them."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import AddressRange, align_up, format_size
from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.files.boot_files import BootFile
from vtool.model.board_facts import BoardFacts, SystemdBoot
from vtool.model.host_requests import modules_on
from vtool.model.load_windows import MODULE_WINDOW_BYTES, load_windows, own_carve_out, ramdisk_window
from vtool.model.topology import Role, Start, Xen
from vtool.platform.layouts import LINUX_UNIT
from vtool.reading.source import KeyPath


@rule("VT408")
def load_windows_are_free(context: Context) -> Iterator[Diagnostic]:
    """Each load window is kept free by one carve-out, lies in RAM, and meets nothing else."""
    for board, loaded in context.facts.items():
        for key, message in _faults_of_windows(loaded.facts):
            label = Label(loaded.document.span(("boot", "load", key)), "here")
            whole = f"the facts of board '{board}' contradict themselves: {message}"
            yield context.find("VT408", whole, ("boards", board, "facts"), labels=(label,))


def _faults_of_windows(facts: BoardFacts) -> Iterator[tuple[str, str]]:
    windows = load_windows(facts)
    first: dict[int, str] = {}
    for key, base in facts.load or ():
        if key not in windows:
            yield key, f"boot loads the {_said(key)} at {base:#x}, which no carve-out keeps free"
            continue
        if base in first:
            yield key, f"boot loads the {_said(first[base])} and the {_said(key)} at {base:#x}"
            continue
        first[base] = key
        window = windows[key]
        if not any(bank.range.contains(window) for bank in facts.ram):
            yield key, f"boot loads the {_said(key)} into {window}, which is not all RAM"
        for carve in facts.carve_outs:
            if carve is not own_carve_out(facts, base) and carve.range.overlaps(window):
                what = f"boot loads the {_said(key)} into {window}, over carve-out '{carve.name}' {carve.range}"
                yield key, f"{what}: {carve.reason}"


def _said(key: str) -> str:
    return key.replace("_", " ")


def too_large(what: str, window: AddressRange, size_bytes: int | None, started: BootFile | None = None) -> str | None:
    """Return that something is too large for its load window, in words; None when it fits or is not known to be.

    One that the loader starts (``booti``) is first moved to a multiple of 2 MiB, and takes what its header says
    (U-Boot arch/arm/lib/image.c booti_setup).
    """
    end = _end_of_load(window, size_bytes, started)
    if end <= window.end:
        return None
    return (
        f"{what} {'would end' if started else 'ends'} at {end:#x}, {format_size(end - window.end)} beyond the "
        f"{format_size(window.size_bytes)} {window} that it is loaded into"
    )


@rule(
    "VT713",
    what="what is loaded at boot is larger than its room",
    why=(
        "The loader puts kernel, hypervisor, tree and modules one after another; the next overwrites the end of one "
        "that is too long."
    ),
    example="a ramdisk of 60MiB for a dom0less guest, or a kernel of 40MiB 32MiB before the ramdisk's address",
    fix="Make the file smaller, or give it more room in the facts' load addresses; a module has 32MiB.",
)
def files_fit_their_windows(context: Context) -> Iterator[Diagnostic]:
    """Kernel, ramdisk and hypervisor of a board fit where they are loaded."""
    for board, loaded in context.facts.items():
        windows, hypervisor = dict(load_windows(loaded.facts)), context.topology.boards[board].hypervisor
        is_xen = isinstance(hypervisor, Xen)
        asked: list[tuple[str, str, BootFile | None, bool, KeyPath]] = []
        for name, domain in context.domains_on(board):
            if domain.role is Role.CONTROL:
                said = ("kernel",) if "kernel" in domain.model_fields_set else ()
                what = f"the kernel of '{name}'"
                asked.append(("kernel", what, context.kernel_file(name), not is_xen, ("domains", name, *said)))
                ramdisk = context.ramdisk_file(name)
                if ramdisk is not None and (room := ramdisk_window(loaded.facts, modules_on(context.lookup, board))):
                    windows["ramdisk"] = room
                    what = f"the ramdisk of '{name}'"
                    asked.append(("ramdisk", what, ramdisk, False, ("domains", name, "ramdisk")))
        if isinstance(hypervisor, Xen):
            xen = context.files.get(("image", hypervisor.image))
            asked.append(("hypervisor", f"the Xen of '{board}'", xen, True, ("boards", board, "hypervisor", "image")))
        for key, what, file, started, path in asked:
            if file is None or key not in windows:
                continue
            unpacked = key != "ramdisk" and file.what.packer is not None  # by staging
            size = None if unpacked else file.size_bytes
            message = too_large(what, windows[key], size, file if started else None)
            if message is not None:
                label = Label(loaded.document.span(("boot", "load", key)), "the window begins here")
                window_end = _end_of_load(windows[key], size, file if started else None)
                yield context.find("VT713", message, path, labels=(label,), hints=(_more_room(window_end),))


def _end_of_load(window: AddressRange, size_bytes: int | None, started: BootFile | None) -> int:
    end = window.base + (size_bytes or 0)
    if started is not None and started.image_size is not None:
        offset = started.text_offset
        end = max(end, align_up(window.base - offset, LINUX_UNIT) + offset + started.image_size)
    return end


def _more_room(end: int) -> str:
    least = align_up(end, LINUX_UNIT)
    return f"keep RAM up to {least:#x} free for it: `load` in the board's facts, what comes next there, its carve-out"


@rule("VT713")
def modules_fit_their_windows(context: Context) -> Iterator[Diagnostic]:
    """What is loaded for a guest that Xen starts fits into the window that is planned for it."""
    for name, domain in context.topology.domains.items():
        if domain.start is not Start.DOM0LESS or domain.role is not Role.GUEST:
            continue
        for key in ("kernel", "ramdisk", "device_tree"):
            file = context.files.get((key, getattr(domain, key) or ""))
            if file is not None and (file.size_bytes or 0) > MODULE_WINDOW_BYTES:
                message = (
                    f"the {_said(key)} of '{name}' has {file.size_bytes} bytes, more than the "
                    f"{format_size(MODULE_WINDOW_BYTES)} that a boot module has room for"
                )
                yield context.find("VT713", message, ("domains", name, key))


@rule(
    "VT429",
    what="firmware cannot start a kernel",
    why="UEFI starts EFI programs alone, which an arm64 kernel or Xen is when it was built with the EFI stub.",
    example="a kernel without CONFIG_EFI_STUB on a board with systemd-boot",
    fix="Build it with the EFI stub.",
)
def firmware_starts_it(context: Context) -> Iterator[Diagnostic]:
    """What UEFI firmware starts is an EFI program: the kernel under KVM, the hypervisor under Xen."""
    for board, loaded in context.facts.items():
        if not isinstance(loaded.facts.boot, SystemdBoot):
            continue
        hypervisor = context.topology.boards[board].hypervisor
        for name, domain in context.domains_on(board):
            if domain.role is not Role.CONTROL:
                continue
            path: KeyPath = ("domains", name, "kernel")
            file, what = context.kernel_file(name), f"the kernel of '{name}'"
            if isinstance(hypervisor, Xen):
                file, what = context.files.get(("image", hypervisor.image)), f"the Xen of '{board}'"
                path = ("boards", board, "hypervisor", "image")
            if file is not None and not file.efi:
                message = f"{what} is not an EFI program, and the firmware of board '{board}' starts nothing else"
                label = Label(loaded.document.span(("boot", "loader")), "it boots by UEFI, so its facts say")
                yield context.find("VT429", message, path, labels=(label,))
