"""Rules on RAM and on what is in it when Linux or Xen starts: memory nodes, the ramdisk, reservations out of place."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.diagnostics import Severity
from vtool.diagnostics.codes import rule
from vtool.lint.context import Context, ranges
from vtool.lint.finding import Finding
from vtool.lint.regions import initrd, initrd_ends
from vtool.platform.devicetree import Node

WARNING = Severity.WARNING
RESERVED = "reserved-memory"
_START, _END = "linux,initrd-start", "linux,initrd-end"


@rule(
    "VT908",
    what="the same RAM is stated twice",
    why="Linux counts it once, or gives up NUMA; the boot allocator of Xen stops at it.",
    example="memory@40000000 of 1 GiB beside memory@60000000",
    fix="Correct the reg of one.",
)
def memory_is_said_once(context: Context) -> Iterator[Finding]:
    """No two ranges of RAM overlap."""
    seen: list[tuple[Node, int, int]] = []
    for node in context.memory_nodes:
        for where in ranges(node):
            for other, base, end in seen:
                if where.base < end and base < where.end:
                    message = f"{where} overlaps RAM [{base:#x}, {end:#x})"
                    message += "" if other is node else f" of '{other.path}'"
                    effect, severity = _of_twice(context, node, other)
                    others = () if other is node else (other,)
                    yield Finding("VT908", node, f"{message}: {effect}", "reg", others, severity=severity)
            seen.append((node, where.base, where.end))


def _of_twice(context: Context, node: Node, other: Node) -> tuple[str, Severity]:
    """Say what becomes of RAM that is said twice.

    Xen 4.20 xen/common/page_alloc.c bootmem_region_add; Linux 6.12 mm/memblock.c memblock_add_range and
    mm/numa_memblks.c numa_cleanup_meminfo.
    """
    if context.for_xen:
        return f"{context.xen} stops with a BUG in its boot allocator, before its console is up", Severity.ERROR
    numbers = [n.number("numa-node-id") for n in (node, other) if "numa-node-id" in n.values]
    if len(set(numbers)) > 1:
        return f"Linux says that node {numbers[1]} overlaps with node {numbers[0]} and gives up NUMA", Severity.ERROR
    return "Linux counts it once, so that there is less RAM than the tree says", Severity.ERROR


@rule(
    "VT912",
    what="a node is RAM to Linux or to Xen, but not to both",
    why='Linux tells RAM by device_type = "memory", Xen by the name memory as well.',
    example='ram@80000000 with device_type = "memory", under Xen',
    fix="Name it memory@80000000 and state its type.",
)
def memory_nodes_are_taken(context: Context) -> Iterator[Finding]:
    """A memory node has the type that Linux tells it by and the name that Xen asks for, too.

    Linux 6.12 drivers/of/fdt.c early_init_dt_scan_memory; Xen 4.20 xen/common/device-tree/bootfdt.c
    device_tree_is_memory_node.
    """
    for node in context.tree.root.children.values():
        of_type, of_name = node.string("device_type") == "memory", node.base_name == "memory"
        if of_name and not of_type and "reg" in node.values and not node.compatible:
            message = 'without device_type = "memory" neither Linux nor Xen takes this for RAM'
            severity = Severity.ERROR if context.for_xen else WARNING
            if severity is WARNING:
                message += ", unless the boot loader adds it"
            yield Finding("VT912", node, message, severity=severity)
        elif of_type and not of_name and context.for_xen:
            message = f"{context.xen} takes no node for RAM whose name is not 'memory' or 'memory@...'"
            yield Finding("VT912", node, message, "device_type")


@rule(
    "VT906",
    what="the ramdisk cannot be used",
    why=(
        "It needs a start and an end, in this order and in RAM; Linux boots without it or reads what is not RAM, Xen "
        "stops at it."
    ),
    example="linux,initrd-end below linux,initrd-start",
    fix="Let the boot loader write both after it has loaded the file.",
)
def the_ramdisk_can_be_had(context: Context) -> Iterator[Finding]:
    """The ramdisk has a start and an end, in this order, and lies in RAM.

    Linux 6.12 drivers/of/fdt.c early_init_dt_check_for_initrd, arch/arm64/mm/init.c arm64_memblock_init; Xen 4.20
    xen/common/device-tree/bootfdt.c process_chosen_node.
    """
    chosen = context.chosen
    said = [name for name in (_START, _END) if chosen and name in chosen.values]
    if chosen is None or not said:
        return
    if len(said) == 1:
        missing = _END if said[0] == _START else _START
        effect = context.early_failure if context.for_xen and missing == _END else "there is no ramdisk"
        yield Finding("VT906", chosen, f"`{said[0]}` without `{missing}`: {effect}", said[0])
        return
    for name in said if context.for_xen else ():
        length = len(chosen.values[name])
        if length not in (4, 8):
            message = f"`{name}` has {length} bytes, not 4 or 8: {context.early_failure}"
            yield Finding("VT906", chosen, message, name)
            return
    start, end = initrd_ends(chosen)
    if start >= end:
        effect = context.early_failure if context.for_xen else "Linux boots without the ramdisk"
        order = "at its start" if start == end else "before it starts"
        yield Finding("VT906", chosen, f"the ramdisk ends {order}, {start:#x} to {end:#x}: {effect}", _END)
        return
    where = initrd(context)
    if where and context.outside_memory(where):
        banks = ", ".join(map(str, context.memory))
        if context.for_xen:
            effect = f"{context.xen} copies what it reads there"
        elif where.base < context.memory[0].base:
            effect = "arm64 Linux drops it"
        else:
            effect = "arm64 Linux takes these addresses for RAM and unpacks what it reads"
        message = f"the ramdisk {where} is not inside RAM ({banks}): {effect}"
        yield Finding("VT906", chosen, message, _START)


@rule(
    "VT907",
    what="a region is not where reservations are read",
    why=(
        "Linux reads those directly under /reserved-memory; a memory-region that names another node gets nothing "
        "reserved."
    ),
    example="reserved_memory, or reserved-memory under /soc",
    fix="Move the regions to /reserved-memory under the root.",
)
def reservations_stand_where_they_are_read(context: Context) -> Iterator[Finding]:
    """Regions stand in ``/reserved-memory``, and what a `memory-region` names is one.

    Linux 6.12 drivers/of/of_reserved_mem.c fdt_scan_reserved_mem, of_reserved_mem_device_init_by_idx.
    """
    root = context.reserved_root
    if root is not None and root.name != RESERVED and context.for_xen:
        message = f"{context.xen} reads '/{RESERVED}' by this name only, and takes all of this for free RAM"
        yield Finding("VT907", root, message)
    told = set(context.pools)  # VT847
    for node in context.misplaced:
        regions = set(node.children.values())
        users = [
            user
            for user in context.used("memory-region")
            if any(region in regions for _, region in context.referenced(user, "memory-region"))
        ]
        told |= regions
        message = f"Linux reads regions directly under '/{RESERVED}' only: nothing of this is reserved"
        if users:
            message += f", and the `memory-region` of '{users[0].path}' is void"
        yield Finding("VT907", node, message, None, tuple(users[:1]))
    for user in context.used("memory-region"):
        for _, region in context.referenced(user, "memory-region"):
            if region is None or region in told or region.parent is context.reserved_root:
                continue
            message = f"`memory-region` names '{region.path}', which is not directly under '/{RESERVED}'"
            yield Finding("VT907", user, f"{message}: Linux reserves nothing for it", "memory-region", (region,))
