"""Facts of a board from its device tree: everything but how it boots, which no tree tells.

Pure. Reads a tree the way Linux and Xen do: memory nodes are children of the root with
``device_type = "memory"``; what is disabled neither adds RAM nor reserves any; ``linux,usable-memory``
stands before ``reg``. Sources: Devicetree Specification v0.4 §3.4 and §3.5, the Linux kernel's
drivers/of/fdt.c, of_reserved_mem.c and base.c, Xen's common/device-tree/bootinfo-fdt.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from vtool.base.units import AddressRange
from vtool.diagnostics import Diagnostic, Severity, VtoolError
from vtool.model import board_facts as facts
from vtool.model.tree_doubts import (
    doubts,
    empty_banks,
    firmware_is_unknown,
    refusals,
    reservations,
)
from vtool.platform.devicetree import Node, Property, Tree, booted_by_uefi, cpu_nodes, misread_by_linux

_GIC_VERSIONS: Mapping[str, int] = {
    "arm,gic-v3": 3,
    "qcom,msm8996-gic-v3": 3,
    "arm,gic-400": 2,
    "arm,cortex-a15-gic": 2,
    "arm,cortex-a7-gic": 2,
    "arm,cortex-a9-gic": 2,
    "arm,eb11mp-gic": 2,
    "arm,pl390": 2,
    "qcom,msm-qgic2": 2,
}
# Cores that have no 64-bit state. Closed: no more will be made.
_CPUS_OF_32_BITS = re.compile(
    r"arm,arm\d.*|arm,cortex-(a5|a7|a8|a9|a12|a15|a17|a32)|arm,cortex-[rm]\d+|arm,sc\d+|qcom,(krait|scorpion)"
    r"|marvell,(feroceon|mohawk|pj4.*|sheeva.*)|brcm,brahma-b15|faraday,.*|intel,(sa.*|xscale.*)"
)
# Linux's name of a driver's ports, whose number is the alias's. From the drivers' own `dev_name`.
_PORT_NAMES: tuple[tuple[str, str], ...] = (
    (r"arm,pl011|arm,sbsa-uart", "ttyAMA"),
    (r"ns16550.*|ns16750|snps,dw-apb-uart|brcm,bcm2835-aux-uart|brcm,bcm7271-uart|ti,(am64|am654|am4372|omap.)-uart"
     r"|nvidia,tegra20-uart|mediatek,mt6577-uart|nuvoton,npcm845-uart", "ttyS"),
    (r"cdns,uart-r1p12|xlnx,xuartps", "ttyPS"),
    (r"fsl,imx(6q|21|1)-uart", "ttymxc"),
    (r"fsl,(imx7ulp|imx8qxp|imx93|ls1021a|vf610|ls1028a)-lpuart|fsl,s32-linflexuart|fsl,s32v234-linflexuart", "ttyLP"),
    (r"qcom,geni-debug-uart|qcom,msm-uart(dm)?", "ttyMSM"),
    (r"renesas,h?scif.*|renesas,sci", "ttySC"),
    (r"amlogic,meson-(gx-|a1-|s4-)?uart", "ttyAML"),
    (r"marvell,armada-3700-uart(-ext)?", "ttyMV"),
    (r"samsung,.*-uart|apple,s5l-uart|google,gs101-uart", "ttySAC"),
    (r"nvidia,tegra(194|234)-tcu", "ttyTCU"),
    (r"st,stm32h7-uart", "ttySTM"),
    (r"actions,owl-uart", "ttyOWL"),
)  # fmt: skip
_SPEED = re.compile(r"(\d{3,8})([neo]\d?r?)?")


@dataclass(frozen=True)
class Imported:
    """Facts, and what is odd about the tree they come from."""

    facts: facts.BoardFacts
    warnings: tuple[Diagnostic, ...]


@dataclass(frozen=True)
class Observed:
    """What a running board says of its memory: RAM, what of it is reserved, and what of that is not even mapped."""

    ram: tuple[AddressRange, ...]
    reserved: tuple[AddressRange, ...] = ()
    unmapped: tuple[AddressRange, ...] = ()


def import_facts(
    tree: Tree, name: str, source: facts.Source, *,
    description: str = "", memory: Sequence[AddressRange] = (), observed: Observed | None = None,
) -> Imported:  # fmt: skip
    """Read a board's facts off its tree.

    ``observed``, where given, stands for what the tree says of RAM and adds to what is reserved; ``memory`` stands for
    either's RAM. Raises VtoolError with every reason against it: VT803, VT807, VT809 to VT815.
    """
    if reasons := list(refusals(tree)):
        raise VtoolError(reasons)
    try:
        return _import(tree, name, source, description, memory, observed)
    except ValidationError as error:  # a node's name with characters that the specification does not allow
        found = error.errors(include_url=False)[0]
        message = f"{one_line(str(found['input']))!r}: {found['msg'].lower()}"
        raise VtoolError(Diagnostic("VT813", message, tree.root.place)) from None


def _import(
    tree: Tree, name: str, source: facts.Source, description: str,
    memory: Sequence[AddressRange], observed: Observed | None,
) -> Imported:  # fmt: skip
    reading = _Reading(tree)
    if observed is None:
        reading.warnings += firmware_is_unknown(tree)
    ram = reading.ram(memory or (observed.ram if observed else ()))
    if not ram:
        reading.require_ram()
    cpus, gic = reading.cpus(), reading.gic()
    carve_outs, dynamic = reading.reservations(observed)
    uarts, iommus, widths = reading.uarts(), reading.iommus(), reading.widths()
    if reading.errors or gic is None or widths is None:
        raise VtoolError(dict.fromkeys(reading.errors))
    made = facts.BoardFacts(
        version=1,
        name=name,
        description=description or one_line(tree.root.string("model")) or name,
        source=source,
        compatible=tuple(map(one_line, tree.root.compatible)),
        cpus=len(cpus),
        cpu_nodes=cpus,
        ram=ram,
        carve_outs=carve_outs,
        dynamic_reservations=dynamic,
        gic=gic,
        uarts=uarts,
        iommus=iommus,
        device_tree=widths,
    )
    return Imported(made, (*reading.warnings, *doubts(tree, gic)))


def one_line(text: str) -> str:
    """Return text from a tree as one line that can be printed."""
    return (text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text))[:200]


def name_from(text: str) -> str:
    """Make a name (``vtool.model.types.Name``) of any text, such as a file's stem."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "board"
    return (plain if plain[0].isalpha() else f"r-{plain}")[:31].rstrip("-")


