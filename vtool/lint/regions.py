"""Rules of Linux on ``/reserved-memory`` and on pools that devices are confined to."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import KIB, MIB, PAGE_BYTES, AddressRange, format_size
from vtool.diagnostics import Severity
from vtool.diagnostics.codes import rule
from vtool.lint.context import POOL, Context, Kind, ranges
from vtool.lint.finding import Finding
from vtool.platform import layouts
from vtool.platform.devicetree import Node, misread_by_linux

LARGE_PAGE_BYTES = 64 * KIB
LEAST_POOL_BYTES = 4 * MIB
VIRTUAL = ("virtio,mmio", "pci-host-ecam-generic", "pci-host-cam-generic")
"""Devices of hypervisors see caches; of hardware only its maker knows."""
CMA = "shared-dma-pool"
WARNING = Severity.WARNING


def is_cma(node: Node) -> bool:
    """Whether Linux makes a contiguous memory area of a region (kernel/dma/contiguous.c rmem_cma_setup)."""
    return CMA in node.compatible and "reusable" in node.values and "no-map" not in node.values


@rule(
    "VT840",
    what="all of /reserved-memory is ignored",
    why="It wants ranges there, and the cells of the root.",
    example="reserved-memory without ranges",
    fix="Copy #address-cells and #size-cells of the root and add an empty ranges.",
)
def reserved_memory_is_read(context: Context) -> Iterator[Finding]:
    """Linux ignores all of ``/reserved-memory`` when its form differs from the root's."""
    node, root = context.reserved_root, context.tree.root
    if node is None:
        return
    ignored = "Linux says 'unsupported node format, ignoring' and reserves nothing of it"
    if "ranges" not in node.values:
        yield Finding("VT840", node, f"`ranges` is missing: {ignored}", hints=("add an empty `ranges;`",))
    wanted, got = (root.address_cells, root.size_cells), (node.address_cells, node.size_cells)
    if wanted != got:
        message = f"its cells are {got[0]} and {got[1]}, the root's are {wanted[0]} and {wanted[1]}: {ignored}"
        yield Finding("VT840", node, message, "#address-cells")


@rule(
    "VT841",
    what="a reserved region says neither place nor size (warning)",
    why="Linux reserves nothing for it.",
    example="a child of /reserved-memory without reg and size",
    fix="Give reg, or size.",
)
def regions_have_a_place_or_a_size(context: Context) -> Iterator[Finding]:
    """A region says where it is or how large it is to be."""
    for node in context.reserved:
        if not {"reg", "size"} & set(node.values):
            yield Finding("VT841", node, "neither `reg` nor `size`: Linux reserves nothing", severity=WARNING)


@rule(
    "VT915",
    what="a reservation without a size",
    why=(
        "Linux reserves nothing for it, and makes no pool of it (a warning where a boot loader may fill in reg = <0 "
        "0>)."
    ),
    example="size = <0x0 0x0> of a reusable shared-dma-pool",
    fix="Give it a size, or remove the node.",
)
def regions_have_bytes(context: Context) -> Iterator[Finding]:
    """A region is larger than nothing.

    Linux 6.12 drivers/of/of_reserved_mem.c __reserved_mem_reserve_reg and __reserved_mem_alloc_size (of nothing
    memblock reserves nothing), mm/cma.c cma_init_reserved_mem.
    """
    for node in context.reserved:
        if "reg" in node.values:
            empty = [base for base, size in whole_reg(node) if not size]
            # What a boot loader is to fill in is written as 0.
            later = context.kind is Kind.LINUX and not any(empty)
            effect = "Linux reserves nothing for it, 'failed to reserve memory for node'"
            effect += ", unless the boot loader fills it in" if later else ""
            for base in empty[:1]:
                severity = WARNING if later else Severity.ERROR
                yield Finding("VT915", node, f"its size at {base:#x} is 0: {effect}", "reg", severity=severity)
        elif "size" in node.values and node.values["size"].strip(b"\0") == b"":
            effect = "Linux makes no CMA of it, 'unable to setup CMA region'" if is_cma(node) else "nothing is reserved"
            if not any(name == "size" for name, _ in misread_by_linux(context.tree.root, node)):  # VT902
                yield Finding("VT915", node, f"`size` is 0: {effect}", "size")


