"""Rules on how regions are aligned: by the user's request, by the pages of the kernels that map them, by their use."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from vtool.base.units import KIB, PAGE_BYTES, align_up, format_size
from vtool.check.context import Context, KernelOptions
from vtool.check.pools import least_pool, pool_shares
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.partial import surely
from vtool.model.topology import Region, RegionUse
from vtool.platform import layouts
from vtool.reading.source import KeyPath

POOL_BASE_ALIGNMENT = 64 * KIB
_PAGES = {"ARM64_64K_PAGES": 64 * KIB, "ARM64_16K_PAGES": 16 * KIB}


def page_bytes(kernel: KernelOptions) -> int:
    """Return the page size that a kernel was built for."""
    return next((size for option, size in _PAGES.items() if kernel.options.get(option) == "y"), PAGE_BYTES)


def pages_of(context: Context, region: Region) -> dict[str, int]:
    """Return the page size of every domain that sees a region and whose kernel's build is known."""
    kernels = ((name, context.topology.domains[name].kernel) for name in context.members_of(region))
    return {name: page_bytes(context.kernels[kernel]) for name, kernel in kernels if kernel in context.kernels}


def granule_of(context: Context, region: Region) -> int:
    """Return the page size that a region is made for."""
    return region.granule or max(pages_of(context, region).values(), default=PAGE_BYTES)


def size_unit(context: Context, region: Region) -> int:
    """Return what a region's size is a multiple of."""
    segment = layouts.SWIOTLB_SEGMENT_BYTES if region.use is RegionUse.RESTRICTED_DMA_POOL else 0
    return max(granule_of(context, region), segment, _cma_unit(context, region))


def use_alignment(context: Context, region: Region) -> int:
    """Return what a region's addresses are multiples of, whatever the user asks for."""
    base = POOL_BASE_ALIGNMENT if region.use is RegionUse.RESTRICTED_DMA_POOL else 0
    return max(granule_of(context, region), base, _cma_unit(context, region))


def _cma_unit(context: Context, region: Region) -> int:
    return (
        layouts.LINUX_CMA_UNITS[granule_of(context, region)]
        if region.reusable and region.use is RegionUse.SHARED_DMA_POOL
        else 0
    )


def address_unit(context: Context, region: Region) -> int:
    """Return what a region's addresses are multiples of."""
    return max(use_alignment(context, region), region.alignment or 0)


@rule(
    "VT413",
    what="an alignment is not possible",
    why="Alignments are powers of two; pages and the use of a region set a minimum.",
    example="alignment: 3MiB",
    fix="Write a power of two that is not less than the hint says.",
)
def alignment_is_possible(context: Context) -> Iterator[Diagnostic]:
    """An alignment is a power of two, and not less than what the region's use and pages need."""
    for name, region in context.topology.regions.items():
        path, least = ("regions", name, "alignment"), use_alignment(context, region)
        if region.alignment is None:
            if least > layouts.LINUX_CMA_UNITS[PAGE_BYTES] and region.address is None:
                message = f"region '{name}' needs `alignment: {format_size(least)}`: the unit of CMA with these pages"
                yield context.find("VT413", message, ("regions", name), key=True)
        elif region.alignment & (region.alignment - 1):
            message = f"region '{name}': the alignment {format_size(region.alignment)} is not a power of two"
            hint = f"leave it out, or write {format_size(max(1 << region.alignment.bit_length(), least))}"
            yield context.find("VT413", message, path, hints=(hint,))
        elif region.alignment < least:
            message = (
                f"region '{name}': the alignment {format_size(region.alignment)} is less than {format_size(least)}"
            )
            hint = f"leave it out, or write {format_size(least)} or more"
            yield context.find("VT413", message, path, hints=(hint,))


@rule(
    "VT414",
    what="a region's granule is smaller than the pages of a kernel that maps it",
    why="A kernel maps whole pages; what is beside the region would be shared, too.",
    example="granule: 4KiB, and a kernel with ARM64_64K_PAGES",
    fix="Write the kernel's page size, or leave the granule out.",
)
def granule_fits_kernels(context: Context) -> Iterator[Diagnostic]:
    """A kernel cannot map a part of its page."""
    for name, region in context.topology.regions.items():
        for domain, page in pages_of(context, region).items():
            if region.granule is not None and region.granule < page:
                kernel = context.kernels[context.topology.domains[domain].kernel]
                message = (
                    f"region '{name}' is made for pages of {format_size(region.granule)}, the kernel of '{domain}' "
                    f"({kernel.source}) has pages of {format_size(page)}"
                )
                label = Label(context.span("domains", domain, key=True), f"'{domain}' is here")
                hint = f"write `granule: {format_size(page)}`, or leave it out"
                yield context.find("VT414", message, ("regions", name, "granule"), labels=(label,), hints=(hint,))


def _size_is_wrong_otherwise(context: Context, name: str, region: Region) -> bool:
    """Whether the size is too small for a pool (VT405), or a PCI BAR's, which VT346 is on."""
    return region.size < least_pool(pool_shares(context, name)) or context.is_a_bar(name)


@rule("VT403")
def regions_are_aligned(context: Context) -> Iterator[Diagnostic]:
    """Sizes and fixed addresses are multiples of what pages, use and the user's alignment need."""
    for name, region in context.topology.regions.items():
        unit = size_unit(context, region)
        if region.size % unit and not surely(partial(_size_is_wrong_otherwise, context, name, region)):
            message = f"region '{name}': its size {format_size(region.size)} is not a multiple of {format_size(unit)}"
            hint = f"the next is {format_size(align_up(region.size, unit))}"
            yield context.find("VT403", message, ("regions", name, "size"), hints=(hint,))
        unit = address_unit(context, region)
        for path, address in _fixed(name, region):
            if address % unit:
                message = f"region '{name}': its address {address:#x} is not a multiple of {format_size(unit)}"
                below = address // unit * unit
                hint = f"the nearest below is {below:#x}; or leave out `{path[2]}` and let vtool choose"
                yield context.find("VT403", message, path, hints=(hint,))


def _fixed(name: str, region: Region) -> Iterator[tuple[KeyPath, int]]:
    """Yield every address of a region that the user fixed, and where it is written."""
    for key, address in (("address", region.address), ("host_address", region.host_address)):
        if address is not None:
            yield ("regions", name, key), address
    for domain, address in region.addresses.items():
        yield ("regions", name, "addresses", domain), address
