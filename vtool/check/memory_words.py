"""Rules on words of a kernel's command line that take memory: what is planned still has what it needs."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import MIB, PAGE_BYTES, first_bytes, format_size, free_ranges
from vtool.check.alignment import page_bytes
from vtool.check.command_lines import at_word
from vtool.check.context import Context
from vtool.check.memory_needs import asked_of, needs_of_board, needs_to_boot, told
from vtool.diagnostics import Diagnostic, Severity
from vtool.diagnostics.codes import rule
from vtool.model.topology import POOL_USES, Domain, Kvm, Role
from vtool.platform.command_lines import Word, last, linux_words, number_of
from vtool.reading.source import KeyPath

_LEAVE_OUT = "leave it out: `memory` says how much a domain has"


@rule("VT356")
def memory_is_not_cut(context: Context) -> Iterator[Diagnostic]:
    """A kernel uses the memory that its domain has, at least what it needs and as far as its regions reach."""
    for name, domain in context.topology.domains.items():
        words, path = linux_words(domain.bootargs), ("domains", name, "bootargs")
        if (unknown := last(words, "memmap")) is not None:
            message = f"`{unknown.text}` has no effect: Linux on arm64 knows no `memmap`"
            yield at_word(context, "VT356", message, path, unknown, severity=Severity.WARNING)
        word = last(words, "mem")
        if word is None:
            continue
        # Linux arch/arm64/mm/init.c early_mem; a limit of 0 is none (mm/memblock.c memblock_mem_limit_remove_map).
        limit = (number_of(word.value) or 0) // PAGE_BYTES * PAGE_BYTES
        if not limit:
            message = f"`{word.text}` has no effect: Linux reads no size of a page or more there, and sets no limit"
            yield at_word(context, "VT356", message, path, word, severity=Severity.WARNING)
            continue
        behind = _regions_behind(context, name, domain)
        has = _memory_of(context, name, domain)
        if has is None or limit >= has + sum(behind.values()):
            continue
        why = _too_little(context, name, limit)
        if behind:
            message = (
                f"`{word.text}` cuts the memory of '{name}' at {format_size(limit)}; its region '{min(behind)}' lies "
                f"behind {format_size(has)}"
            )
            yield at_word(context, "VT356", message, path, word, hints=(_LEAVE_OUT,))
        elif why is not None:
            hint = "leave it out" if domain.memory is None else _LEAVE_OUT
            yield at_word(context, "VT356", f"`{word.text}` leaves {why[0]}", path, word, hints=(hint,))
        elif not _is_host(context, name):
            what = "the board's RAM" if domain.memory is None else f"the memory of '{name}'"
            message = f"`{word.text}` leaves {format_size(has - limit)} of {what} unused"
            yield at_word(context, "VT356", message, path, word, hints=(_LEAVE_OUT,), severity=Severity.WARNING)


@rule("VT356")
def huge_pages_leave_memory(context: Context) -> Iterator[Diagnostic]:
    """Pages that Linux sets aside at boot leave what is planned the memory that it needs.

    Linux takes as many of them as it gets, and gives them to nobody who does not ask for huge pages
    (mm/hugetlb.c hugetlb_hstate_alloc_pages); what vtool starts does not, but for guests with `hugepages`.
    """
    for name, domain in context.topology.domains.items():
        path: KeyPath = ("domains", name, "bootargs")
        words, kernel = linux_words(domain.bootargs), context.kernels.get(domain.kernel)
        if domain.boots_itself:
            continue
        has, word = _memory_of(context, name, domain), last(words, "hugepages")
        if has is None or word is None:
            continue
        if kernel is not None and kernel.options.get("HUGETLBFS") != "y":
            message = f"`{word.text}` has no effect: the kernel of '{name}' is built without HUGETLBFS"
            yield at_word(context, "VT356", message, path, word, severity=Severity.WARNING)
            continue
        page = page_bytes(kernel) if kernel is not None else PAGE_BYTES
        taken = _huge_pages(words, page * page // 8)
        if _is_host(context, name):
            guests = (guest for _, guest in context.domains_on(context.board_of[name]))
            taken = max(0, taken - sum(guest.memory or 0 for guest in guests if guest.under_kvm.hugepages))
        if not taken:
            continue
        found = _too_little(context, name, has, taken=taken)
        if found is not None:
            why, lacking = found
            message = f"`{word.text}` sets {format_size(taken)} aside, and leaves {why}"
            most = max(0, taken - lacking) // MIB * MIB
            hint = f"leave it out, or set {format_size(most)} aside at most" if most else "leave it out"
            yield at_word(context, "VT356", message, path, word, hints=(hint,))


def _huge_pages(words: tuple[Word, ...], default: int) -> int:
    """Return the bytes that ``hugepages=`` sets aside: of the size said last, one of them each (mm/hugetlb.c)."""
    taken: dict[int, int] = {}
    said = last(words, "default_hugepagesz")
    size = default = (number_of(said.value) if said else None) or default
    for word in words:
        if word.name in ("hugepagesz", "default_hugepagesz"):
            size = number_of(word.value) or default
        elif word.name == "hugepages":
            counts = [part.rpartition(":")[2] for part in word.value.split(",")]  # as NODE:NUMBER, or one number
            taken[size] = size * sum(int(count) for count in counts if count.isascii() and count.isdigit())
    return sum(taken.values())


def _too_little(context: Context, name: str, has: int, *, taken: int = 0) -> tuple[str, int] | None:
    """Return why the first ``has`` bytes of memory, without ``taken``, are too little for what a domain does.

    And how many bytes are lacking.
    """
    domain, left = context.topology.domains[name], max(0, has - taken)
    if _is_host(context, name):
        board = context.board_of[name]
        asked = asked_of(context, board)
        needs = {"for its guests and regions": asked, **needs_of_board(context, board, has)}
        if kept := _kept(context, board, has):
            needs["for what nobody may use"] = kept
        if not asked or left >= sum(needs.values()):
            return None
        lacking = sum(needs.values()) - left
        return f"'{name}' {format_size(left)} of the RAM, and board '{board}' needs {told(needs)}", lacking
    kernel, ramdisk = context.kernel_file(name), context.ramdisk_file(name)
    if kernel is None or kernel.image_size is None:
        return None if left else (f"'{name}' nothing", taken)
    boots = needs_to_boot(domain, kernel, ramdisk)
    # Behind a limit Linux still uses what its image and ramdisk lie in (arch/arm64/mm/init.c arm64_memblock_init).
    beyond = 0 if taken else kernel.image_size + ((ramdisk.size_bytes or 0) if ramdisk else 0)
    if left + beyond >= sum(boots.values()):
        return None
    lacking = sum(boots.values()) - left - beyond
    return f"'{name}' {format_size(left) if left else 'nothing'}, and it needs {told(boots)}", lacking


def _is_host(context: Context, name: str) -> bool:
    domain = context.topology.domains[name]
    return domain.role is Role.CONTROL and isinstance(context.hypervisor_of(name), Kvm)


def _kept(context: Context, board: str, has: int) -> int:
    """Return what carve-outs take, that Linux may not use, of the first ``has`` bytes of a board's RAM."""
    if board not in context.facts:
        return 0
    facts = context.facts[board].facts
    first = first_bytes(sorted((bank.range for bank in facts.ram), key=lambda bank: bank.base), has)
    free = free_ranges(first, (carve.range for carve in facts.carve_outs if carve.no_map))
    return sum(part.size_bytes for part in first) - sum(part.size_bytes for part in free)


def _memory_of(context: Context, name: str, domain: Domain) -> int | None:
    if domain.memory is None and name in context.board_of and context.board_of[name] in context.facts:
        return sum(bank.size for bank in context.facts[context.board_of[name]].facts.ram)
    return domain.memory


def _regions_behind(context: Context, name: str, domain: Domain) -> dict[str, int]:
    """Return the regions of a guest that Linux finds behind its own memory, with their sizes."""
    if domain.role is not Role.GUEST:
        return {}
    kvm = isinstance(context.hypervisor_of(name), Kvm)
    return {
        region_name: region.size
        for region_name, region in context.lookup.regions_of[name].items()
        if (region.owner == name and region.use in POOL_USES if kvm else context.is_static_shared(region))
    }
