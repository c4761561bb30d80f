"""Rules on static shared memory: every way in which Xen is known to fail, or to go on, with a wrong node.

Sources: Xen docs/misc/arm/device-tree/booting.txt, xen/arch/arm/static-shmem.c (4.19 and 4.20; common/device-tree
since), xen/arch/arm/bootfdt.c and domain_build.c (4.17, 4.18); what was seen in runs of 4.17, 4.20 and 4.22.
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.base.units import GIB, KIB, MIB, PAGE_BYTES, AddressRange, dotted, format_size
from vtool.diagnostics import Severity
from vtool.diagnostics.codes import rule
from vtool.lint.context import Context, SharedMemory, direct_mapped, is_shared
from vtool.lint.domains import guest_memory
from vtool.lint.finding import Finding
from vtool.lint.modules import owner_name
from vtool.platform.xen_properties import SHARED_MEMORY
from vtool.platform.xen_releases import (
    GUESTS_ARE_TOLD,
    LARGE_TREES,
    MOST_REGIONS_OF_A_SMALL_TREE,
    STOPS_EARLY,
    UNPLACED,
    most_shared_regions,
)

LONGEST_ID = 15
NAME = "xen,shared-mem"
WARNING = Severity.WARNING

# Xen xen/include/public/arch-arm.h; what the domain has for certain comes first.
WINDOWS = (
    ("virtio-mmio window", AddressRange.of_size(0x0200_0000, MIB), ""),
    ("GICv2", AddressRange(0x0300_1000, 0x0300_4000), "gic2"),
    ("GICv3 distributor", AddressRange.of_size(0x0300_1000, 64 * KIB), "gic3"),
    ("GICv3 redistributors", AddressRange.of_size(0x0302_0000, 16 * MIB), "gic3"),
    ("vpl011", AddressRange.of_size(0x2200_0000, 4 * KIB), "vpl011"),
    ("grant table", AddressRange.of_size(0x3800_0000, 16 * MIB), "xen,enhanced"),
    ("magic pages", AddressRange.of_size(0x3900_0000, 16 * MIB), "xen,enhanced"),
    ("virtual PCI configuration space", AddressRange.of_size(0x1000_0000, 256 * MIB), "pci"),
    ("ACPI tables", AddressRange.of_size(0x2000_0000, 32 * MIB), "acpi"),
    ("virtual PCI memory", AddressRange.of_size(0x2300_0000, 256 * MIB), "pci"),
    ("virtual PCI prefetchable memory", AddressRange.of_size(0x1_0000_0000, 4 * GIB), "pci"),
)


def _each_id(context: Context) -> dict[str, list[SharedMemory]]:
    found: dict[str, list[SharedMemory]] = {}
    for shared in context.shared:
        found.setdefault(shared.id, []).append(shared)
    return found


@rule(
    "VT885",
    what="shared memory reaches no domain, or only in part",
    why="It stands under /chosen or a domain; before 4.19 it is missing in the guest's /memory (a warning).",
    example="xen,domain-shared-memory-v1 under /",
    fix="Move it; use Xen 4.19 or later.",
)
def shared_memory_is_looked_at(context: Context) -> Iterator[Finding]:
    """The node stands where Xen gives it to a domain, and this Xen tells guests of it."""
    for node in context.nodes:
        if is_shared(node) and node not in context.shared_nodes and context.has(SHARED_MEMORY):
            message = "static shared memory stands under '/chosen' (dom0) or a domain: no domain gets this"
            yield Finding("VT885", node, message)
    for parent in (context.chosen, *context.domains) if not context.has(GUESTS_ARE_TOLD) else ():
        first = next((node for node in context.shared_nodes if node.parent is parent), None)
        if first is not None and parent is not None:
            message = f"{context.xen} leaves the region out of the guest's /memory: no restricted-dma-pool works there"
            if parent is context.chosen and context.reserved_root is not None:
                message += ", and dom0 gets a second /reserved-memory, which its kernel may not see"
            yield Finding(
                "VT885",
                first,
                message,
                hints=(f"Xen {dotted(GUESTS_ARE_TOLD.since)} does both right",),
                severity=WARNING,
            )


@rule(
    "VT886",
    what="the id of shared memory is missing or too long",
    why="Xen allows 15 characters and stops its scan of the tree at others.",
    example='xen,shm-id = "0123456789abcdef"',
    fix="Shorten it.",
)
def ids_are_short(context: Context) -> Iterator[Finding]:
    """``xen,shm-id`` is there and has at most 15 characters."""
    for node in context.shared_nodes:
        name = node.string("xen,shm-id")
        if not name:
            message = f"`xen,shm-id` is missing or empty: {context.early_failure}"
            yield Finding("VT886", node, message, "xen,shm-id")
        elif len(name.encode("utf-8", "replace")) > LONGEST_ID:
            message = f"'{name}' has {len(name)} characters, {LONGEST_ID} are allowed: {context.early_failure}"
            yield Finding("VT886", node, message, "xen,shm-id")


@rule(
    "VT887",
    what="the role in shared memory is unknown",
    why="It is owner, borrower or left out.",
    example='role = "lender"',
    fix="Correct it.",
)
def roles_are_known(context: Context) -> Iterator[Finding]:
    """``role`` is owner, borrower or not said."""
    for node in context.shared_nodes:
        if "role" in node.values and (role := node.string("role")) not in ("owner", "borrower"):
            message = f"`role` is '{role}', neither owner nor borrower: {context.early_failure}"
            yield Finding("VT887", node, message, "role")


@rule(
    "VT888",
    what="xen,shared-mem has the wrong number of cells",
    why="It is [host,] guest, size in cells of the shared memory node's parent; host may be left out from 4.19 on.",
    example="five cells where the parent has 2 and 2",
    fix="Write it in the cells of the domain (of /chosen for dom0).",
)
def cells_are_those_of_the_parent(context: Context) -> Iterator[Finding]:
    """``xen,shared-mem`` is [host,] guest, size in the cells of the parent."""
    for node in context.shared_nodes:
        numbers, found, parent = context.shared_cells(node), node.properties.get(NAME), node.parent
        if found is None or parent is None:
            yield Finding("VT888", node, f"`{NAME}` is missing: {context.early_failure}")
        elif numbers is None:
            address, size = context.cells(parent)
            message = f"`{NAME}` has {len(found.value) // 4} cells, not {2 * address + size} (host, guest, size)"
            if context.has(UNPLACED):
                message += f" or {address + size} (guest, size)"
            message += f" as '{parent.path}' has them: {context.early_failure}"
            yield Finding("VT888", node, message, NAME, (parent,))
        elif len(numbers) == 2 and not context.has(UNPLACED):
            message = (
                f"`{NAME}` has no host address, which came with Xen {dotted(UNPLACED.since)}: {context.early_failure}"
            )
            yield Finding("VT888", node, message, NAME)


@rule(
    "VT889",
    what="the size in xen,shared-mem seems forgotten",
    why="Host and guest without a size are silently read as guest and size: a huge region from the heap.",
    example="xen,shared-mem = <0x0 0x70000000 0x0 0x60000000>",
    fix="Add the size.",
)
def sizes_are_not_forgotten(context: Context) -> Iterator[Finding]:
    """What Xen takes for guest and size is not host and guest with the size left out."""
    hosts = {(shared.id, shared.host) for shared in context.shared if shared.host is not None}
    for shared in context.shared:
        address, size = context.cells(shared.domain)
        its_host = (shared.id, shared.guest) in hosts
        # Only with equal widths has a triple without its size the length of (guest, size).
        if shared.host is not None or not context.has(UNPLACED) or address != size:
            continue
        if shared.size_bytes >= GIB or its_host:
            message = f"Xen reads guest {shared.guest:#x}, size {shared.size_bytes:#x}, silently, and takes"
            message += f" {format_size(shared.size_bytes)} of heap: is this host, guest without the size?"
            severity = Severity.ERROR if its_host else WARNING
            yield Finding("VT889", shared.node, message, NAME, severity=severity)


@rule(
    "VT890",
    what="shared memory is not whole pages",
    why="Host, guest and size are multiples of 4 KiB, and the size is not 0.",
    example="a size of 0x800",
    fix="Align them; 2 MiB is best.",
)
def numbers_are_pages(context: Context) -> Iterator[Finding]:
    """Host address, guest address and size are whole pages, and there is a size."""
    effect = context.early_failure if context.has(STOPS_EARLY) else f"{context.xen} panics"
    for shared in context.shared:
        named = (("host address", shared.host), ("guest address", shared.guest), ("size", shared.size_bytes))
        for what, number in named:
            if number is not None and number % PAGE_BYTES:
                message = f"the {what} {number:#x} is not aligned to {format_size(PAGE_BYTES)}: {effect}"
                yield Finding("VT890", shared.node, message, NAME)
        if not shared.size_bytes:
            yield Finding("VT890", shared.node, f"the size is 0: {context.early_failure}", NAME)


@rule(
    "VT891",
    what="one id of shared memory is two regions",
    why="Nodes of the same id must have the same host address and size.",
    example="the borrower's size differs from the owner's",
    fix="Copy the numbers from the owner.",
)
@rule(
    "VT899",
    what="only some nodes of a region give its host address",
    why="Xen accepts it silently; the second domain gets the region at a guest address that is the size.",
    example="host, guest, size in the owner and guest, size in the borrower",
    fix="Give the host address in all of them or in none.",
)
def an_id_is_one_region(context: Context) -> Iterator[Finding]:
    """Nodes with the same id mean the same host memory, and all or none say where it is."""
    for name, group in _each_id(context).items():
        first = group[0]
        for shared in group[1:]:
            same_place = shared.host == first.host or None in (shared.host, first.host)
            if shared.size_bytes != first.size_bytes or not same_place:
                message = f"'{name}' is another range in '{first.node.path}': {context.early_failure}"
                yield Finding("VT891", shared.node, message, NAME, (first.node,))
            elif shared.host != first.host and context.has(UNPLACED):
                message = f"of '{name}' one node gives the host address, '{first.node.path}' does not (or the other way"
                message += f" round): {context.xen} accepts it silently and maps the second at a guest address that is"
                yield Finding("VT899", shared.node, f"{message} really the size", NAME, (first.node,))


@rule(
    "VT892",
    what="one region of shared memory has two ids",
    why="Nodes of the same host range must have the same xen,shm-id.",
    example='owner "pool0", borrower "pool1"',
    fix="Use one id.",
)
def a_region_has_one_id(context: Context) -> Iterator[Finding]:
    """The same host memory has the same id everywhere."""
    seen: dict[AddressRange, SharedMemory] = {}
    for shared in context.shared:
        if shared.host_range is None:
            continue
        first = seen.setdefault(shared.host_range, shared)
        if first.id != shared.id:
            message = f"{shared.host_range} is '{shared.id}' here and '{first.id}' in '{first.node.path}'"
            yield Finding("VT892", shared.node, f"{message}: {context.early_failure}", "xen,shm-id", (first.node,))


@rule(
    "VT894",
    what="there are too many regions of shared memory",
    why="Xen keeps 32 (256 before 4.19), and before 4.22 the tree of a domain has room for about 20.",
    example="33 ids",
    fix="Merge regions.",
)
def there_are_not_too_many(context: Context) -> Iterator[Finding]:
    """Xen counts regions, and a generated tree has room for so many."""
    most = most_shared_regions(context.version)
    for number, group in enumerate(_each_id(context).values(), 1):
        if number > most:
            message = f"this is region {number}, {context.xen} has room for {most}: {context.early_failure}"
            yield Finding("VT894", group[0].node, message)
    for domain in context.domains if not context.has(LARGE_TREES) else ():
        own = [shared for shared in context.shared if shared.domain is domain]
        if len(own) > MOST_REGIONS_OF_A_SMALL_TREE:
            message = f"the domain has {len(own)} regions; with more than about {MOST_REGIONS_OF_A_SMALL_TREE} the tree"
            message += f" that {context.xen} makes is full: 'Device tree generation failed (-3)', and it stops"
            yield Finding("VT894", domain, message, None, (own[MOST_REGIONS_OF_A_SMALL_TREE].node,))


@rule(
    "VT895",
    what="shared memory has not exactly one owner",
    why="Two owners stop Xen; borrowers without an owner share pages that belong to nobody.",
    example='role = "borrower" in every node',
    fix="One owner and borrowers, or no role at all.",
)
def a_region_has_one_owner(context: Context) -> Iterator[Finding]:
    """One node owns a region and the others borrow it, or no node says its role."""
    for name, group in _each_id(context).items():
        owners = [shared for shared in group if shared.role == "owner"]
        borrowers = [shared for shared in group if shared.role == "borrower"]
        silent = [shared for shared in group if not shared.role]
        if len(owners) > 1:
            message = f"'{name}' already has the owner '{owners[0].node.path}': 'failed to acquire static memory: -2', "
            yield Finding("VT895", owners[1].node, f"{message}Xen stops", "role", (owners[0].node,))
        elif borrowers and not owners and not silent:
            message = f"nobody owns '{name}': {context.xen} accepts it silently, and its pages belong to no one"
            yield Finding("VT895", borrowers[0].node, message, "role")
        elif silent and (owners or borrowers):
            other = (owners or borrowers)[0].node
            message = f"`role` is not stated here but in '{other.path}': without it DOMID_IO is to own '{name}'"
            yield Finding("VT895", silent[0].node, message, None, (other,), ("state role in all nodes, or in none",))


@rule(
    "VT896",
    what="shared memory covers something of the guest",
    why="Over RAM Xen panics; over devices, or another region, it goes on silently.",
    example="a guest address of 0x4000000, inside the redistributors of a GICv3",
    fix="Choose addresses above the domain's RAM.",
)
def guest_addresses_are_free(context: Context) -> Iterator[Finding]:
    """A domain has nothing else where it sees a region."""
    earlier: list[SharedMemory] = []
    for shared in context.shared:
        where = shared.guest_range
        if where is None:
            continue
        for other in earlier:
            if other.domain is shared.domain and other.guest_range and where.overlaps(other.guest_range):
                message = f"{owner_name(shared.domain)} sees {where} and '{other.node.path}' {other.guest_range}"
                yield Finding("VT896", shared.node, f"{message} at the same place", NAME, (other.node,))
        earlier.append(shared)
        if shared.domain is context.chosen:
            continue
        taken = next((bank for bank in guest_memory(context, shared.domain) if bank.overlaps(where)), None)
        if taken and not direct_mapped(shared.domain):
            message = f"guest addresses {where} are in the domain's RAM {taken}"
            yield Finding("VT896", shared.node, f"{message}: Xen panics, 'Unable to copy the kernel'", NAME)
        elif not direct_mapped(shared.domain):
            yield from _window(context, shared, where)


def _window(context: Context, shared: SharedMemory, where: AddressRange) -> Iterator[Finding]:
    has = {"", *shared.domain.properties}
    has |= {"gic2", "gic3"} if context.gic_version is None else {f"gic{context.gic_version}"}
    hits = [(name, window, needs) for name, window, needs in WINDOWS if window.overlaps(where)]
    if not hits:
        return
    name, window, needs = min(hits, key=lambda hit: hit[2] not in has)
    certain = needs in has
    if needs.startswith("gic") and not certain:
        return
    message = f"guest addresses {where} cover the {name} {window}"
    message += ": Xen accepts it silently" if certain else ", which this domain does not use now"
    severity = Severity.ERROR if certain else WARNING
    hint = "free are 0x4100000 to 0x10000000 and what is above the domain's RAM in its bank"
    yield Finding("VT896", shared.node, message, NAME, (), (hint,), severity)


@rule(
    "VT897",
    what="shared memory is outside RAM",
    why="Xen aborts without a clear message.",
    example="a host address below the base of RAM",
    fix="Choose a place in RAM.",
)
def host_addresses_are_memory(context: Context) -> Iterator[Finding]:
    """A region lies in RAM."""
    for shared in context.shared:
        if shared.host_range and context.outside_memory(shared.host_range):
            banks = ", ".join(map(str, context.memory))
            message = f"host addresses {shared.host_range} are not inside RAM ({banks})"
            yield Finding("VT897", shared.node, f"{message}: Xen aborts without a clear message", NAME)


@rule(
    "VT898",
    what="shared memory of a domain that is mapped 1:1 is elsewhere",
    why="dom0 and direct-map domains see it at its host address, which must be said.",
    example="a guest address for dom0 that differs from the host's",
    fix="Write the same address twice.",
)
def direct_mapped_domains_see_host_addresses(context: Context) -> Iterator[Finding]:
    """Dom0 and domains with ``direct-map`` see a region where it is in the host."""
    for shared in context.shared:
        if not direct_mapped(shared.domain) or (shared.host is None and not context.has(UNPLACED)):
            continue
        who = owner_name(shared.domain)
        if shared.host is None:
            message = f"{who} is mapped 1:1 and needs the host address: Xen stops (rc = -22)"
            yield Finding("VT898", shared.node, message, NAME)
        elif shared.host != shared.guest:
            message = f"{who} is mapped 1:1, but host {shared.host:#x} and guest {shared.guest:#x} differ"
            yield Finding("VT898", shared.node, f"{message}: 'are not direct-mapped', Xen stops (rc = -22)", NAME)
