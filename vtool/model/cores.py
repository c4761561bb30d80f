"""What is known of a board's CPU cores by their names in the device tree, and of the board's facts with that.

Enter at ``physical_address_bits``, ``kinds`` and ``vector_bits``. A core that stands in no table is not known.
"""

from __future__ import annotations

from collections.abc import Mapping

from vtool.model.board_facts import BoardFacts

USUAL_ADDRESS_BITS = 40
"""What cores have that are not known, and what a virtual machine of KVM has that asks for no other size."""
MOST_ADDRESS_BITS = 52
"""Armv8.2 FEAT_LPA; nothing on arm64 has more before FEAT_D128 (Arm DDI 0487, ID_AA64MMFR0_EL1.PARange)."""

CORES: Mapping[str, tuple[int, int]] = {
    "arm,cortex-a34": (40, 0),
    "arm,cortex-a35": (40, 0),
    "arm,cortex-a53": (40, 0),
    "arm,cortex-a55": (40, 0),
    "arm,cortex-a57": (44, 0),
    "arm,cortex-a65": (44, 0),
    "arm,cortex-a65ae": (44, 0),
    "arm,cortex-a72": (44, 0),
    "arm,cortex-a73": (40, 0),
    "arm,cortex-a75": (44, 0),
    "arm,cortex-a76": (40, 0),
    "arm,cortex-a77": (40, 0),
    "arm,cortex-a78": (40, 0),
    "arm,cortex-a78ae": (48, 0),
    "arm,cortex-x1": (40, 0),
    "arm,neoverse-e1": (44, 0),
    "arm,neoverse-n1": (48, 0),
    "arm,cortex-a510": (40, 128),
    "arm,cortex-a520": (40, 128),
    "arm,cortex-a710": (40, 128),
    "arm,cortex-a715": (40, 128),
    "arm,cortex-a720": (40, 128),
    "arm,cortex-x2": (40, 128),
    "arm,cortex-x3": (40, 128),
    "arm,neoverse-n2": (48, 128),
    "arm,neoverse-v1": (48, 256),
    "arm,neoverse-v2": (48, 128),
}
"""Bits of a physical address (ID_AA64MMFR0_EL1.PARange), and bits of the longest SVE vector, 0 of a core without SVE.
Compared with QEMU 10's target/arm/cpu64.c and tcg/cpu64.c: Cortex-A35, A53, A55, A57, A72, A76, A78AE, Neoverse-N1, V1;
with its Technical Reference Manual: A77. The others follow Arm's manuals as they are remembered; none of them is lower
than what vtool takes for a core that it does not know."""


def kinds(facts: BoardFacts) -> tuple[str, ...]:
    """Return the kind of each CPU by its number; nothing where the facts do not name them all."""
    named = tuple(cpu.compatible for cpu in facts.cpu_nodes)
    return named if len(named) == facts.cpus else ()


def physical_address_bits(facts: BoardFacts) -> tuple[int, str]:
    """Return how many bits a physical address has on a board, and whose number that is.

    The least of its cores counts (Xen and KVM compare them all); those that are not known have 40. A board whose RAM
    takes more has more: there are trees that name a core by its elder (Xilinx's Versal NET: a Cortex-A78 with RAM at
    5 TiB).
    """
    named = {kind: CORES[kind][0] if kind in CORES else USUAL_ADDRESS_BITS for kind in kinds(facts)}
    core = min(named, key=lambda kind: (named[kind], kind in CORES), default="")
    least = named.get(core, USUAL_ADDRESS_BITS)
    taken = max((bank.range.end - 1).bit_length() for bank in facts.ram)
    if taken > least:
        return taken, "as its RAM takes"
    return least, f"as {core} has" if core in CORES else "taken, as its cores are not known"


def vector_bits(facts: BoardFacts) -> tuple[int, str] | None:
    """Return the longest SVE vector that all CPUs of a board have, 0 for none, and which core says so; None if unknown.

    One core without SVE, or with shorter vectors, is enough: Xen gives what all have.
    """
    known = {kind: CORES[kind][1] for kind in kinds(facts) if kind in CORES}
    if not known:
        return None
    core = min(known, key=lambda kind: known[kind])
    return known[core], core
