"""What a rule sees: the tree, the Xen version it is judged for, and what of Xen's and Linux's is in it.

Facts of Xen are of its sources: xen/common/device-tree/{bootfdt,bootinfo}.c, xen/arch/arm/{static-shmem,
static-memory,static-evtchn,dom0less-build}.c (4.20; older ones in xen/arch/arm/{bootfdt,setup,domain_build}.c) and
docs/misc/arm/device-tree/booting.txt. Facts of Linux: drivers/of/{fdt,of_reserved_mem,device}.c, kernel/dma/swiotlb.c.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from vtool.base.units import AddressRange, joined
from vtool.platform.devicetree import DEFAULT_ADDRESS_CELLS, DEFAULT_SIZE_CELLS, Node, Property, Tree, cpu_nodes
from vtool.platform.layouts import XEN_GIC_PHANDLE
from vtool.platform.xen_properties import CPUPOOLS, EVENT_CHANNELS, SHARED_MEMORY, STATIC_HEAP, XenProperty
from vtool.platform.xen_releases import STOPS_EARLY, Feature, XenVersion

MODULE = "multiboot,module"
MODULE_COMPATIBLES = (MODULE, "xen,multiboot-module")
KERNEL_COMPATIBLES = ("multiboot,kernel", "xen,linux-zimage")
RAMDISK_COMPATIBLES = ("multiboot,ramdisk", "xen,linux-initrd")
OTHER_MODULES = ("multiboot,device-tree", "xen,xsm-policy")
DOMAIN = "xen,domain"
POOL = "restricted-dma-pool"
PASSTHROUGH = "xen,passthrough"
"""In nodes that Xen keeps from dom0, to hand them to a domain."""
XEN_IOMMU_PHANDLE = 65001
"""Xen xen/include/public/device_tree_defs.h GUEST_PHANDLE_IOMMU."""
XEN_PHANDLES = (XEN_GIC_PHANDLE, XEN_IOMMU_PHANDLE)
"""Numbers that Xen and xl give to nodes of their own in a domain's tree."""
GIC_V3 = ("arm,gic-v3",)
GIC_V2 = ("arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a9-gic", "arm,cortex-a7-gic")
_NAMES_OF_RESERVED = ("reserved-memory", "reserved-mem", "reserved-regions", "resv-mem", "rsvd-mem")
_ALIKE = 0.85
MOST_ADDRESS_BITS = 56
"""Of physical addresses: Arm's FEAT_D128; all else has fewer."""
BOOT_LOADER_ADDS = "vtool,boot-loader-adds"
"""In /chosen of what vtool makes for Xen: the boot loader adds dom0's kernel and both command lines."""
_PART_OF_XEN = {*MODULE_COMPATIBLES, DOMAIN, SHARED_MEMORY.name, EVENT_CHANNELS.name, CPUPOOLS.name}


class Kind(Enum):
    """What a tree is for, told from what is in it."""

    LINUX = "Linux tree"
    XEN = "Xen boot tree"
    PARTIAL = "partial tree for a Xen domain"


@dataclass(frozen=True, eq=False)
class Module:
    """A boot module: its node, whose it is (``/chosen`` is dom0's), where it lies (None: not said, or wrongly)."""

    node: Node
    owner: Node
    kind: str
    range: AddressRange | None


@dataclass(frozen=True, eq=False)
class SharedMemory:
    """A static shared memory node that is well formed; ``host`` is None where Xen is to choose."""

    node: Node
    domain: Node
    id: str
    role: str
    host: int | None
    guest: int
    size_bytes: int

    @property
    def host_range(self) -> AddressRange | None:
        """Return where it lies in the host, None when Xen chooses or it has no size."""
        return AddressRange.of_size(self.host, self.size_bytes) if self.host is not None and self.size_bytes else None

    @property
    def guest_range(self) -> AddressRange | None:
        """Return where the domain sees it, None when it has no size."""
        return AddressRange.of_size(self.guest, self.size_bytes) if self.size_bytes else None