class _Reading:
    """One pass over a tree that collects errors and warnings instead of stopping at the first."""

    def __init__(self, tree: Tree) -> None:
        self.root = tree.root
        self.tree = tree
        self.errors: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []

    def _error(self, code: str, message: str, node: Node | None = None, *hints: str) -> None:
        self.errors.append(Diagnostic(code, message, node.place if node else None, hints=hints))

    # -- memory

    def ram(self, given: Sequence[AddressRange]) -> tuple[facts.RamBank, ...]:
        """Return the banks in ascending order; those that overlap as one."""
        banks: list[tuple[AddressRange, int | None, bool]] = [(where, None, False) for where in given] or [
            (where, node.number("numa-node-id") if "numa-node-id" in node.properties else None,
             "hotpluggable" in node.properties)
            for node in self._memory_nodes()
            for where in self._usable(self._ranges(node, "linux,usable-memory", "reg"))
        ]  # fmt: skip
        if banks and not given:
            for node in self._memory_nodes():
                self.warnings += empty_banks(node)
        merged: list[facts.RamBank] = []
        for where, numa_node, hotpluggable in sorted(banks, key=lambda bank: bank[0]):
            if merged and merged[-1].range.overlaps(where):
                last = merged.pop()
                where = AddressRange(last.base, max(last.range.end, where.end))  # noqa: PLW2901
                hotpluggable = hotpluggable or last.hotpluggable  # noqa: PLW2901
            merged.append(
                facts.RamBank(
                    base=where.base, size=where.size_bytes, numa_node=numa_node, hotpluggable=hotpluggable
                )
            )  # fmt: skip
        return tuple(merged)

    def _memory_nodes(self) -> list[Node]:
        children = self.root.children.values()
        return [node for node in children if node.string("device_type") == "memory" and node.available]

    def require_ram(self) -> None:
        """Say why there is no RAM (VT810), unless it could not be read."""
        if not self.errors:
            why, node = self._why_no_ram()
            self._error("VT810", f"the tree states no RAM: {why}", node, _MEMORY_HINT)

    def _why_no_ram(self) -> tuple[str, Node]:
        if booted_by_uefi(self.tree):
            return "UEFI's own map of memory has it, which is in no tree", self.root
        if nodes := self._memory_nodes():
            return f"{_paths(nodes)} has a size of 0", nodes[0]
        alike = [node for node in self.root.children.values() if node.base_name == "memory"]
        if alike:
            return f'{_paths(alike)} is disabled or has no device_type = "memory"', alike[0]
        return 'no child of the root has device_type = "memory"', self.root

    def _usable(self, ranges: Iterable[AddressRange]) -> Iterator[AddressRange]:
        """Cut RAM down to /chosen's linux,usable-memory-range, which a crash kernel gets."""
        chosen = self.root.children.get("chosen")
        limits = self._ranges(chosen, "linux,usable-memory-range") if chosen else []
        for where in ranges:
            if not limits:
                yield where
            for limit in limits:
                if where.overlaps(limit):
                    yield AddressRange(max(where.base, limit.base), min(where.end, limit.end))

    def _ranges(self, node: Node, *names: str) -> list[AddressRange]:
        """Return the ranges in the first of these properties that is there, in the root's address space."""
        found = next((node.properties[name] for name in names if name in node.properties), None)
        if found is None:
            return []
        # linux,usable-memory-range stands in /chosen in the root's widths, as reg of the root's children does.
        widths = self.root.address_cells, self.root.size_cells
        return self._pairs(node, found, *widths)

    def _pairs(self, node: Node, found: Property, address_cells: int, size_cells: int) -> list[AddressRange]:
        try:
            pairs = found.tuples(address_cells, size_cells)
            return _sound(found.name, (AddressRange.of_size(base, size) for base, size in pairs if size))
        except ValueError as error:
            self._unreadable(node, str(error), found)
            return []

    def _unreadable(self, node: Node, reason: str, found: Property | None = None) -> None:
        place = found.place if found and found.place else node.place
        self.errors.append(Diagnostic("VT813", f"{one_line(node.path)}: {reason}", place))

    def reservations(
        self, observed: Observed | None = None
    ) -> tuple[tuple[facts.CarveOut, ...], tuple[facts.DynamicReservation, ...]]:
        """Return what is reserved at a place, and what the kernel places itself."""
        static: dict[str, facts.CarveOut] = {}
        dynamic: dict[str, facts.DynamicReservation] = {}
        for where in self.tree.memory_reservations:
            name = _unused(f"memreserve-{where.base:x}", static)
            static[name] = _carve_out(name, where, "/memreserve/ of the device tree: firmware, or what it loaded")
        for node in reservations(self.tree):
            no_map = "no-map" in node.values
            if "reg" in node.values:
                reason = ", ".join([f"{one_line(node.path)} of the device tree", *map(one_line, node.compatible[:1])])
                assert node.parent is not None
                for where in self._pairs(node, node.properties["reg"], *_widths(node.parent)):
                    name = _unused(_region_name(node, where.base), static)
                    static[name] = _carve_out(name, where, reason, no_map=no_map)
            elif "size" in node.values and not any(misread_by_linux(self.root, node)):
                name = _unused(_region_name(node), dynamic)
                made = self._dynamic(node, name, no_map=no_map)
                dynamic |= {name: made} if made else {}
        for where, no_map in _observed(observed):
            if not any(carve.range.contains(where) for carve in static.values()):
                name = _unused(f"iomem-{where.base:x}", static)
                static[name] = _carve_out(name, where, _RESERVED_BY_SOMEBODY, no_map=no_map)
        ascending = sorted(static.values(), key=lambda carve: (carve.base, carve.size))
        return tuple(ascending), tuple(dynamic.values())

    def _dynamic(self, node: Node, name: str, *, no_map: bool) -> facts.DynamicReservation | None:
        """Return what Linux has to place, in the cells of the root; those that it skips are not asked for."""
        ranges = node.properties.get("alloc-ranges")
        where = self._pairs(node, ranges, *_widths(self.root)) if ranges else []
        size, alignment = (self._number(node, name) for name in ("size", "alignment"))
        if not size:
            return None
        return facts.DynamicReservation(
            name=name,
            size=size,
            alignment=alignment or None,
            alloc_ranges=tuple(_block(item) for item in where),
            no_map=no_map,
        )

    def _number(self, node: Node, name: str) -> int:
        """Return a size; 0 when it is not there, and with an error when it is absurd."""
        number = int.from_bytes(node.values.get(name, b""), "big")
        if number >> 60:
            self._unreadable(node, f"'{name}' is not a size below 1 EiB", node.properties[name])
            return 0
        return number

    def widths(self) -> facts.DeviceTreeFacts | None:
        """Return the cell widths, None with an error when they are not 1 or 2."""
        found = device_tree_facts(self.root)
        if found is None:
            self._unreadable(self.root, "#address-cells and #size-cells are not 1 or 2")
            return None
        self.warnings += ignored_reservations(self.root)
        return found

    # -- devices

    def cpus(self) -> tuple[facts.CpuNode, ...]:
        """Return the CPUs, counted as everywhere."""
        found = cpu_nodes(self.tree)
        if not found:
            self._error("VT814", "the tree has no CPUs", self.root)
        kinds = {kind for node in found for kind in node.compatible[:1]}
        if kinds and all(_CPUS_OF_32_BITS.fullmatch(kind) for kind in kinds):
            self._error("VT811", f"the tree is of a 32-bit board: its CPUs are {', '.join(sorted(kinds))}", found[0])
        return tuple(facts.CpuNode(path=node.path, compatible=_kind(node)) for node in found)

    def gic(self) -> facts.InterruptController | None:
        """Return the first GIC that is not disabled."""
        found = [node for node in self.tree.compatible(*_GIC_VERSIONS) if node.available]
        if not found:
            controllers = [node for node in self.root.walk() if "interrupt-controller" in node.properties]
            others = sorted({_kind(node) for node in controllers if "reg" in node.properties and node.compatible})
            instead = f"; its interrupt controllers are {', '.join(others[:4])}" if others else ""
            self._error("VT812", f"the tree has no GICv2 or GICv3{instead}", self.root)
            return None
        node = found[0]
        version = next(_GIC_VERSIONS[kind] for kind in node.compatible if kind in _GIC_VERSIONS)
        blocks = self._blocks(node)
        count = node.number("#redistributor-regions", 1) if version == 3 else 1
        if None in blocks[: count + 1] or len(blocks) <= count:
            needed = f"{count} regions of redistributors" if version == 3 else "a CPU interface"
            reached = sum(block is not None for block in blocks[: count + 1])
            message = (
                f"'{one_line(node.path)}' needs a distributor and {needed} in `reg`; {reached} of them can be read"
            )
            self._error("VT809", message, node)
            return None
        rest = [*blocks[1:], None, None, None]
        return facts.InterruptController(
            version=version,
            path=node.path,
            compatible=tuple(map(one_line, node.compatible)),
            maintenance_interrupt=not {"interrupts", "interrupts-extended"}.isdisjoint(node.values),
            distributor=blocks[0],
            redistributors=tuple(block for block in rest[:count] if block) if version == 3 else (),
            cpu_interface=rest[0] if version == 2 else None,
            hypervisor_interface=rest[1] if version == 2 else None,
            virtual_cpu_interface=rest[2] if version == 2 else None,
        )

    def _blocks(self, node: Node) -> list[facts.AddressBlock | None]:
        """Return each entry of ``reg`` as the CPU sees it, None for one that is empty or leads nowhere."""
        found: list[facts.AddressBlock | None] = []
        try:
            for address, size in node.reg():
                physical = node.translated(address) if size else None
                where = [] if physical is None else _sound("reg", [AddressRange.of_size(physical, size)])
                found.append(_block(where[0]) if where else None)
        except ValueError as error:
            self._unreadable(node, str(error), node.properties.get("reg"))
        return found

    def _device_ranges(self, node: Node) -> list[AddressRange]:
        try:
            return _sound("reg", node.ranges())
        except ValueError as error:
            self._unreadable(node, str(error), node.properties.get("reg"))
            return []

    def uarts(self) -> tuple[facts.Uart, ...]:
        """Return the UARTs that are not disabled: nodes named serial or uart, or with an alias serialN."""
        aliases = self.root.children.get("aliases")
        alias_of: dict[str, str] = {}
        for key, value in aliases.properties.items() if aliases else ():
            if re.fullmatch(r"serial\d+", key) and (named := self.tree.node(value.string)):
                alias_of.setdefault(named.path, key)
        stdout_path, _, options = self._stdout_path().partition(":")
        stdout = self.tree.node(stdout_path) if stdout_path else None
        found = []
        for node in self.root.walk():
            is_uart = node.name.startswith(("serial", "uart")) and node.base_name in ("serial", "uart")
            is_stdout = node is stdout
            if not ((is_uart and "reg" in node.values) or is_stdout or node.path in alias_of):
                continue
            if not node.compatible or not _reachable(node):
                continue
            ranges = self._device_ranges(node)
            alias = alias_of.get(node.path)
            console = _console(node, alias, options) if is_stdout else None
            address = ranges[0].base if ranges else None
            found.append(
                facts.Uart(
                    path=node.path, alias=alias, address=address, compatible=_kind(node), stdout=is_stdout,
                    console=console,
                )
            )  # fmt: skip
        return tuple(found)

    def _stdout_path(self) -> str:
        chosen = self.root.children.get("chosen")
        return chosen.string("stdout-path", chosen.string("linux,stdout-path")) if chosen else ""

    def iommus(self) -> tuple[facts.Iommu, ...]:
        """Return what other nodes can name in ``iommus``, which is what ``#iommu-cells`` says."""
        return tuple(
            facts.Iommu(path=node.path, compatible=_kind(node), enabled=_reachable(node))
            for node in self.root.walk()
            if ("#iommu-cells" in node.values or node.values.get("compatible", b"").startswith(_ARM_SMMUS))
            and node.compatible
        )


