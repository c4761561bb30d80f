"""Rules on guests that are no Linux: an RTOS, a program without an operating system."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Severity
from vtool.diagnostics.codes import rule
from vtool.files.kinds import Kind
from vtool.model.topology import Kvm, Role


@rule(
    "VT484",
    what="what a guest says when it is up is not known (warning)",
    why="A guest is waited for until it says its `ready` text: left out, that is what vtool's own guest says.",
    example="a guest with the kernel zephyr.bin, no `ready` and no `access`",
    fix="Say it with `ready`; with access: none and no `ready` nothing is waited for.",
)
def what_is_waited_for_is_said(context: Context) -> Iterator[Diagnostic]:
    """A guest that is no Linux has a text of its own, or none."""
    for name, domain in context.topology.domains.items():
        kernel = context.kernel_file(name)
        if domain.role is not Role.GUEST or kernel is None or kernel.is_linux or domain.ramdisk is not None:
            continue
        known = kernel.kind in (Kind.KERNEL, Kind.PROGRAM)
        if known and "ready" not in domain.model_fields_set and domain.says_when_ready:
            message = f"'{name}' is no Linux, and is waited for until its console says '{domain.says_when_ready}'"
            hint = "say with `ready` what it prints; `access: none` without `ready` waits for nothing"
            path = ("domains", name)
            yield context.find("VT484", message, path, key=True, hints=(hint,), severity=Severity.WARNING)


@rule(
    "VT488",
    what="an ELF file cannot be started as a kernel",
    why="QEMU alone loads ELF files, at the addresses in them; those of Linux's vmlinux only its page tables make.",
    example="kernel: zephyr.elf of a guest of Xen",
    fix="Take what has an image's header: Linux's arch/arm64/boot/Image, zephyr.bin with ARM64_IMAGE_HEADER.",
)
def programs_are_started_by_qemu(context: Context) -> Iterator[Diagnostic]:
    """An ELF file is the kernel of a KVM guest, and is not Linux."""
    for name, domain in context.topology.domains.items():
        kernel = context.kernel_file(name)
        if kernel is None or kernel.kind is not Kind.PROGRAM:
            continue
        is_board = domain.role is Role.CONTROL
        by_qemu = not is_board and isinstance(context.hypervisor_of(name), Kvm)
        if by_qemu and not kernel.is_linux:
            continue
        who = "the board's loader" if is_board else "QEMU" if by_qemu else "Xen"
        what = f"{kernel.what.words}{' (vmlinux)' * kernel.is_linux}"
        message = f"the kernel of '{name}' is {what}, which {who} cannot start"
        linux, other = kernel.what.hint or "", "take what `objcopy -O binary` makes of it, with an image's header"
        hint = linux if is_board or kernel.is_linux else other
        yield context.find("VT488", message, ("domains", name, "kernel"), hints=(hint,))
