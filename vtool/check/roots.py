"""Rules on what a guest runs: a ramdisk, or a root file system that is there under the name that it is given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Severity
from vtool.diagnostics.codes import rule
from vtool.files.boot_files import BootFile
from vtool.model.combinations import combination_of
from vtool.model.devices import Device
from vtool.model.places import disk_names
from vtool.model.topology import DRIVER_DOMAIN_RAMDISK, OWN_RAMDISKS, Role

_DISK = re.compile(r"/dev/(xvd|vd|sd)[a-z]")
NEEDS_A_RAMDISK = ("UUID=", "LABEL=", "/dev/disk/", "/dev/mapper/")
"""Of names Linux itself finds devices, partition UUIDs and partition labels (Linux 6.12 block/early-lookup.c)."""
FILE_SYSTEMS = {"ext4": "EXT4_FS", "ext3": "EXT4_FS", "btrfs": "BTRFS_FS", "xfs": "XFS_FS", "f2fs": "F2FS_FS"}


@rule(
    "VT423",
    what="a guest has nothing to run (warning)",
    why="Linux mounts a root file system or unpacks a ramdisk; without either it panics.",
    example="a guest without ramdisk and without a disk",
    fix="Give it a ramdisk, or a disk and root= in its bootargs.",
)
def guests_have_something_to_run(context: Context) -> Iterator[Diagnostic]:
    """A guest has a ramdisk or a root file system."""
    for name, domain in context.topology.domains.items():
        kernel = context.kernel_file(name)
        if domain.role is not Role.GUEST or domain.ramdisk is not None or not _wants_a_root(kernel):
            continue
        if domain.passthrough or _has_one(context, name):
            continue
        message = f"guest '{name}' has nothing to run: no ramdisk, and no device that can hold a root file system"
        if kernel is not None and kernel.options is None:
            message += ", unless its kernel carries a ramdisk"
        hint = "Linux panics without one: give it a `ramdisk`, or a disk and `root=` in its `bootargs`"
        yield context.find("VT423", message, ("domains", name), key=True, hints=(hint,), severity=Severity.WARNING)


@rule(
    "VT424",
    what="there is no root file system under the name that is given (warning)",
    why="Linux waits for it or panics; names such as UUID= only a ramdisk can look up.",
    example="bootargs: root=/dev/vdb for a guest with one disk",
    fix="Name what the hint says, or add the disk.",
)
def roots_are_there(context: Context) -> Iterator[Diagnostic]:
    """The root file system that a guest's command line names is one that it has."""
    for name, domain in context.topology.domains.items():
        kernel = context.kernel_file(name)
        own = domain.ramdisk in (*OWN_RAMDISKS, DRIVER_DOMAIN_RAMDISK)  # which look for no root
        if domain.role is not Role.GUEST or own or domain.passthrough or not _wants_a_root(kernel):
            continue
        why = _why_not_found(context, name, built_in=(kernel.options or {}).get("CMDLINE", "") if kernel else "")
        if why is not None:
            message = f"the command line of '{name}' {why}"
            said = "bootargs" in domain.model_fields_set
            path = ("domains", name, "bootargs") if said else ("domains", name)
            hints = _what_there_is(context, name)
            yield context.find("VT424", message, path, key=not said, hints=hints, severity=Severity.WARNING)


@rule(
    "VT530",
    what="a guest's kernel cannot mount its root file system without a ramdisk",
    why="The driver is a module, which lies on the file system that it is needed for: Linux panics.",
    example="Debian's kernel for a guest with root=/dev/vda1 and no `ramdisk`",
    fix="Name the ramdisk that was made for that kernel, or build the driver in.",
)
def roots_are_mounted_without_a_ramdisk(context: Context) -> Iterator[Diagnostic]:
    """What a guest without a ramdisk mounts its root file system by is in its kernel."""
    for name, domain in context.topology.domains.items():
        kernel = context.kernels.get(domain.kernel)
        modules = [option for option in of_root(context, name) if kernel and kernel.options.get(option) == "m"]
        if kernel is None or not modules:
            continue
        said = "kernel" in domain.model_fields_set
        message = (
            f"the kernel of '{name}' ({kernel.source}) has CONFIG_{' and CONFIG_'.join(modules)} as a module, and "
            f"without a ramdisk nothing loads that before '{_root_of(domain.bootargs)}' is mounted"
        )
        path = ("domains", name, "kernel") if said else ("domains", name)
        hint = "name the `ramdisk` that was made for this kernel"
        yield context.find("VT530", message, path, key=not said, hints=(hint,))


