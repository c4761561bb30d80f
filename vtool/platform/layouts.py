"""Guest-physical layouts: where each hypervisor's machine has RAM and devices.

Constants only, each with its source. The planner places things by them and the checks quote them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vtool.base.records import record
from vtool.base.units import KIB, MIB, PAGE_BYTES, AddressRange, align_up, free_ranges

SPI_FIRST_INTID = 32
"""GICv2 and GICv3 architecture: SPI N is INTID 32 + N."""


@record
class Window:
    """A range of guest-physical addresses that belongs to the machine, and where that is written."""

    name: str
    range: AddressRange
    source: str


@record
class MmioSlots:
    """A row of virtio-mmio slots; slot N raises SPI ``first_spi_index + N``."""

    base: int
    stride_bytes: int
    count: int
    first_spi_index: int

    def address(self, slot: int) -> int:
        """Return the guest-physical base of a slot."""
        return self.base + slot * self.stride_bytes

    def interrupt(self, slot: int) -> int:
        """Return the interrupt of a slot, as the GIC counts (INTID)."""
        return SPI_FIRST_INTID + self.first_spi_index + slot

    def slot_at(self, address: int | None, interrupt: int | None) -> int | None:
        """Return the slot that has an address, an interrupt, or both; None where there is none."""
        for slot in range(self.count):
            if address in (None, self.address(slot)) and interrupt in (None, self.interrupt(slot)):
                return slot
        return None


@record
class GuestLayout:
    """What a guest's machine has where: its windows, the room for RAM, and who says where that is."""

    windows: tuple[Window, ...]
    rooms: tuple[Window, ...]
    ram_source: str


AS_ON_THE_BOARD = GuestLayout((), (), "host address, mapped directly")
"""Of a guest whose machine is where the board's is (Xen's direct-map)."""

QEMU_VIRT_RAM_BASE = 0x4000_0000
"""QEMU hw/arm/virt.c base_memmap[VIRT_MEM]."""

QEMU_FLASH_BYTES = 64 * MIB
"""QEMU hw/arm/virt.c: VIRT_FLASH is two chips of one size."""
AAVMF_CODE = "/usr/share/AAVMF/AAVMF_CODE.fd"
"""EDK2 for the first, as Debian's qemu-efi-aarch64 has it in every release."""
U_BOOT = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"
"""U-Boot for it, as Debian's u-boot-qemu has it in every release; it keeps nothing in the second."""

QEMU_VIRT_MMIO = MmioSlots(base=0x0A00_0000, stride_bytes=0x200, count=32, first_spi_index=16)
"""QEMU hw/arm/virt.c base_memmap[VIRT_MMIO], a15irqmap[VIRT_MMIO]."""


def _virt(name: str, base: int, size_bytes: int, key: str) -> Window:
    return Window(name, AddressRange.of_size(base, size_bytes), f"QEMU hw/arm/virt.c {key}")


_QEMU_VIRT_WINDOWS = (
    _virt("flash", 0, 0x0800_0000, "VIRT_FLASH"),
    _virt("GIC distributor", 0x0800_0000, 0x1_0000, "VIRT_GIC_DIST"),
    _virt("UART", 0x0900_0000, 0x1000, "VIRT_UART"),
    _virt("real-time clock", 0x0901_0000, 0x1000, "VIRT_RTC"),
    _virt("fw_cfg", 0x0902_0000, 0x18, "VIRT_FW_CFG"),
    _virt("GPIO", 0x0903_0000, 0x1000, "VIRT_GPIO"),
    _virt("virtio-mmio slots", QEMU_VIRT_MMIO.base, QEMU_VIRT_MMIO.count * QEMU_VIRT_MMIO.stride_bytes, "VIRT_MMIO"),
    _virt("platform bus", 0x0C00_0000, 0x0200_0000, "VIRT_PLATFORM_BUS"),
    _virt("PCI memory window", 0x1000_0000, 0x2EFF_0000, "VIRT_PCIE_MMIO"),
    _virt("PCI I/O window", 0x3EFF_0000, 0x1_0000, "VIRT_PCIE_PIO"),
    _virt("PCI configuration space", 0x40_1000_0000, 256 * MIB, "VIRT_HIGH_PCIE_ECAM"),
    _virt("PCI high memory window", 0x80_0000_0000, 0x80_0000_0000, "VIRT_HIGH_PCIE_MMIO"),
)
_QEMU_VIRT_GIC = {
    2: (
        _virt("GIC CPU interface", 0x0801_0000, 0x1_0000, "VIRT_GIC_CPU"),
        _virt("GIC message frame", 0x0802_0000, 0x1000, "VIRT_GIC_V2M"),
    ),
    3: (
        _virt("GIC translation service", 0x0808_0000, 0x2_0000, "VIRT_GIC_ITS"),
        _virt("GIC redistributors", 0x080A_0000, 0x00F6_0000, "VIRT_GIC_REDIST"),
    ),
}