_ARM_SMMUS = (b"arm,smmu", b"arm,mmu-")
_RESERVED_BY_SOMEBODY = "reserved on the running system (/proc/iomem): by firmware, or by the kernel that runs"
_MEMORY_HINT = "give it with --memory BASE:SIZE, or import from the running board with --ssh HOST"


def _paths(nodes: Iterable[Node]) -> str:
    return ", ".join(one_line(node.path) for node in nodes)


def _widths(node: Node) -> tuple[int, int]:
    return node.address_cells, node.size_cells


def _kind(node: Node) -> str:
    return one_line(next(iter(node.compatible), "")) or "unknown"


def _reachable(node: Node | None) -> bool:
    """Whether neither the node nor anything around it is disabled."""
    return node is None or (node.available and _reachable(node.parent))


def _sound(name: str, ranges: Iterable[AddressRange]) -> list[AddressRange]:
    """Return the ranges; ValueError when one is larger than 1 EiB or ends beyond 64 bits."""
    found = list(ranges)
    for where in found:
        if where.end > 1 << 64 or where.size_bytes >> 60:
            raise ValueError(f"'{name}' has {where}, which ends beyond 64 bits or is larger than 1 EiB")
    return found


def _observed(observed: Observed | None) -> Iterator[tuple[AddressRange, bool]]:
    """Yield what a running board has reserved, and whether it is not even mapped."""
    if observed is not None:
        yield from ((where, True) for where in observed.unmapped)
        yield from ((where, False) for where in observed.reserved)


