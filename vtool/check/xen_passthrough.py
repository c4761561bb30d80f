"""Rules on nodes of the board's device tree that guests of Xen get.

The tree itself is not at hand here: what a node is, is told from the board's facts, and from the names that the
Devicetree Specification (v0.4, 2.2.2) and Linux's bindings give to what every board has once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.diagnostics.codes import rule
from vtool.model.board_facts import BoardFacts
from vtool.model.topology import Domain, Start, Xen
from vtool.reading.source import KeyPath

_OF_XEN = {
    "cpus": "the CPUs'",
    "memory": "the board's memory",
    "reserved-memory": "the board's memory",
    "chosen": "what the boot loader tells Xen",
    "aliases": "names of other nodes",
    "hypervisor": "what Xen tells dom0",
    "psci": "how Xen starts and stops CPUs",
    "timer": "the CPUs' timer, which every domain has",
    "pmu": "the CPUs' counters",
    "firmware": "how the firmware is called, which answers no guest that Xen does not let through",
    **dict.fromkeys(
        ("__symbols__", "__fixups__", "__local_fixups__", "__overrides__"),
        "a table of names of the tree, and no device",
    ),
    **dict.fromkeys(
        ("interrupt-controller", "intc", "gic"),
        "an interrupt controller, and Xen gives guests interrupts of the board's GIC alone",
    ),
    **dict.fromkeys(("iommu", "smmu", "smmuv3"), "an IOMMU, which confines what others are given"),
}
_ALWAYS_AT_THE_TOP = (
    "memory", "chosen", "aliases", "firmware", "__symbols__", "__fixups__", "__local_fixups__", "__overrides__"
)  # fmt: skip
"""Deeper in the tree a node of such a name is something else."""
_HOST_BRIDGES = ("pci", "pcie")
_BUSES = ("soc", "bus", "simple-bus", "axi", "amba", "ahb", "apb", "scb", "platform", "platform-bus", "localbus")
_PROVIDERS = ("clock-controller", "reset-controller", "power-controller", "power-management", "pinctrl", "syscon")
_WITHOUT_ADDRESS = ("timer", "pmu")
"""Names that are meant only without an address: with one, they are also a device's."""

_DRIVERS = {
    "ARM_SMMU_V3": re.compile(r"smmu-v3"),
    "IPMMU_VMSA": re.compile(r"^renesas,ipmmu-r8a(7795|7796|77961|77965|779f0|779g0)$"),
    "ARM_SMMU": re.compile(r"smmu|^arm,mmu-(400|401|500)$"),
}
"""What Xen drives by the option that builds it: xen/drivers/passthrough/arm/{smmu-v3,ipmmu-vmsa,smmu}.c."""
_DRIVEN_BY_DEFAULT = "ARM_SMMU"


@rule(
    "VT416",
    what="a device-tree node that cannot be passed through like this",
    why=(
        "A device has one driver: that of one guest, or Xen's own; the console, timer, CPUs and memory belong to "
        "everyone."
    ),
    example="the interrupt controller, or one node for two guests",
    fix="Give each device to one guest.",
)
def passthrough_can_be(context: Context) -> Iterator[Diagnostic]:
    """A node goes to one guest, is none that Xen or all domains need, and holds none."""
    for board, loaded in context.facts.items():
        facts = loaded.facts
        kept = dict(_kept(facts))
        given: dict[str, KeyPath] = {}
        for name, domain in context.domains_on(board):
            for index, node in enumerate(domain.passed_nodes):
                path = ("domains", name, "passthrough", index)
                why = _why_kept(node, kept)
                why = why or _why_of_board(facts, node, watchdog=context.topology.boards[board].watchdog)
                if why is not None:
                    yield context.find("VT416", f"'{node}' {why}", path)
                    continue
                if (other := next((o for o in given if _one_in_the_other(node, o)), None)) is not None:
                    label = Label(context.span(*given[other]), "here first")
                    where = f"is on '{other}'," if len(node) > len(other) else f"holds '{other}',"
                    message = f"'{node}' {where} which is passed through already"
                    if node == other:
                        message = f"'{node}' is passed through already"
                    yield context.find("VT416", message, path, labels=(label,))
                elif "@" not in node.rpartition("/")[2]:
                    message = (
                        f"'{node}' has no unit address, so no registers that a guest could drive: Xen only keeps the "
                        "node from dom0"
                    )
                    yield context.find("VT416", message, path, severity=Severity.WARNING)
                elif _name(node) in _PROVIDERS:
                    message = f"'{node}' may serve devices that stay with dom0, or go to others"
                    yield context.find("VT416", message, path, severity=Severity.WARNING)
                given.setdefault(node, path)


def _kept(facts: BoardFacts) -> Iterator[tuple[str, str]]:
    """Yield the nodes that the facts name and no guest can have, each with what it is."""
    if facts.gic.path:
        yield facts.gic.path, "the interrupt controller, which Xen itself drives"
    for iommu in facts.iommus:
        yield iommu.path, "an IOMMU, which Xen itself drives"
    for cpu in facts.cpu_nodes:
        yield cpu.path, "a CPU, which Xen itself drives"
    console = facts.boot.xen_console if facts.boot else facts.stdout.path if facts.stdout else ""
    for uart in facts.uarts:
        if console.partition(":")[0] in (uart.path, uart.alias):
            console = uart.path
    if console.startswith("/"):
        yield console.partition(":")[0], "Xen's console"