def qemu_virt_windows(gic_version: int) -> tuple[Window, ...]:
    """Return what QEMU's virt machine has outside RAM, as vtool starts it (``acpi=off``), in ascending order."""
    return tuple(sorted((*_QEMU_VIRT_WINDOWS, *_QEMU_VIRT_GIC[gic_version]), key=lambda window: window.range))


def qemu_pools(memory_bytes: int, sizes: Iterable[int]) -> Iterator[AddressRange]:
    """Yield where the pools of a guest of QEMU's lie, guest-physical: one after the other behind its RAM."""
    cursor = QEMU_VIRT_RAM_BASE + memory_bytes
    for size_bytes in sizes:
        yield AddressRange.of_size(cursor, size_bytes)
        cursor += size_bytes


def qemu_guest_memory(memory_bytes: int, pool_sizes: Iterable[int] = ()) -> AddressRange:
    """Return where all memory of a guest of QEMU's lies, guest-physical: its RAM, and its pools behind that."""
    return AddressRange.of_size(QEMU_VIRT_RAM_BASE, memory_bytes + sum(pool_sizes))


def qemu_memory_for_pools(memory_bytes: int, pools: Sequence[tuple[int, int]]) -> int | None:
    """Return the least whole MiB of RAM, not below ``memory_bytes``, behind which every pool is aligned.

    ``pools`` are (size, unit); units are powers of two, so that the largest decides. None where pools are in the way
    of each other, whatever the RAM is.
    """
    places = list(qemu_pools(0, (size for size, _ in pools)))
    wanted = [(MIB, 0), *((unit, where.base) for (_, unit), where in zip(pools, places, strict=True))]
    unit, base = max(wanted)
    least = align_up(base + memory_bytes, unit) - base
    return least if all((base + least) % unit == 0 for unit, base in wanted) else None


QEMU_VIRT_PCI_NODE = "/pcie@10000000"
"""The PCI host bridge in QEMU's tree: its unit address is that of the memory window (hw/arm/virt.c create_pcie)."""

QEMU_VIRT_PCI_IOMMU = 1
"""The device number of an IOMMU on the root bus, 0 being the host bridge; QEMU wants it before the others."""

QEMU_VIRT_PCI_FIRST = 2
QEMU_VIRT_PCI_COUNT = 30
"""Device numbers 2 to 31 on the root bus are for everything else (PCI 3.0 §3.2.2.3.2: five bits)."""

QEMU_VIRT_MOST_CPUS = {2: 8, 3: 512}
"""vCPUs by version of the interrupt controller (QEMU hw/arm/virt.c, virt_max_cpus)."""

XEN_MOST_CPUS = {2: 8, 3: 128}
"""vCPUs by version of the interrupt controller (Xen xen/arch/arm/vgic-v2.c, vgic-v3.c and domain.c
arch_sanitise_domain_config; public/arch-arm.h GUEST_MAX_VCPUS)."""

QEMU_VIRT_RAM = AddressRange(QEMU_VIRT_RAM_BASE, 0x40_0000_0000)
"""RAM may grow from the base up to the high devices (256 GiB less what lies below)."""


def qemu_virt_layout(gic_version: int) -> GuestLayout:
    """Return the layout of QEMU's virt machine."""
    source = "QEMU hw/arm/virt.c VIRT_MEM"
    return GuestLayout(qemu_virt_windows(gic_version), (Window("room for RAM", QEMU_VIRT_RAM, source),), source)