def tuples(found: Property | None, *widths: int) -> list[tuple[int, ...]] | None:
    """Return a property's tuples, None when it is not there or its length does not divide."""
    try:
        return found.tuples(*widths) if found is not None else None
    except ValueError:
        return None


def whole_rows(found: Property | None, *widths: int) -> list[tuple[int, ...]]:
    """Return a property's whole tuples from the first on, as Linux reads `ranges` and `dma-ranges` of any length."""
    step = 4 * sum(widths)
    if found is None or not step:
        return []
    return Property(found.name, found.value[: len(found.value) // step * step]).tuples(*widths)


def ranges(node: Node) -> list[AddressRange]:
    """Return where a node's ``reg`` lies; nothing of what cannot be decoded (VT831) or that no CPU reaches (VT900)."""
    try:
        return [where for where in node.ranges() if not (where.end - 1) >> MOST_ADDRESS_BITS]
    except ValueError:
        return []


@dataclass(frozen=True)
class Context:
    """Everything a rule may look at."""

    tree: Tree
    version: XenVersion
    asked: bool = False
    """Whether a release of Xen was named: a tree without modules is then judged as the host's, too."""

    @cached_property
    def kind(self) -> Kind:
        """Tell what the tree is for."""
        if any(child.base_name == "passthrough" for child in self.tree.root.children.values()):
            return Kind.PARTIAL
        chosen = self.chosen
        if chosen and (
            any(name.startswith("xen,") or name == BOOT_LOADER_ADDS for name in chosen.values)
            or any(_PART_OF_XEN & set(node.compatible) for node in chosen.walk())
        ):
            return Kind.XEN
        return Kind.LINUX

    @property
    def for_xen(self) -> bool:
        """Whether Xen is to boot it: a Xen boot tree, or a host's that is judged for a release."""
        return self.kind is Kind.XEN or (self.asked and self.kind is Kind.LINUX)

    @property
    def xen(self) -> str:
        """Return the hypervisor's name as messages have it."""
        return f"Xen {self.version}"

    def has(self, what: Feature | XenProperty) -> bool:
        """Whether the release that the tree is judged for has a feature, or reads a property."""
        return what.is_in(self.version)

    @property
    def early_failure(self) -> str:
        """Say what this Xen does when its early scan of the tree meets what it refuses."""
        if self.has(STOPS_EARLY):
            return f"{self.xen} panics before its console is up"
        return f"{self.xen} ends its early scan here and boots on without what comes later in the tree"

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Return every node, parents first, in the order of the tree."""
        return tuple(self.tree.root.walk())

    @cached_property
    def holders(self) -> Mapping[str, list[Node]]:
        """Return for each property the nodes that have it, in the order of the tree; dtc's symbols left out."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            if not node.name.startswith("__"):
                for name in node.values:
                    try:
                        found[name].append(node)
                    except KeyError:
                        found[name] = [node]
        return found

    def having(self, name: str) -> Sequence[Node]:
        """Return the nodes that have a property, in the order of the tree."""
        return self.holders.get(name, ())

    @cached_property
    def position(self) -> Mapping[Node, int]:
        """Return each node's position in the order in which Xen scans the tree."""
        return {node: at for at, node in enumerate(self.nodes)}

    @cached_property
    def by_phandle(self) -> Mapping[int, Node]:
        """Return the nodes by phandle; the first one when two have the same."""
        found = {number: node for node, number in reversed(self.numbered)}
        found.pop(0, None)  # names nothing
        return found

    @cached_property
    def numbered(self) -> tuple[tuple[Node, int], ...]:
        """Return the nodes that say a phandle, in the order of the tree but those with `linux,phandle` alone."""
        named = [(node, int.from_bytes(node.values["phandle"][:4], "big")) for node in self.having("phandle")]
        old = self.having("linux,phandle")
        named += [(node, node.number("linux,phandle")) for node in old if "phandle" not in node.values]
        return tuple(named)

    @cached_property
    def phandles(self) -> frozenset[bytes]:
        """Return the phandles that nodes have, as a property holds them."""
        return frozenset(number.to_bytes(4, "big") for number in self.by_phandle)

    @cached_property
    def off(self) -> frozenset[Node]:
        """Return the nodes that Linux makes no devices of, being switched off or below what is.

        Linux drivers/of/platform.c of_platform_bus_create. CPUs that are "disabled" it can start, of /reserved-memory
        it reads no status, and what Xen hands over is its guest's to judge.
        """
        found: set[Node] = set()
        cpus = self.tree.root.children.get("cpus")
        for node in self.nodes:  # parents first
            off = "status" in node.values and not node.available
            if node.parent in found or (off and node.parent is not cpus and node is not self.reserved_root):
                found.add(node)
        return frozenset(node for node in found if PASSTHROUGH not in node.values)

    def used(self, name: str) -> list[Node]:
        """Return the nodes that have a property and that Linux may make devices of, in the order of the tree."""
        return [node for node in self.having(name) if node not in self.off]

    def compatible(self, *names: str) -> list[Node]:
        """Return the nodes that are compatible with one of the names, in the order of the tree."""
        found = set()
        for name in names:
            word = name.encode()
            found |= {n for n in self.having("compatible") if word in n.values["compatible"] and name in n.compatible}
        return [node for node in self.having("compatible") if node in found] if found else []

    def referenced(self, node: Node, name: str) -> list[tuple[int, Node | None]]:
        """Return the phandles that a property consists of, each with its node."""
        return [(cell, self.by_phandle.get(cell)) for cell in node.cells(name)]

    @cached_property
    def memory_nodes(self) -> tuple[Node, ...]:
        """Return the nodes that Linux takes for RAM (drivers/of/fdt.c early_init_dt_scan_memory): told by type."""
        return tuple(
            node
            for node in self.tree.root.children.values()
            if node.available and node.string("device_type") == "memory"
        )

    @cached_property
    def memory(self) -> list[AddressRange]:
        """Return RAM, merged and ascending; empty when the tree does not say (a boot loader will)."""
        return joined([bank for node in self.memory_nodes for bank in ranges(node)])

    def outside_memory(self, where: AddressRange) -> bool:
        """Whether a range is not wholly RAM; False when the tree does not say what is."""
        return bool(self.memory) and not any(bank.contains(where) for bank in self.memory)

    @cached_property
    def reserved_root(self) -> Node | None:
        """Return ``/reserved-memory`` as Linux finds it: libfdt lets a unit address follow."""
        return next((n for n in self.tree.root.children.values() if n.base_name == "reserved-memory"), None)

    @cached_property
    def misplaced(self) -> tuple[Node, ...]:
        """Return the nodes that are meant as ``/reserved-memory`` and are not: elsewhere, or by another name."""
        return tuple(
            node
            for node in self.nodes
            if node.name[:1] in "rR"
            and is_like_reserved(node.base_name)
            and node is not self.reserved_root
            and any({"reg", "size"} & set(child.values) for child in node.children.values())
        )

    @cached_property
    def reserved(self) -> tuple[Node, ...]:
        """Return the regions that are reserved, those switched off left out."""
        if self.reserved_root is None:
            return ()
        return tuple(node for node in self.reserved_root.children.values() if node.available)

    @cached_property
    def pools(self) -> tuple[Node, ...]:
        """Return the restricted DMA pools, wherever they are, whatever their status."""
        return tuple(self.compatible(POOL))

    @cached_property
    def chosen(self) -> Node | None:
        """Return ``/chosen``."""
        return self.tree.root.children.get("chosen")

    @cached_property
    def domains(self) -> tuple[Node, ...]:
        """Return the domains that Xen builds at boot, in order."""
        children = self.chosen.children.values() if self.chosen else ()
        return tuple(node for node in children if DOMAIN in node.compatible)

    def cells(self, node: Node) -> tuple[int, int]:
        """Return the widths of addresses and sizes of ``node``'s children as Xen has them: inherited if not said."""

        def inherited(name: str, default: int) -> int:
            at: Node | None = node
            while at is not None:
                if name in at.values and at.properties[name].cells:
                    return at.properties[name].cells[0]
                at = at.parent
            return default

        return inherited("#address-cells", DEFAULT_ADDRESS_CELLS), inherited("#size-cells", DEFAULT_SIZE_CELLS)

    def reg_cells(self, parent: Node) -> tuple[int, int]:
        """Return the cells in which children's ``reg`` is read; /chosen and domains inherit theirs, as in Xen."""
        found = self._reg_cells.get(parent)
        if found is None:
            inherits = parent is self.chosen or parent in self.domains
            found = self.cells(parent) if inherits else (parent.address_cells, parent.size_cells)
            self._reg_cells[parent] = found
        return found

    @cached_property
    def _reg_cells(self) -> dict[Node, tuple[int, int]]:
        return {}

    @cached_property
    def modules(self) -> tuple[Module, ...]:
        """Return every boot module in the order of the tree; what is left unnamed is guessed as Xen does."""
        return tuple(self._modules())

    def _modules(self) -> Iterator[Module]:
        guesses = iter(("kernel", "ramdisk"))
        if self.chosen is None:
            return
        for node in self.chosen.walk():
            # Xen looks three levels deep (early_scan_node).
            if not set(MODULE_COMPATIBLES) & set(node.compatible) or node.parent is None or node.path.count("/") > 3:
                continue
            if set(KERNEL_COMPATIBLES) & set(node.compatible):
                kind = "kernel"
            elif set(RAMDISK_COMPATIBLES) & set(node.compatible):
                kind = "ramdisk"
            elif known := [name for name in OTHER_MODULES if name in node.compatible]:
                kind = known[0]
            else:
                kind = next(guesses, "unknown")
            pairs = tuples(node.properties.get("reg"), *self.cells(node.parent))
            where = AddressRange.of_size(*pairs[0]) if pairs and pairs[0][1] else None
            yield Module(node, node.parent, kind, where)

    def kernels(self, owner: Node) -> list[Module]:
        """Return a domain's kernels (dom0's: of ``/chosen``)."""
        return [module for module in self.modules if module.owner is owner and module.kind == "kernel"]

    @cached_property
    def has_dom0(self) -> bool:
        """Whether Xen makes a dom0: a kernel directly under ``/chosen``, or to come, or files named to EFI."""
        return self.completed_later or (
            self.chosen is not None and (bool(self.kernels(self.chosen)) or "xen,uefi-cfg-load" in self.chosen.values)
        )

    @property
    def completed_later(self) -> bool:
        """Whether dom0's kernel and the command lines are still to come, as the tree says."""
        return self.chosen is not None and BOOT_LOADER_ADDS in self.chosen.values and not self.kernels(self.chosen)

    @cached_property
    def xen_arguments(self) -> str | None:
        """Return Xen's command line, None when it gets none (boot_fdt_cmdline)."""
        if self.chosen is None:
            return None
        if "xen,xen-bootargs" in self.chosen.values:
            return self.chosen.string("xen,xen-bootargs")
        if "xen,dom0-bootargs" in self.chosen.values or any(
            module.node.string("bootargs") for module in self.kernels(self.chosen)
        ):
            return self.chosen.string("bootargs") if "bootargs" in self.chosen.values else None
        return None

    @property
    def name_of_arguments(self) -> str:
        """Return the property of /chosen that Xen reads its command line of."""
        has = self.chosen is not None and "xen,xen-bootargs" in self.chosen.values
        return "xen,xen-bootargs" if has else "bootargs"

    @cached_property
    def shared_nodes(self) -> tuple[Node, ...]:
        """Return the static shared memory nodes that Xen looks at, well formed or not."""
        if not self.has(SHARED_MEMORY) or self.chosen is None:
            return ()
        parents = (self.chosen, *self.domains)
        return tuple(node for parent in parents for node in parent.children.values() if is_shared(node))

    def shared_cells(self, node: Node) -> tuple[int, ...] | None:
        """Return (host, guest, size) or (guest, size) of ``xen,shared-mem``, None when it is neither."""
        found = node.properties.get("xen,shared-mem")
        if found is None or node.parent is None:
            return None
        address, size = self.cells(node.parent)
        for widths in ((address, address, size), (address, size)):
            if len(found.value) == 4 * sum(widths):
                numbers = tuples(found, *widths)
                return numbers[0] if numbers else None
        return None

    @cached_property
    def shared(self) -> tuple[SharedMemory, ...]:
        """Return the static shared memory nodes that can be decoded."""
        found = []
        for node in self.shared_nodes:
            numbers = self.shared_cells(node)
            if numbers and node.parent is not None:
                host = numbers[0] if len(numbers) == 3 else None
                guest, size = numbers[-2:]
                name, role = node.string("xen,shm-id"), node.string("role")
                found.append(SharedMemory(node, node.parent, name, role, host, guest, size))
        return tuple(found)

    def static_memory(self, domain: Node) -> list[AddressRange]:
        """Return a domain's static memory as Xen reads it, nothing when it does not divide (VT872 says so)."""
        widths = self.cells(domain.parent) if domain.parent else (2, 1)
        pairs = tuples(domain.properties.get("xen,static-mem"), *widths) or []
        return [AddressRange.of_size(base, size) for base, size in pairs if size]

    @cached_property
    def static_heap(self) -> list[AddressRange]:
        """Return the static heap; its cells are the root's."""
        found = self.chosen.properties.get("xen,static-heap") if self.chosen else None
        if not self.has(STATIC_HEAP):
            return []
        pairs = tuples(found, *self.cells(self.tree.root)) or []
        return [AddressRange.of_size(base, size) for base, size in pairs if size]

    @cached_property
    def processor(self) -> str:
        """Return the first compatible string of the first CPU, the empty one when the tree does not say."""
        nodes = cpu_nodes(self.tree)
        return next(iter(nodes[0].compatible), "") if nodes else ""

    @property
    def coherent_by_itself(self) -> bool:
        """Whether Linux takes devices for coherent that do not say (RISC-V: ARCH_DMA_DEFAULT_COHERENT)."""
        return any("riscv" in name for node in cpu_nodes(self.tree)[:1] for name in node.compatible)

    @property
    def in_pages_of_4_kib(self) -> bool:
        """Whether Linux has pages of 4 KiB, or larger ones, in blocks of 2 MiB at least: not on MIPS or Xtensa."""
        return not self.processor.startswith(("brcm,bmips", "cdns,xtensa", "ingenic,", "loongson,", "mips,", "mti,"))

    @cached_property
    def gic_version(self) -> int | None:
        """Return the version of the interrupt controller, None when it is not known."""
        for version, names in ((3, GIC_V3), (2, GIC_V2)):
            if self.compatible(*names):
                return version
        return None


@functools.cache
def is_like_reserved(name: str) -> bool:
    """Whether a node's name is ``reserved-memory`` or what one writes by mistake for it."""
    return bool(difflib.get_close_matches(name.lower(), _NAMES_OF_RESERVED, cutoff=_ALIKE))


def memory_bytes(domain: Node) -> int:
    """Return the domain's ``memory``, which is in KiB in two cells; 0 when it does not say (VT870 says so)."""
    found = domain.properties.get("memory")
    cells = found.cells if found else ()
    return (cells[0] << 32 | cells[1]) * 1024 if len(cells) >= 2 else 0


def direct_mapped(domain: Node) -> bool:
    """Whether a domain sees host addresses: dom0 (``/chosen``) always, another with ``direct-map``."""
    return DOMAIN not in domain.compatible or "direct-map" in domain.values


def is_shared(node: Node) -> bool:
    """Whether a node is static shared memory."""
    return SHARED_MEMORY.name in node.compatible
