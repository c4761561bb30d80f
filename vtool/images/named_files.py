"""The files that a topology names for its domains: read once each, and refused where they are not what is wanted.

Of vtool's own images it is known what they are before they are built. Enter at ``files_of``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from vtool.diagnostics import Diagnostic
from vtool.files.boot_files import BootFile, look_at
from vtool.files.kernel_image import options_in
from vtool.files.kinds import Found, Kind
from vtool.files.regular import reason_of
from vtool.images import KERNEL_BYTES, KERNEL_RELEASES, PREFIX, RAMDISKS, kernel_fragment
from vtool.model.partial import Unsound, known
from vtool.model.topology import OF_THE_BOARD, Topology, Xen
from vtool.reading.source import Document

WANTED: Mapping[str, tuple[Kind, ...]] = {
    # An ELF file is one to QEMU alone: VT488.
    "kernel": (Kind.KERNEL, Kind.PROGRAM),
    # Whether an unknown one is none is not known: VT426 warns.
    "ramdisk": (Kind.RAMDISK, Kind.FILE_SYSTEM, Kind.PACKED, Kind.UNKNOWN),
    "device_tree": (Kind.DEVICE_TREE,),
    "image": (Kind.XEN,),
    "config": (Kind.CONFIGURATION,),
    "qemu_image": (Kind.PROGRAM,),
    "xsm_policy": (Kind.POLICY,),
}
"""By the key that names it, what a file may be."""
_IN_WORDS = {
    "kernel": "an arm64 kernel, as it is or packed by gzip",
    "image": "a Xen hypervisor for arm64, as it is or packed by gzip",
    "ramdisk": "a ramdisk",
    "device_tree": "a compiled device tree",
    "config": "the .config file of a Xen",
    "qemu_image": "a program for arm64",
    "xsm_policy": "a compiled policy of FLASK",
}
_UNPACKED_BY_ALL = (None, "gzip")
"""QEMU, Xen, xl and vtool's staging unpack a kernel that gzip packed, and no other."""


def why_unfit(key: str, file: BootFile) -> str | None:
    """Return why a file cannot stand for a key, in words; None when it can."""
    fits = file.kind in WANTED[key]
    if key == "image" and file.kind is Kind.KERNEL:  # by its header alone a Xen is a kernel, too
        fits = not file.is_linux
    if fits and key in ("kernel", "image") and file.what.packer not in _UNPACKED_BY_ALL:
        fits = False
    if fits and key == "config" and "Linux" in file.what.words:
        fits = False
    return None if fits else f"it is {file.what.words}, not {_IN_WORDS[key]}"


def files_of(document: Document, topology: Topology) -> tuple[dict[tuple[str, str], BootFile], list[Diagnostic]]:
    """Return what each file is that domains name, by key and reference, and what cannot be used (VT505)."""
    found: dict[tuple[str, str], BootFile] = {}
    findings: list[Diagnostic] = []
    look = functools.cache(look_at)
    fit = functools.cache(functools.partial(fit_file, document, look=look))  # many domains have the same
    for name, key, reference in _named(topology):
        file, fault = fit(key, reference)
        if file is not None:
            found[key, reference] = file
        if fault is not None:
            own = reference.startswith(PREFIX)
            whole = fault.message if own else f"{key} '{reference}' of domain '{name}' cannot be used: {fault.message}"
            findings.append(Diagnostic("VT505", whole, document.span(("domains", name, key)), hints=fault.hints))
    for board in known(topology.boards).values():
        with suppress(Unsound):
            image = board.hypervisor.image if isinstance(board.hypervisor, Xen) else PREFIX
            if not image.startswith(PREFIX):
                file, _ = fit("image", image)  # what is wrong with it is said by xens_of
                found |= {("image", image): file} if file else {}
    return found, findings


def _named(topology: Topology) -> Iterator[tuple[str, str, str]]:
    for name, domain in known(topology.domains).items():
        for key in ("kernel", "ramdisk", "device_tree"):
            with suppress(Unsound):
                reference = getattr(domain, key)
                if reference is not None and (key == "device_tree" or reference != OF_THE_BOARD):
                    yield name, key, reference


def fit_file(
    document: Document, key: str, reference: str, look: Callable[[Path], BootFile] = look_at
) -> tuple[BootFile | None, Diagnostic | None]:
    """Return what a reference stands for, if that is what its key wants; else why not, with hints, in a finding."""
    try:
        file = own_file(key, reference) if reference.startswith(PREFIX) else look(document.path.parent / reference)
    except LookupError as error:
        return None, Diagnostic("VT505", error.args[0], hints=(f"there are: {error.args[1]}",))
    except OSError as error:
        return None, Diagnostic("VT505", reason_of(error))
    fault = why_unfit(key, file)
    if fault is None:
        return file, None
    return None, Diagnostic("VT505", fault, hints=file.what.hints(*WANTED[key]))


def own_file(key: str, reference: str) -> BootFile:
    """Return what is known of an image of vtool's own. LookupError with those there are where it is no such one."""
    name = reference.removeprefix(PREFIX)
    if key == "kernel" and name in KERNEL_RELEASES:
        size, image_size = KERNEL_BYTES.get(name, (None, None))
        what, options = Found(Kind.KERNEL, Kind.KERNEL.value), options_in(kernel_fragment(name))
        return BootFile(what, reference, size, image_size=image_size, is_linux=True, efi=True, options=options)
    if key == "ramdisk" and name in RAMDISKS:
        return BootFile(Found(Kind.RAMDISK, Kind.RAMDISK.value, "gzip"), reference, *RAMDISKS[name])
    there_are = {"kernel": KERNEL_RELEASES, "ramdisk": RAMDISKS}.get(key, ())
    known = ", ".join(PREFIX + each for each in there_are) or "none"
    raise LookupError(f"'{reference}' is not a {key.replace('_', ' ')} that vtool builds", known)