def whole_reg(node: Node) -> list[tuple[int, int]]:
    """Return a region's ``reg`` as (address, size) pairs, nothing when it does not divide (VT831 says so)."""
    try:
        return node.reg()
    except ValueError:
        return []


@rule(
    "VT844",
    what="a region for DMA is not aligned",
    why="It is mapped in pages; kernels with 64 KiB pages exist (a warning for those).",
    example="reg = <0x0 0x50000800 0x0 0x400000> of a restricted-dma-pool",
    fix="Align it to 2 MiB, at least to 64 KiB.",
)
def pools_are_aligned(context: Context) -> Iterator[Finding]:
    """Regions that become DMA memory begin and end with a page."""
    for node in context.reserved:
        pool = POOL in node.compatible
        if not pool and ("reusable" not in node.values or is_cma(node)):
            continue  # VT903 is on the page blocks of a CMA
        for where in ranges(node):
            if where.base % PAGE_BYTES or where.end % PAGE_BYTES:
                message = f"{where} is not aligned to pages of {format_size(PAGE_BYTES)}"
                yield Finding("VT844", node, message, "reg")
            elif pool and where.base % LARGE_PAGE_BYTES:
                message = f"it begins at {where.base:#x}, which is not a multiple of {format_size(LARGE_PAGE_BYTES)}"
                yield Finding("VT844", node, f"{message}, a page of some kernels", "reg", severity=WARNING)


@rule(
    "VT845",
    what="a region for DMA is outside RAM",
    why="Linux reaches it through its map of RAM only (a warning where a boot loader may yet add RAM).",
    example="a restricted-dma-pool that no /memory node covers",
    fix="Put it inside a range of /memory.",
)
def pools_are_in_memory(context: Context) -> Iterator[Finding]:
    """Linux writes to a pool through its map of RAM; coherent memory may be SRAM, but not at the end of RAM."""
    for node in context.reserved:
        mapped = POOL in node.compatible or "reusable" in node.values
        if not mapped and CMA not in node.compatible:
            continue
        for where in ranges(node):
            across = any(where.overlaps(bank) for bank in context.memory)
            if not context.outside_memory(where) or not (mapped or across):
                continue
            message = f"{where} is not inside RAM ({', '.join(map(str, context.memory))})"
            effect = "Linux has no mapping of it and crashes or refuses it"
            if not mapped:
                effect = "Linux hands out addresses where nothing answers"
            # Boards ship trees with the least RAM that is sold; their boot loader writes what there is.
            beyond = where.base >= context.memory[-1].end and context.kind is Kind.LINUX
            if beyond:
                effect += ", unless the boot loader finds more RAM"
            severity = WARNING if beyond else Severity.ERROR
            yield Finding("VT845", node, f"{message}: {effect}", "reg", severity=severity)


@rule(
    "VT846",
    what="a reserved region has properties that exclude each other",
    why="A restricted pool may not be no-map, reusable or a default: Linux panics at boot or refuses the pool.",
    example="restricted-dma-pool with no-map",
    fix="Remove the property.",
)
def flags_go_together(context: Context) -> Iterator[Finding]:
    """Properties that a region cannot have with what it is."""
    for node in context.reserved:
        if POOL in node.compatible:
            for name in ("no-map", "reusable", "linux,cma-default", "linux,dma-default"):
                if name in node.values:
                    effect = "arm64 Linux panics at boot" if name == "no-map" else "Linux refuses the pool (-EINVAL)"
                    message = f"a restricted-dma-pool may not be `{name}`: {effect}"
                    if name != "no-map":
                        message += " and its devices use all of RAM"
                    yield Finding("VT846", node, message, name)
        elif {"no-map", "reusable"} <= set(node.values):
            yield Finding("VT846", node, "`no-map` and `reusable` exclude each other: Linux refuses both", "reusable")
        elif "linux,cma-default" in node.values and not is_cma(node):
            message = f"`linux,cma-default` is for a `reusable` {CMA}, which this is not: Linux makes no CMA of it"
            yield Finding("VT846", node, message, "linux,cma-default")


