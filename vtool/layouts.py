"""Guest-physical layouts: where each hypervisor's machine has RAM and devices.

Constants only, each with its source. The planner places things by them and the checks quote them.
"""

from __future__ import annotations

from dataclasses import dataclass

from vtool.units import KIB, MIB, AddressRange


@dataclass(frozen=True)
class MmioSlots:
    """A row of virtio-mmio slots; slot N raises SPI ``first_spi_index + N``."""

    base: int
    stride_bytes: int
    count: int
    first_spi_index: int

    def address(self, slot: int) -> int:
        """Return the guest-physical base of a slot."""
        return self.base + slot * self.stride_bytes


QEMU_VIRT_RAM_BASE = 0x4000_0000
"""QEMU hw/arm/virt.c base_memmap[VIRT_MEM]."""

QEMU_VIRT_MMIO = MmioSlots(base=0x0A00_0000, stride_bytes=0x200, count=32, first_spi_index=16)
"""QEMU hw/arm/virt.c base_memmap[VIRT_MMIO], a15irqmap[VIRT_MMIO]."""

QEMU_VIRT_PCI_IOMMU = 1
"""The device number of an IOMMU on the root bus, 0 being the host bridge; QEMU wants it before the others."""

QEMU_VIRT_PCI_FIRST = 2
QEMU_VIRT_PCI_COUNT = 30
"""Device numbers 2 to 31 on the root bus are for everything else (PCI 3.0 §3.2.2.3.2: five bits)."""

QEMU_VIRT_MOST_CPUS = {2: 8, 3: 512}
"""vCPUs by version of the interrupt controller (QEMU hw/arm/virt.c, virt_max_cpus)."""

QEMU_VIRT_RAM = AddressRange(QEMU_VIRT_RAM_BASE, 0x40_0000_0000)
"""RAM may grow from the base up to the high devices (256 GiB less what lies below)."""

XEN_GUEST_RAM = (AddressRange(0x4000_0000, 0x1_0000_0000), AddressRange(0x2_0000_0000, 0x100_0000_0000))
"""Xen xen/include/public/arch-arm.h GUEST_RAM0_BASE/SIZE and GUEST_RAM1_BASE/SIZE."""

XEN_GUEST_WINDOWS = (
    ("the virtio-mmio window", AddressRange(0x0200_0000, 0x0210_0000)),
    ("the interrupt controller", AddressRange(0x0300_1000, 0x0402_0000)),
    ("the PCI configuration space", AddressRange(0x1000_0000, 0x2000_0000)),
    ("the ACPI tables", AddressRange(0x2000_0000, 0x2200_0000)),
    ("the UART", AddressRange(0x2200_0000, 0x2200_1000)),
    ("the PCI memory window", AddressRange(0x2300_0000, 0x3300_0000)),
    ("the grant table", AddressRange(0x3800_0000, 0x3900_0000)),
    ("Xen's own pages", AddressRange(0x3900_0000, 0x3A00_0000)),
    ("the PCI prefetchable window", AddressRange(0x1_0000_0000, 0x2_0000_0000)),
)
"""Xen xen/include/public/arch-arm.h (xen.md 1.2); GICv3 has the larger window and is taken for both."""


def xen_guest_ram(memory_bytes: int) -> tuple[AddressRange, ...]:
    """Return where Xen puts that much RAM of a guest: the first bank, and the rest in the second."""
    low, high = XEN_GUEST_RAM
    first = AddressRange.of_size(low.base, min(memory_bytes, low.size_bytes))
    rest = memory_bytes - first.size_bytes
    return (first, AddressRange.of_size(high.base, rest)) if rest else (first,)


QEMU_RAMDISK_OFFSET = 128 * MIB
"""QEMU hw/arm/boot.c: ramdisk and device tree lie that far into memory, or half of it when that is less."""

QEMU_RAMDISK_ROOM = 32 * MIB
"""What vtool leaves for the two: device trees take up to 2 MiB, ramdisks of guests a few."""

SWIOTLB_SLOT_BYTES = 2 * KIB
"""Linux include/linux/swiotlb.h IO_TLB_SHIFT 11."""

SWIOTLB_SEGMENT_BYTES = 128 * SWIOTLB_SLOT_BYTES
"""Linux include/linux/swiotlb.h IO_TLB_SEGSIZE 128: the largest single mapping, 256 KiB."""
