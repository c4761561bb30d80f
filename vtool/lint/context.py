"""What a rule sees: the tree, the Xen version it is judged for, and what of Xen's and Linux's is in it.

Facts of Xen are of its sources: xen/common/device-tree/{bootfdt,bootinfo}.c, xen/arch/arm/{static-shmem,
static-memory,static-evtchn,dom0less-build}.c (4.20; older ones in xen/arch/arm/{bootfdt,setup,domain_build}.c) and
docs/misc/arm/device-tree/booting.txt. Facts of Linux: drivers/of/{fdt,of_reserved_mem,device}.c, kernel/dma/swiotlb.c.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from vtool.devicetree import DEFAULT_ADDRESS_CELLS, DEFAULT_SIZE_CELLS, Node, Property, Tree
from vtool.units import AddressRange

MODULE = "multiboot,module"
MODULE_COMPATIBLES = (MODULE, "xen,multiboot-module")
KERNEL_COMPATIBLES = ("multiboot,kernel", "xen,linux-zimage")
RAMDISK_COMPATIBLES = ("multiboot,ramdisk", "xen,linux-initrd")
OTHER_MODULES = ("multiboot,device-tree", "xen,xsm-policy")
DOMAIN = "xen,domain"
SHARED_MEMORY = "xen,domain-shared-memory-v1"
EVENT_CHANNEL = "xen,evtchn-v1"
CPUPOOL = "xen,cpupool"
VCPU = "xen,vcpu"
POOL = "restricted-dma-pool"
GIC_V3 = ("arm,gic-v3",)
GIC_V2 = ("arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a9-gic", "arm,cortex-a7-gic")
_PART_OF_XEN = {*MODULE_COMPATIBLES, DOMAIN, SHARED_MEMORY, EVENT_CHANNEL, CPUPOOL}


class XenVersion(NamedTuple):
    """A release; compares as releases do."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


VERSIONS = tuple(XenVersion(4, minor) for minor in range(16, 23))
NEWEST = VERSIONS[-1]


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


def ranges(node: Node) -> list[AddressRange]:
    """Return where a node's ``reg`` lies, nothing when it cannot be decoded (VT831 says so)."""
    try:
        return node.ranges()
    except ValueError:
        return []


def merged(banks: list[AddressRange]) -> list[AddressRange]:
    """Return the same addresses in as few ranges as possible, ascending."""
    found: list[AddressRange] = []
    for bank in sorted(banks):
        if found and bank.base <= found[-1].end:
            found[-1] = AddressRange(found[-1].base, max(found[-1].end, bank.end))
        else:
            found.append(bank)
    return found