def _why_kept(node: str, kept: dict[str, str]) -> str | None:
    for path, what in kept.items():
        if node == path:
            return f"is {what}"
        if path.startswith(f"{node}/"):
            return f"holds '{path}', {what}: pass through the devices on it that the guest should get"
        if node.startswith(f"{path}/"):
            return f"is part of '{path}', {what}"
    steps = node.split("/")
    top, name = _name(f"/{steps[1]}"), _name(node)
    for word in (top, name):
        let_through = word == "firmware" and name.startswith("scmi")  # of a guest with `scmi_smc`
        if word in _OF_XEN and not let_through and (word == top or word not in _ALWAYS_AT_THE_TOP):
            return f"is {_OF_XEN[word]}"
    if name in _BUSES:
        return "is a bus with all that is on it: pass through the devices that the guest should get"
    return None


def _why_of_board(facts: BoardFacts, node: str, *, watchdog: bool) -> str | None:
    """Return what the board itself needs of a PCI host bridge, and would lose with it; None when nothing is known."""
    if _name(node) not in _HOST_BRIDGES or facts.boot is None:
        return None
    if facts.boot.root_device.startswith("/dev/nvme"):
        return f"holds '{facts.boot.root_device}', the board's root device"
    started = facts.watchdog.start_commands if watchdog and facts.watchdog is not None else ()
    if any(command.startswith("pci ") for command in started):
        return "holds the board's watchdog, which the boot loader starts over PCI and dom0 has to pet"
    return None


def _name(node: str) -> str:
    """Return the name of a node without its address; the whole last step where only that without one is meant."""
    last = node.rpartition("/")[2]
    name, _, address = last.partition("@")
    name = name.removeprefix("arm-").replace("arch-timer", "timer").replace("arch_timer", "timer")
    return last if address and name in _WITHOUT_ADDRESS else name


def _one_in_the_other(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


@rule(
    "VT360",
    what="no IOMMU confines what a guest gets",
    why=(
        "xl does not start such a guest, and Xen gives away a device without an IOMMU only if it is told to: its DMA "
        "reaches all memory."
    ),
    example="passthrough: [/scb/ethernet@7d580000] on a Raspberry Pi 4, which has no IOMMU",
    fix=(
        "Leave the device to dom0 and share it, or name it in xen.force_assign_without_iommu of a guest that you "
        "trust with all memory."
    ),
)
def passthrough_is_confined(context: Context) -> Iterator[Diagnostic]:
    """An IOMMU that Xen drives is before what a guest gets, or the topology says that none is needed."""
    for board, loaded in context.facts.items():
        if not isinstance(context.topology.boards[board].hypervisor, Xen):
            continue
        why = _why_unconfined(context, board, loaded.facts)
        for name, domain in context.domains_on(board):
            consented = domain.xen.force_assign_without_iommu if domain.xen else ()
            for index, node in enumerate(consented):
                if node not in domain.passed_nodes:
                    path: KeyPath = ("domains", name, "xen", "force_assign_without_iommu", index)
                    yield context.find("VT360", f"'{node}' is not passed through to '{name}'", path)
            for index, node in enumerate(domain.passed_nodes):
                watchdog = context.topology.boards[board].watchdog
                kept = _why_kept(node, dict(_kept(loaded.facts))) or _why_of_board(
                    loaded.facts, node, watchdog=watchdog
                )
                if why is not None and node not in consented and kept is None:
                    path = ("domains", name, "passthrough", index)
                    message = f"no IOMMU stands before '{node}': {why}; {_consequence(domain)}"
                    yield context.find("VT360", message, path, hints=(consent(node, name),))


def consent(node: str, domain: str) -> str:
    """Return the hint that says how a node is given away that no IOMMU confines, and what that means."""
    word = f"`xen: {{force_assign_without_iommu: [{node}]}}` gives it away all the same"
    return f"{word}: if it does DMA, '{domain}' then reaches all memory by it"


def _why_unconfined(context: Context, board: str, facts: BoardFacts) -> str | None:
    """Return why nothing can stand behind an IOMMU of the board, None when something can."""
    if not facts.iommus:
        return f"the facts of board '{board}' name none"
    enabled = [iommu for iommu in facts.iommus if iommu.enabled]
    if not enabled:
        return f"those of board '{board}' are disabled in its device tree"
    xen = context.xens.get(board)
    missing = set()
    for iommu in enabled:
        option = next((option for option, kind in _DRIVERS.items() if kind.search(iommu.compatible)), None)
        built = (
            option == _DRIVEN_BY_DEFAULT or xen is None or xen.options is None or xen.options.get(option or "") == "y"
        )
        if option is not None and built:
            return None
        missing.add(
            f"{iommu.compatible} needs CONFIG_{option}" if option else f"Xen has no driver for {iommu.compatible}"
        )
    return ", ".join(sorted(missing))


def _consequence(domain: Domain) -> str:
    if domain.start is Start.XL:
        return "`dtdev` of xl then starts no guest"
    return "Xen does not give it to a guest"