def of_root(context: Context, name: str) -> tuple[str, ...]:
    """Return the options that a guest without a ramdisk needs for the root file system on one of its disks."""
    domain, hypervisor = context.topology.domains[name], context.hypervisor_of(name)
    if domain.role is not Role.GUEST or domain.ramdisk is not None or domain.boots_itself or hypervisor is None:
        return ()
    kernel = context.kernels.get(domain.kernel)
    named = _DISK.match(_root_of(domain.bootargs) or "")
    disk = _disks(context, name).get(named[0]) if named else None
    row = combination_of(hypervisor.kind, disk) if disk is not None else None
    if disk is None or row is None or (kernel and kernel.options.get("INITRAMFS_SOURCE")):
        return ()
    file_system = FILE_SYSTEMS.get(_last_word(domain.bootargs, "rootfstype=") or "")
    return tuple(dict.fromkeys((*row.kernel, *disk.driver_options(), *filter(None, (file_system,)))))


def _why_not_found(context: Context, name: str, *, built_in: str) -> str | None:
    domain = context.topology.domains[name]
    root = _root_of(domain.bootargs)
    if root is None:
        finds_one = domain.ramdisk is not None or _root_of(built_in) or not _has_one(context, name)
        return None if finds_one else "names no root file system (`root=`), and it has no ramdisk that finds one"
    if domain.ramdisk is None and root.startswith(NEEDS_A_RAMDISK):
        return f"names '{root}', which a ramdisk alone can find"
    return f"names '{root}', which it does not have" if _lacks(context, name, root) else None


def _wants_a_root(kernel: BootFile | None) -> bool:
    """Whether a kernel is a Linux that carries no ramdisk, as far as it tells."""
    return kernel is not None and kernel.is_linux and not (kernel.options or {}).get("INITRAMFS_SOURCE")


def _root_of(words: str) -> str | None:
    return _last_word(words, "root=")


def _last_word(words: str, name: str) -> str | None:
    return next((word.removeprefix(name) for word in reversed(words.split()) if word.startswith(name)), None)


def _disks(context: Context, name: str) -> Mapping[str, Device]:
    """Return the disks that may hold a guest's root, by the names that its Linux gives them."""
    return disk_names(name, context.lookup.devices_of[name].values())


def _others(context: Context, name: str) -> set[str]:
    """Return what else may hold a guest's root: shares, and interfaces for NFS."""
    by_nfs = "nfs" in (_root_of(context.topology.domains[name].bootargs) or "")
    wanted = ("fs", "net") if by_nfs else ("fs",)
    mine = (device for device in context.lookup.devices_of[name].values() if device.frontend == name)
    # Of a ring's link a program in the guest is the driver.
    return {device.root_kind() for device in mine if not device.data_path.traits.carries_data} & set(wanted)


def _has_one(context: Context, name: str) -> bool:
    return bool(_disks(context, name) or _others(context, name))


def _lacks(context: Context, name: str, root: str) -> bool:
    """Whether a root is named that a guest surely does not have."""
    disk = _DISK.match(root)
    if disk is not None:
        return not {disk[0], root} & _disks(context, name).keys()
    if root.startswith(("/dev/nfs", "nfs:")):
        return "net" not in _others(context, name)
    return root.startswith(("/dev/mmcblk", "/dev/nvme"))  # which no device of vtool's is


def _what_there_is(context: Context, name: str) -> tuple[str, ...]:
    disks = _disks(context, name)
    return (f"it has {', '.join(disks)}",) if disks else ("it has no disk",)
