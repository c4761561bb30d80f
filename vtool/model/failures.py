"""What the import of a board's device tree refuses, or warns of: the codes."""

from __future__ import annotations

from vtool.diagnostics.codes import declare

declare(
    "VT809",
    what="a GIC's reg does not lead to what it needs",
    why=(
        "Neither Linux nor a hypervisor starts without the distributor, a GICv2's CPU interface, a GICv3's "
        "redistributors."
    ),
    example="#redistributor-regions = <2>, and a reg of two entries",
    fix="Correct reg, #redistributor-regions, or the ranges of the buses above.",
)
declare(
    "VT810",
    what="a device tree states no RAM",
    why="Many trees leave it to the boot loader, which fills it in on the board.",
    example="/memory@0 with a size of 0",
    fix="Give it with --memory BASE:SIZE, or import from the running board with --ssh.",
)
declare(
    "VT811",
    what="a device tree is of a 32-bit board",
    why="Xen and KVM are driven on 64-bit ARM only.",
    example="CPUs that are all arm,cortex-a7",
    fix="Use a 64-bit board.",
)
declare(
    "VT812",
    what="a device tree has no GIC",
    why="Neither Xen nor KVM can give guests interrupts without a GICv2 or GICv3.",
    example="a Raspberry Pi 3, whose interrupt controller is Broadcom's own",
    fix="Use a board with a GIC.",
)
declare(
    "VT813",
    what="a property of a device tree cannot be read",
    why="Its length does not fit the cell widths, or its numbers make no range, so that nobody knows what it means.",
    example="reg with 3 cells under #address-cells 2 and #size-cells 2",
    fix="Correct the tree; see also vtool lint.",
)
declare(
    "VT814",
    what="a device tree has no CPUs",
    why="It is an overlay, or part of a tree.",
    example="a tree without /cpus",
    fix="Give the whole tree of a board.",
)
declare(
    "VT815",
    what="a kernel would ignore the device tree's reserved memory (warning)",
    why="Linux wants the root's cell widths and ranges in /reserved-memory, and drops the whole node otherwise.",
    example="#size-cells 1 in /reserved-memory, 2 at the root",
    fix="Correct the tree; until then memory that is reserved is used.",
)