XEN_VIRTIO_MMIO = MmioSlots(base=0x0200_0000, stride_bytes=0x200, count=11, first_spi_index=1)
"""Xen xen/include/public/arch-arm.h GUEST_VIRTIO_MMIO_BASE and _SPI_FIRST (INTID 33) to _SPI_LAST (43)."""

XEN_GIC_PHANDLE = 65000
"""Xen xen/include/public/device_tree_defs.h GUEST_PHANDLE_GIC: what a guest's partial tree calls its GIC."""

XEN_POOL_PHANDLE = 65100
"""The phandle that a Xen with the patch ``pool-node`` gives to a domain's first region; the next has the next."""

XENPVH_MMIO_COUNT = 10
"""QEMU hw/arm/xen-pvh.c: GUEST_VIRTIO_MMIO_SPI_LAST - GUEST_VIRTIO_MMIO_SPI_FIRST, one less than libxl has."""

XEN_GUEST_RAM = (AddressRange(0x4000_0000, 0x1_0000_0000), AddressRange(0x2_0000_0000, 0x100_0000_0000))
"""Xen xen/include/public/arch-arm.h GUEST_RAM0_BASE/SIZE and GUEST_RAM1_BASE/SIZE."""


def _arch_arm(name: str, base: int, size_bytes: int, key: str) -> Window:
    return Window(name, AddressRange.of_size(base, size_bytes), f"Xen public/arch-arm.h {key}")


_XEN_GUEST_GIC = {
    2: (
        _arch_arm("GIC distributor", 0x0300_1000, 0x1000, "GUEST_GICD"),
        _arch_arm("GIC CPU interface", 0x0300_2000, 0x2000, "GUEST_GICC"),
    ),
    3: (
        _arch_arm("GIC distributor", 0x0300_1000, 0x1_0000, "GUEST_GICV3_GICD"),
        _arch_arm("GIC redistributors", 0x0302_0000, 0x0100_0000, "GUEST_GICV3_GICR0"),
    ),
}

XEN_VIRTIO_WINDOW = AddressRange(0x0200_0000, 0x0210_0000)
XEN_PCI_CONFIGURATION = AddressRange(0x1000_0000, 0x2000_0000)
XEN_ACPI = AddressRange(0x2000_0000, 0x2200_0000)
XEN_UART = AddressRange(0x2200_0000, 0x2200_1000)
XEN_PCI_MEMORY = AddressRange(0x2300_0000, 0x3300_0000)
XEN_PCI_PREFETCHABLE = AddressRange(0x1_0000_0000, 0x2_0000_0000)
XEN_PCI = (XEN_PCI_CONFIGURATION, XEN_PCI_MEMORY, XEN_PCI_PREFETCHABLE)
"""What Xen serves for guests with PCI devices alone (xen/arch/arm/vpci.c domain_vpci_init). vtool's have none, so that
others can be there; nothing is put there unasked."""
XEN_GUEST_WINDOWS = (
    ("the virtio-mmio window", XEN_VIRTIO_WINDOW),
    ("the interrupt controller", AddressRange(_XEN_GUEST_GIC[3][0].range.base, _XEN_GUEST_GIC[3][-1].range.end)),
    ("the PCI configuration space", XEN_PCI_CONFIGURATION),
    ("the ACPI tables", XEN_ACPI),
    ("the UART", XEN_UART),
    ("the PCI memory window", XEN_PCI_MEMORY),
    ("the grant table", AddressRange(0x3800_0000, 0x3900_0000)),
    ("Xen's own pages", AddressRange(0x3900_0000, 0x3A00_0000)),
    ("the PCI prefetchable window", XEN_PCI_PREFETCHABLE),
)
"""Xen xen/include/public/arch-arm.h. vtool chooses no address in one of them, whether or not a guest has what it is
for; GICv3 has the larger window and is taken for both."""


XEN_MOST_SPIS = 960
"""Xen xen/arch/arm/vgic.c domain_vgic_init: rounded up to a multiple of 32, and then at most 988."""


def xen_guest_windows(gic_version: int) -> tuple[Window, ...]:
    """Return what the layout of a Xen guest keeps outside RAM, in ascending order; devices need not be behind it."""
    rest = (
        Window(name.removeprefix("the "), where, "Xen public/arch-arm.h")
        for name, where in XEN_GUEST_WINDOWS
        if not any(where.contains(part.range) for part in _XEN_GUEST_GIC[3])
    )
    return tuple(sorted((*rest, *_XEN_GUEST_GIC[gic_version]), key=lambda window: window.range))