def _block(where: AddressRange) -> facts.AddressBlock:
    return facts.AddressBlock(base=where.base, size=where.size_bytes)


def _carve_out(name: str, where: AddressRange, reason: str, *, no_map: bool = False) -> facts.CarveOut:
    return facts.CarveOut(name=name, base=where.base, size=where.size_bytes, reason=reason, no_map=no_map)


def _region_name(node: Node, base: int | None = None) -> str:
    """Make a name of a node's: with its address where its own name says nothing (``memory@80000000``)."""
    name = name_from(node.base_name)
    if base is None or name not in ("memory", "region", "reserved", "buffer", "carveout"):
        return name
    return f"{name}-{base:x}"


def _unused(name: str, taken: Iterable[str]) -> str:
    """Return the name, or with the first number from 2 that makes it one of its own."""
    names, number, tried = set(taken), 2, name
    while tried in names:
        tried = f"{name[: 30 - len(str(number))]}-{number}"
        number += 1
    return tried


def _console(node: Node, alias: str | None, options: str) -> str | None:
    """Return Linux's ``console=`` for a UART, None when the driver's naming is not known."""
    number = alias.removeprefix("serial") if alias else None
    kinds = node.compatible
    port = next((port for pattern, port in _PORT_NAMES for kind in kinds if re.fullmatch(pattern, kind)), None)
    if port is None or number is None:
        return None
    speed = options if _SPEED.fullmatch(options) else ""
    return f"{port}{number}" + (f",{speed}" if speed else "")


