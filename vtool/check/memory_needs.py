"""Rules on how much memory is needed: by what a domain boots, and by who gives the memory out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vtool.base.units import KIB, MIB, align_up, format_size
from vtool.check.context import Context
from vtool.check.shares import Share
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.files.boot_files import BootFile
from vtool.files.kinds import Kind
from vtool.model.topology import Domain, Kvm, Role
from vtool.platform.layouts import qemu_kernel_end, qemu_tree_end

LINUX_OWN_BYTES = 8 * MIB
"""What Linux takes for itself until its init runs, beside what the image says; a smaller kernel as much as its image.

Measured: Linux 6.12 of 9.6 MiB with a ramdisk of 1.3 MiB, 2.6 MiB unpacked, panics for want of memory with 21 MiB and
runs with 22 MiB.
"""
HOST_SYSTEM_BYTES = 128 * MIB
"""A small Debian as a host: kernel, systemd, sshd."""
QEMU_BYTES = 16 * MIB
"""What a QEMU takes beside its guest's memory."""
XEN_BYTES = 16 * MIB
"""Xen itself, with its heap for a few domains."""
_PAGES_OF_ALL = 64
"""Of every 4 KiB page Linux keeps 64 bytes (struct page), Xen 56 (struct page_info)."""


@rule(
    "VT421",
    what="a domain has less memory than what it boots",
    why=(
        "Kernel, ramdisk, what that unpacks to and Linux itself have to be in it at once; else it panics or is never "
        "started."
    ),
    example="memory: 16MiB for a kernel of 10 MiB and a ramdisk of 1 MiB that unpacks to 3 MiB",
    fix="Give it the minimum in the hint and what it is to run, or use a smaller kernel and ramdisk.",
)
def memory_holds_what_boots(context: Context) -> Iterator[Diagnostic]:
    """A domain's memory holds its kernel, its ramdisk, and what they become."""
    for name, domain in context.topology.domains.items():
        hypervisor, kernel = context.hypervisor_of(name), context.kernel_file(name)
        if domain.memory is None or hypervisor is None or kernel is None or kernel.image_size is None:
            continue
        ramdisk = context.ramdisk_file(name)
        needs = needs_to_boot(domain, kernel, ramdisk)
        least = align_up(sum(needs.values()), MIB)
        if isinstance(hypervisor, Kvm) and not _has_pools(context, name):  # of those VT350 says it
            least = max(least, _least_for_qemu(kernel, _size(ramdisk)))
        if domain.memory < least:
            message = f"domain '{name}' cannot run in {format_size(domain.memory)}: it needs {told(needs)}"
            labels = [
                Label(context.span("domains", name, key), f"this {key}: {file.source}")
                for key, file in (("kernel", kernel), ("ramdisk", ramdisk))
                if key in domain.model_fields_set and file is not None
            ]
            hint = f"{format_size(least)} is the minimum; what it is to run comes on top"
            yield context.find("VT421", message, ("domains", name, "memory"), labels=tuple(labels), hints=(hint,))


def needs_to_boot(domain: Domain, kernel: BootFile, ramdisk: BootFile | None) -> Mapping[str, int]:
    """Return what has to be in memory at once, in bytes, with a kernel whose header says how large it is."""
    assert kernel.image_size is not None
    needs = {"for the kernel": kernel.image_size}
    own = min(kernel.image_size, LINUX_OWN_BYTES) if kernel.is_linux else 0
    if ramdisk is not None and ramdisk.size_bytes:
        needs["for the ramdisk"] = ramdisk.size_bytes
        if kernel.is_linux and ramdisk.kind is Kind.RAMDISK and ramdisk.unpacked_bytes:
            needs["for what it unpacks to"] = ramdisk.unpacked_bytes
            if (kernel.options or {}).get("TMPFS") == "y" and "root=" not in domain.bootargs:
                # It is unpacked into a tmpfs, which takes at most half of what is free (Linux init/do_mounts.c).
                own = max(own, ramdisk.unpacked_bytes)
    if own:
        needs["for Linux itself while it starts"] = own
    return needs