@dataclass(frozen=True)
class Context:
    """Everything a rule may look at."""

    tree: Tree
    version: XenVersion

    @cached_property
    def kind(self) -> Kind:
        """Tell what the tree is for."""
        if any(child.base_name == "passthrough" for child in self.tree.root.children.values()):
            return Kind.PARTIAL
        chosen = self.chosen
        if chosen and (
            any(name.startswith("xen,") for name in chosen.properties)
            or any(_PART_OF_XEN & set(node.compatible) for node in chosen.walk())
        ):
            return Kind.XEN
        return Kind.LINUX

    @property
    def xen(self) -> str:
        """Return the hypervisor's name as messages have it."""
        return f"Xen {self.version}"

    @property
    def early_failure(self) -> str:
        """Say what this Xen does when its early scan of the tree meets what it refuses."""
        if self.version >= (4, 19):
            return f"{self.xen} panics before its console is up"
        return f"{self.xen} ends its early scan here and boots on without what comes later in the tree"

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Return every node, parents first, in the order of the tree."""
        return tuple(self.tree.root.walk())

    @cached_property
    def position(self) -> Mapping[Node, int]:
        """Return each node's position in the order in which Xen scans the tree."""
        return {node: at for at, node in enumerate(self.nodes)}

    @cached_property
    def by_phandle(self) -> Mapping[int, Node]:
        """Return the nodes by phandle."""
        return self.tree.by_phandle()

    def referenced(self, node: Node, name: str) -> list[tuple[int, Node | None]]:
        """Return the phandles that a property consists of, each with its node."""
        found = node.properties.get(name)
        return [(cell, self.by_phandle.get(cell)) for cell in found.cells] if found else []

    @cached_property
    def memory(self) -> list[AddressRange]:
        """Return RAM, merged and ascending; empty when the tree does not say (a boot loader will)."""
        banks = [
            bank
            for node in self.tree.root.children.values()
            if node.available and (node.string("device_type") == "memory" or node.base_name == "memory")
            for bank in ranges(node)
        ]
        return merged(banks)

    def outside_memory(self, where: AddressRange) -> bool:
        """Tell whether a range is not wholly RAM; False when the tree does not say what is."""
        return bool(self.memory) and not any(bank.contains(where) for bank in self.memory)

    @cached_property
    def reserved_root(self) -> Node | None:
        """Return ``/reserved-memory``."""
        return self.tree.root.children.get("reserved-memory")

    @cached_property
    def reserved(self) -> tuple[Node, ...]:
        """Return the regions that are reserved, those switched off left out."""
        if self.reserved_root is None:
            return ()
        return tuple(node for node in self.reserved_root.children.values() if node.available)

    @cached_property
    def pools(self) -> tuple[Node, ...]:
        """Return the restricted DMA pools, wherever they are, whatever their status."""
        return tuple(node for node in self.nodes if POOL in node.compatible)

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
                if name in at.properties and at.properties[name].cells:
                    return at.properties[name].cells[0]
                at = at.parent
            return default

        return inherited("#address-cells", DEFAULT_ADDRESS_CELLS), inherited("#size-cells", DEFAULT_SIZE_CELLS)

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
        """Tell whether Xen makes a dom0: a kernel directly under ``/chosen``, or files named to EFI."""
        return self.chosen is not None and (
            bool(self.kernels(self.chosen)) or "xen,uefi-cfg-load" in self.chosen.properties
        )

    @cached_property
    def xen_arguments(self) -> str | None:
        """Return Xen's command line, None when it gets none (boot_fdt_cmdline)."""
        if self.chosen is None:
            return None
        if "xen,xen-bootargs" in self.chosen.properties:
            return self.chosen.string("xen,xen-bootargs")
        if "xen,dom0-bootargs" in self.chosen.properties or any(
            module.node.string("bootargs") for module in self.kernels(self.chosen)
        ):
            return self.chosen.string("bootargs") if "bootargs" in self.chosen.properties else None
        return None

    @cached_property
    def shared_nodes(self) -> tuple[Node, ...]:
        """Return the static shared memory nodes that Xen looks at, well formed or not; none before 4.17."""
        if self.version < (4, 17) or self.chosen is None:
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
        if self.version < (4, 17):
            return []
        pairs = tuples(found, *self.cells(self.tree.root)) or []
        return [AddressRange.of_size(base, size) for base, size in pairs if size]

    @cached_property
    def gic_version(self) -> int | None:
        """Return the version of the interrupt controller, None when it is not known."""
        for version, names in ((3, GIC_V3), (2, GIC_V2)):
            if self.tree.compatible(*names):
                return version
        return None


def memory_bytes(domain: Node) -> int:
    """Return the domain's ``memory``, which is in KiB in two cells; 0 when it does not say (VT870 says so)."""
    found = domain.properties.get("memory")
    cells = found.cells if found else ()
    return (cells[0] << 32 | cells[1]) * 1024 if len(cells) >= 2 else 0


def direct_mapped(domain: Node) -> bool:
    """Tell whether a domain sees host addresses: dom0 (``/chosen``) always, another with ``direct-map``."""
    return DOMAIN not in domain.compatible or "direct-map" in domain.properties


def is_shared(node: Node) -> bool:
    """Tell whether a node is static shared memory."""
    return SHARED_MEMORY in node.compatible