def _users(context: Context, pool: Node) -> list[Node]:
    number = pool.phandle
    if number is None:
        return []
    return [node for node in context.having("memory-region") if number in node.cells("memory-region")]


@rule(
    "VT847",
    what="a pool is where nobody finds it",
    why="Linux reads pools directly under the root's /reserved-memory, and devices name them by phandle.",
    example="a restricted-dma-pool under /soc, or without a device",
    fix="Move it, and name its label in the device's memory-region.",
)
@rule(
    "VT853",
    what="the pool of a device is switched off",
    why="Linux passes over it and lets the device use all of RAM.",
    example='status = "disabled" in a pool',
    fix="Switch it on, or remove it from memory-region.",
)
def pools_are_found(context: Context) -> Iterator[Finding]:
    """A pool stands where Linux looks, is switched on and is used."""
    for node in context.pools:
        if node.parent in context.misplaced:
            continue  # VT907
        users = _users(context, node)
        if node.parent is not context.reserved_root or context.reserved_root is None:
            message = "a restricted-dma-pool is only read directly under '/reserved-memory'"
            yield Finding("VT847", node, f"{message}: Linux ignores it and its devices use all of RAM")
        elif not node.available and (on := [user for user in users if user not in context.off]):
            message = f"the pool of '{on[0].path}' is switched off: Linux lets the device use all of RAM"
            yield Finding("VT853", node, message, "status", (on[0],))
        elif node.available and not users:
            why = "has no phandle, so no device can name it" if node.phandle is None else "is no device's memory-region"
            yield Finding("VT847", node, f"the pool {why}: it is reserved and never used", severity=WARNING)


@rule(
    "VT848",
    what="the size of a pool is unwise (warning)",
    why="Slots come in segments of 256 KiB, and a full pool hangs the disk without an error.",
    example="a pool of 1 MiB",
    fix="Use a multiple of 256 KiB, 4 MiB at least; 64 MiB is usual.",
)
@rule(
    "VT849",
    what="a pool has no fixed place (warning)",
    why="Linux then chooses it, and nobody outside the guest knows where it is.",
    example="a restricted-dma-pool with size and no reg",
    fix="Give reg.",
)
def pools_have_a_useful_size(context: Context) -> Iterator[Finding]:
    """A pool is made of whole segments, is large enough and lies where its sharer knows."""
    segment = layouts.SWIOTLB_SEGMENT_BYTES
    for node in context.reserved:
        if POOL not in node.compatible:
            continue
        for where in ranges(node):
            size = where.size_bytes
            if size % segment:
                message = f"its size {format_size(size)} is not a multiple of {format_size(segment)}"
                message += ": older kernels hand out slots beyond its end"
                yield Finding("VT848", node, message, "reg", severity=WARNING)
            if size < LEAST_POOL_BYTES:
                message = f"{format_size(size)} is little: a full pool silently hangs disks"
                hint = f"{format_size(LEAST_POOL_BYTES)} is the least that was seen to work well"
                yield Finding("VT848", node, message, "reg", hints=(hint,), severity=WARNING)
        if "reg" not in node.values and "size" in node.values:
            message = "Linux chooses where this pool lies, so nothing outside the guest can share it"
            yield Finding("VT849", node, message, "size", hints=("give `reg`",), severity=WARNING)


