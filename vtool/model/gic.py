"""What hypervisors need of a board's GIC. Enter at ``unusable``.

Sources: Linux drivers/irqchip/irq-gic.c and irq-gic-v3.c, gic_of_setup_kvm_info (what leaves KVM without a virtual
GIC); Xen xen/arch/arm/gic-v2.c gicv2_dt_init, gic-v3.c gicv3_dt_init, include/asm/gic.h (where Xen panics).
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import KIB, format_size
from vtool.model.board_facts import InterruptController

_GICC_BYTES = 8 * KIB
_KNOWN_TO_XEN = {"arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic", "arm,gic-v3"}


def unusable(gic: InterruptController) -> Iterator[str]:
    """Yield why neither KVM nor Xen can use it. Facts that say nothing of its parts leave them open."""
    needed = {"hypervisor interface (GICH)": gic.hypervisor_interface,
              "virtual CPU interface (GICV)": gic.virtual_cpu_interface}  # fmt: skip
    missing = [name for name, block in needed.items() if block is None]
    if gic.version == 2 and missing and (gic.distributor or gic.cpu_interface):
        yield f"has no {' and no '.join(missing)}"
    if not gic.maintenance_interrupt:
        yield "has no maintenance interrupt (`interrupts`)"


def unusable_by_xen(gic: InterruptController) -> Iterator[str]:
    """Yield why Xen panics on it, beside what makes it ``unusable``."""
    if gic.compatible and not _KNOWN_TO_XEN & set(gic.compatible):
        yield f"is '{gic.compatible[0]}', which Xen does not know"
    if gic.cpu_interface and gic.virtual_cpu_interface:
        # Xen takes a CPU interface of less than 8 KiB for a slip.
        sizes = max(gic.cpu_interface.size, _GICC_BYTES), gic.virtual_cpu_interface.size
        if sizes[0] != sizes[1]:
            yield f"has a CPU interface of {format_size(sizes[0])} and a virtual one of {format_size(sizes[1])}"


def name_of(gic: InterruptController) -> str:
    """Name it as messages do."""
    return f"GICv{gic.version}" + (f" '{gic.path}'" if gic.path else "")