def device_tree_facts(root: Node) -> facts.DeviceTreeFacts | None:
    """Return the cell widths of a tree, None when they are not 1 or 2."""
    reserved = root.children.get("reserved-memory")
    if any(not {node.address_cells, node.size_cells} <= {1, 2} for node in (root, reserved) if node is not None):
        return None
    said = root.children["chosen"].properties if "chosen" in root.children else {}
    chosen = {name: root.children["chosen"].number(f"#{name}-cells") for name in ("address", "size")
              if f"#{name}-cells" in said}  # fmt: skip
    return facts.DeviceTreeFacts(
        address_cells=root.address_cells,
        size_cells=root.size_cells,
        has_reserved_memory=reserved is not None,
        reserved_memory_address_cells=reserved.address_cells if reserved else None,
        reserved_memory_size_cells=reserved.size_cells if reserved else None,
        reserved_memory_ignored=why_ignored(root),
        chosen_address_cells=chosen.get("address"),
        chosen_size_cells=chosen.get("size"),
    )


def memory_facts(tree: Tree) -> tuple[tuple[facts.RamBank, ...], tuple[facts.DynamicReservation, ...]]:
    """Return a tree's RAM (none when it states none) and what the kernel places itself in it.

    Raises VtoolError VT813 for what cannot be read.
    """
    reading = _Reading(tree)
    ram, (_, dynamic) = reading.ram(()), reading.reservations()
    if reading.errors:
        raise VtoolError(dict.fromkeys(reading.errors))
    return ram, dynamic