def _least_for_qemu(kernel: BootFile, ramdisk_bytes: int) -> int:
    """Return the least memory in which QEMU places kernel, ramdisk and device tree."""
    assert kernel.image_size is not None
    end = qemu_kernel_end(kernel.text_offset, kernel.image_size)
    memory = align_up(end, MIB)
    while qemu_tree_end(memory, end, ramdisk_bytes) > memory:
        memory += MIB
    return memory


def _size(file: BootFile | None) -> int:
    return (file.size_bytes or 0) if file else 0


def _has_pools(context: Context, name: str) -> bool:
    return any(True for _ in context.lookup.pools_of(name))


def _about(size: int) -> str:
    return f"{size / MIB:.1f}MiB"


def told(needs: Mapping[str, int]) -> str:
    """Return needs as words."""
    return ", ".join(f"{_about(size)} {what}" for what, size in needs.items() if size)


@rule(
    "VT422",
    what="a board has too little left beside its domains",
    why="The host's system, each QEMU, Xen and page tables need memory that no domain names.",
    example="a guest of 3956MiB on a board with 3956MiB of RAM",
    fix="Make domains or regions smaller by what the hint says.",
)
def something_is_left(context: Context) -> Iterator[Diagnostic]:
    """Beside what its domains and regions take, a board has what its hypervisor and host need themselves."""
    for board, loaded in context.facts.items():
        domains = dict(context.domains_on(board))
        kept = sum(carve.size for carve in loaded.facts.carve_outs if carve.no_map)
        ram = sum(bank.size for bank in loaded.facts.ram)
        asked = asked_of(context, board)
        needs = needs_of_board(context, board, ram)
        left = ram - kept - asked
        askers = {name: domain.memory for name, domain in domains.items() if domain.memory}  # dom0 is one, too
        if asked > ram or left >= sum(needs.values()) or not askers:
            continue  # VT406 says it, or there is enough
        largest = max(askers, key=lambda name: askers[name])
        message = (
            f"board '{board}' has {_about(left) if left > 0 else 'nothing'} left beside its domains and regions, and "
            f"needs {told(needs)}"
        )
        label = Label(loaded.document.span(("ram",), key=True), f"its RAM, {format_size(ram)}, is here")
        over = align_up(sum(needs.values()) - left, MIB)
        hint = f"give its domains {format_size(over)} less"
        path = ("domains", largest, "memory")
        yield context.find("VT422", message, path, labels=(label,), hints=(hint,))


def asked_shares(context: Context, board: str) -> list[Share]:
    """Return the bytes that each domain and region of a board asks for; a region without owner is Xen's."""
    domains = dict(context.domains_on(board))
    shares = [Share(f"'{n}'", d.memory or 0, ("domains", n, "memory")) for n, d in domains.items()]
    regions = context.lookup.regions_on[board].items()
    mine = ((n, region) for n, region in regions if region.owner is None or region.owner in domains)
    return [*shares, *(Share(f"region '{n}'", region.size, ("regions", n, "size")) for n, region in mine)]


def asked_of(context: Context, board: str) -> int:
    """Return the bytes that the domains and regions of a board ask for."""
    return sum(share.amount for share in asked_shares(context, board))


def needs_of_board(context: Context, board: str, ram: int) -> Mapping[str, int]:
    """Return what a board's hypervisor and host need of so many bytes of RAM, beside what is asked for."""
    domains = context.domains_on(board)
    guests = {name: domain for name, domain in domains if domain.role is Role.GUEST and domain.memory}
    table = ram // _PAGES_OF_ALL
    if isinstance(context.topology.boards[board].hypervisor, Kvm):
        return {
            "for Linux's table of pages": table,
            "for the host's system": HOST_SYSTEM_BYTES,
            f"for QEMU ({len(guests)} guest{'' if len(guests) == 1 else 's'})": QEMU_BYTES * len(guests),
        }
    # libxl_get_required_shadow_memory: 1 MiB a vCPU and 8 KiB a MiB, for the table of a guest's pages.
    tables = sum(domain.cpus * MIB + (domain.memory or 0) // MIB * 8 * KIB for domain in guests.values())
    return {"for Xen": XEN_BYTES, "for its table of pages": table, "for its guests' tables": tables}
