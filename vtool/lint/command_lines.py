"""Rules on Linux's command line in ``/chosen``: it leaves the kernel what the tree sets aside."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import first_bytes, format_size, joined
from vtool.diagnostics.codes import rule
from vtool.lint.context import POOL, Context, Kind, ranges
from vtool.lint.finding import Finding
from vtool.lint.regions import CMA
from vtool.platform.command_lines import last, linux_words, number_of


@rule(
    "VT362",
    what="mem= on the command line leaves a pool without memory",
    why="Linux uses that much RAM, from the bottom up, and maps nothing beyond it.",
    example='bootargs = "mem=64M" and a restricted-dma-pool 256 MiB above the base of RAM',
    fix="Leave mem= out, or move the pool below.",
)
def memory_is_not_cut(context: Context) -> Iterator[Finding]:
    """With ``mem=`` Linux keeps so much RAM from the bottom on, and a pool behind it has no linear mapping.

    Linux mm/memblock.c memblock_mem_limit_remove_map, arch/arm64/mm/init.c; what is ``no-map`` stays as it is.
    """
    chosen = context.chosen
    if chosen is None or context.kind is not Kind.LINUX or not context.memory:
        return
    word = last(linux_words(chosen.string("bootargs")), "mem")
    limit = number_of(word.value) if word else None
    if word is None or not limit:
        return
    kept = first_bytes(context.memory, limit)
    for node in context.reserved:
        pool = POOL in node.compatible or (CMA in node.compatible and "no-map" not in node.values)
        for where in joined(ranges(node)) if pool else ():
            if not any(part.contains(where) for part in kept) and not context.outside_memory(where):
                message = f"`{word.text}` keeps {format_size(limit)} of RAM, up to {kept[-1].end:#x}: the pool {where} "
                yield Finding("VT362", chosen, f"{message}'{node.path}' lies behind", "bootargs", (node,))