def xen_guest_layout(gic_version: int) -> GuestLayout:
    """Return the layout of Xen's guests."""
    source = "Xen public/arch-arm.h GUEST_RAM"
    rooms = (Window(f"room for RAM, bank {index}", bank, source) for index, bank in enumerate(XEN_GUEST_RAM))
    return GuestLayout(xen_guest_windows(gic_version), tuple(rooms), source)


def xen_guest_ram(memory_bytes: int) -> tuple[AddressRange, ...]:
    """Return where Xen puts that much RAM of a guest: the first bank, and the rest in the second."""
    low, high = XEN_GUEST_RAM
    first = AddressRange.of_size(low.base, min(memory_bytes, low.size_bytes))
    rest = memory_bytes - first.size_bytes
    return (first, AddressRange.of_size(high.base, rest)) if rest else (first,)


def xen_guest_taken(memory_bytes: int) -> list[AddressRange]:
    """Return where nothing else of a Xen guest with that much RAM is put: its RAM, and all windows of the layout."""
    return [*xen_guest_ram(memory_bytes), *(window for _, window in XEN_GUEST_WINDOWS)]


def xen_guest_places(size_bytes: int, alignment: int, taken: Iterable[AddressRange]) -> Iterator[AddressRange]:
    """Yield the lowest free place of that size in every gap of the banks for a Xen guest's RAM, ascending."""
    for gap in free_ranges(XEN_GUEST_RAM, taken):
        base = align_up(gap.base, alignment)
        if base + size_bytes <= gap.end:
            yield AddressRange.of_size(base, size_bytes)


QEMU_RAMDISK_OFFSET = 128 * MIB
"""QEMU hw/arm/boot.c: ramdisk and device tree lie that far into memory, or half of it when that is less."""

QEMU_RAMDISK_ROOM = 32 * MIB
"""What vtool leaves for the two where it does not know the ramdisk: device trees take up to 2 MiB, ramdisks a few."""

QEMU_TREE_BYTES = MIB
"""QEMU system/device_tree.c FDT_MAX_SIZE."""

LINUX_UNIT = 2 * MIB
"""A kernel lies ``text_offset`` above a multiple of it (Linux Documentation/arch/arm64/booting.rst)."""

_QEMU_START_BYTES = 4 * KIB
"""QEMU hw/arm/boot.c BOOTLOADER_MAX_SIZE: its first instructions, at the bottom of RAM."""


def qemu_kernel_end(text_offset: int, image_size: int) -> int:
    """Return how far a kernel reaches into the memory of a guest of QEMU's (hw/arm/boot.c load_aarch64_image)."""
    return text_offset + (LINUX_UNIT if text_offset < _QEMU_START_BYTES else 0) + image_size


def qemu_tree_end(memory_bytes: int, kernel_end: int, ramdisk_bytes: int) -> int:
    """Return how far into memory the last thing reaches that QEMU loads: the ramdisk, and the device tree after it.

    hw/arm/boot.c arm_setup_direct_kernel_boot; ``memory_bytes`` is all that the guest has, pools too.
    """
    ramdisk = align_up(max(min(memory_bytes // 2, QEMU_RAMDISK_OFFSET), kernel_end), PAGE_BYTES)
    return align_up(ramdisk + ramdisk_bytes, LINUX_UNIT) + QEMU_TREE_BYTES


LINUX_CMA_UNITS = {4 * KIB: 4 * MIB, 16 * KIB: 32 * MIB, 64 * KIB: 512 * MIB}
"""What the place and size of a CMA area are multiples of, by page size: a pageblock of a kernel without huge pages,
the largest there is (Linux 6.12 include/linux/cma.h CMA_MIN_ALIGNMENT_BYTES, pageblock-flags.h, MAX_PAGE_ORDER)."""

SWIOTLB_SLOT_BYTES = 2 * KIB
"""Linux include/linux/swiotlb.h IO_TLB_SHIFT 11."""

SWIOTLB_SEGMENT_BYTES = 128 * SWIOTLB_SLOT_BYTES
"""Linux include/linux/swiotlb.h IO_TLB_SEGSIZE 128: the largest single mapping, 256 KiB."""