@rule(
    "VT850",
    what="a device has both a pool and an IOMMU",
    why="Linux attaches the pool only where no IOMMU was set up: the device works, unconfined by the pool.",
    example="memory-region and iommus in one device",
    fix="Remove one of them.",
)
@rule(
    "VT851",
    what="a device names several pools (warning)",
    why="Linux uses the first.",
    example="memory-region = <&pool0 &pool1>",
    fix="Name one.",
)
@rule(
    "VT852",
    what="a virtual device with a pool is not dma-coherent (warning)",
    why="Its rings then need another mapping, which cannot be made in atomic context.",
    example="virtio,mmio with memory-region and without dma-coherent",
    fix="Add dma-coherent, or a shared-dma-pool beside the pool.",
)
def devices_use_their_pool(context: Context) -> Iterator[Finding]:
    """A device is confined to its pool, to one, and a virtual one coherently."""
    pools = {node for node in context.pools if node.available}
    for device in context.used("memory-region") if pools else ():
        own = [node for _, node in context.referenced(device, "memory-region") if node in pools]
        if not own:
            continue
        if "iommus" in device.values:
            message = f"the device has `iommus`, so Linux never uses its pool '{own[0].path}'"
            yield Finding("VT850", device, message, "iommus", (own[0],))
        if len(own) > 1:
            message = f"Linux uses the first pool '{own[0].path}' only, not '{own[1].path}'"
            yield Finding("VT851", device, message, "memory-region", (own[1],), severity=WARNING)
        if set(VIRTUAL) & set(device.compatible) and not _coherent(device, context.coherent_by_itself):
            message = "a virtual device with a pool should be `dma-coherent`: else its rings are remapped, or refused"
            yield Finding("VT852", device, message, severity=WARNING)


def _coherent(device: Node, by_itself: bool) -> bool:
    """Whether Linux takes a device for coherent (6.12 drivers/of/address.c of_dma_is_coherent)."""
    at: Node | None = device
    while at is not None:
        if "dma-coherent" in at.values:
            return True
        if "dma-noncoherent" in at.values:
            return False
        at = at.parent
    return by_itself


@rule(
    "VT855",
    what="a region is where QEMU loads the ramdisk or the tree (warning)",
    why="QEMU's virt puts them 128 MiB, or half of RAM, above the base of RAM.",
    example="a module at 0x48000000 in a tree of QEMU's virt",
    fix="Move it, or load with a boot loader that puts them elsewhere.",
)
def qemu_puts_its_tree_elsewhere(context: Context) -> Iterator[Finding]:
    """What QEMU's `virt` loads beside a kernel comes 128 MiB (or half of RAM) after the base of RAM."""
    if "linux,dummy-virt" not in context.tree.root.compatible or not context.memory:
        return
    ram = context.memory[0]
    spot = ram.base + min(128 * MIB, ram.size_bytes // 2)
    taken = [(node, where) for node in context.reserved for where in ranges(node)]
    taken += [(module.node, module.range) for module in context.modules if module.range]
    for node, where in taken:
        if where.base <= spot < where.end:
            message = (
                f"{where} holds {spot:#x}, where QEMU puts the ramdisk or the device tree when it loads the kernel"
            )
            yield Finding("VT855", node, message, "reg", hints=("a boot loader may do otherwise",), severity=WARNING)


def initrd(context: Context) -> AddressRange | None:
    """Return where ``/chosen`` says that the boot loader left the ramdisk, None when it does not (VT906)."""
    start, end = initrd_ends(context.chosen) if context.chosen else (0, 0)
    return AddressRange(start, end) if start < end else None


def initrd_ends(chosen: Node) -> tuple[int, int]:
    """Return start and end of the ramdisk as Linux reads them: of any number of cells the last two."""
    start, end = (
        int.from_bytes(chosen.values.get(name, b"")[: len(chosen.values.get(name, b"")) // 4 * 4][-8:], "big")
        for name in ("linux,initrd-start", "linux,initrd-end")
    )
    return start, end