_OF_BOOT_LOADERS = ("u-boot,version", "u-boot,bootconf", "linux,uefi-system-table", "kaslr-seed", "rng-seed")


def passed_a_boot_loader(tree: Tree) -> bool:
    """Whether a tree was handed over by a boot loader or hypervisor: /chosen has what only they write."""
    chosen = tree.root.children.get("chosen")
    return chosen is not None and any(any(chosen.values.get(name, b"")) for name in _OF_BOOT_LOADERS)


def why_ignored(root: Node) -> str | None:
    """Say why Linux ignores /reserved-memory (of_reserved_mem.c, __reserved_mem_check_root), None when it does not."""
    reserved = root.children.get("reserved-memory")
    if reserved is None:
        return None
    said = {"#address-cells", "#size-cells"} <= set(reserved.properties)
    if _widths(reserved) != _widths(root) or not said:
        return f"cell widths {_widths(reserved) if said else 'that it does not say'}, the root's are {_widths(root)}"
    return "no ranges" if "ranges" not in reserved.properties else None


def ignored_reservations(root: Node) -> list[Diagnostic]:
    """Return the warning (VT815) that Linux ignores the reserved memory of a tree, if it does."""
    odd = why_ignored(root)
    if odd is None:
        return []
    message = f"Linux ignores /reserved-memory of this tree: it has {odd}"
    return [Diagnostic("VT815", message, root.children["reserved-memory"].place, severity=Severity.WARNING)]
