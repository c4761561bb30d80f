"""Rules on how a control domain starts: from its root file system, which its kernel or its ramdisk finds."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vtool.check.context import Context
from vtool.check.roots import FILE_SYSTEMS, NEEDS_A_RAMDISK
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.board_facts import Boot
from vtool.model.topology import Domain, Role

_DRIVERS = {
    "/dev/vd[a-z]": "VIRTIO_BLK",
    "/dev/mmcblk[0-9]": "MMC_BLOCK",
    "/dev/nvme[0-9]": "BLK_DEV_NVME",
    "/dev/sd[a-z]": "BLK_DEV_SD",
    "/dev/nfs": "ROOT_NFS",
}


@rule(
    "VT454",
    what="a control domain's kernel cannot mount the board's root file system without a ramdisk",
    why=(
        "Modules lie on the file system that they are needed for, and names such as UUID= are looked up by a ramdisk; "
        "without one Linux waits or panics."
    ),
    example="a kernel with CONFIG_EXT4_FS=m and no `ramdisk`, or root_device: UUID=... in the board's facts",
    fix="Name the ramdisk that was made for that kernel, build the drivers in, or take `kernel: board`.",
)
def roots_of_control_domains_are_mounted(context: Context) -> Iterator[Diagnostic]:
    """A control domain finds its root file system: by drivers in its kernel, or by its ramdisk."""
    for board, loaded in context.facts.items():
        boot = loaded.facts.boot
        for name, domain in context.domains_on(board) if boot is not None else ():
            if boot is None or domain.role is not Role.CONTROL or domain.ramdisk_named is not None:
                continue
            why = _why_not_mounted(context, domain, boot)
            if why is not None:
                said = "kernel" in domain.model_fields_set
                path = ("domains", name, "kernel") if said else ("domains", name)
                key = "root_filesystem" if "root_filesystem" in why else "root_device"
                label = Label(loaded.document.span(("boot", key)), "the root file system is there")
                message = f"the kernel of '{name}' cannot mount its root file system without a ramdisk: {why}"
                hint = "name the `ramdisk` that was made for this kernel, or take `kernel: board` with the board's own"
                yield context.find("VT454", message, path, key=not said, labels=(label,), hints=(hint,))


def _why_not_mounted(context: Context, domain: Domain, boot: Boot) -> str | None:
    if boot.root_device.startswith(NEEDS_A_RAMDISK):
        return f"a ramdisk alone finds `root_device: {boot.root_device}`"
    kernel = context.kernels.get(domain.kernel)
    if kernel is None:
        return None
    device = next((option for names, option in _DRIVERS.items() if re.match(names, boot.root_device)), None)
    wanted = {f"root_device: {boot.root_device}": device}
    wanted[f"root_filesystem: {boot.root_filesystem}"] = FILE_SYSTEMS.get(boot.root_filesystem)
    for what, option in wanted.items():
        if option is not None and kernel.options.get(option) == "m":
            return f"CONFIG_{option} is a module of {kernel.source}, and `{what}` needs it"
    return None
