"""The host's device tree after merging: what an overlay cannot say is added, and the result compared with the plan.

An overlay cannot name nodes of a base tree that has no symbols, so the CPUs of Xen's pools are written
here, once the base tree is at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vtool.base.units import KIB, PAGE_BYTES, AddressRange
from vtool.data_paths.facts import Transport
from vtool.diagnostics import Diagnostic, nearest
from vtool.lint import Finding, lint
from vtool.lint.context import BOOT_LOADER_ADDS
from vtool.model.board_facts import LoadAddresses
from vtool.plan.types import BoardPlan, ControlDomain, HostRegion, KvmGuest, Pool, SharedView, XenBootGuest
from vtool.plan.xen_boot import pool_numbers
from vtool.platform.devicetree import Node, Tree, cpu_nodes
from vtool.platform.layouts import QEMU_VIRT_PCI_NODE, XEN_POOL_PHANDLE
from vtool.platform.xen_properties import Reference
from vtool.platform.xen_releases import XenVersion


def complete(blob: bytes, board: BoardPlan, base: Tree) -> bytes:
    """Write the CPUs of every pool into a merged tree; they are those of its base. ValueError when it lacks them."""
    if not board.xen_boot.cpupools:
        return blob
    import libfdt  # noqa: PLC0415 - compiled code, needed by staging only

    cpus = cpu_nodes(base)
    fdt = libfdt.Fdt(blob)
    fdt.resize(len(blob) + 4 * KIB)
    highest = libfdt.fdt_get_max_phandle(fdt.as_bytearray())
    for pool in board.xen_boot.cpupools:
        handles = []
        for cpu in pool.cpus:
            if cpu >= len(cpus):
                raise ValueError(f"CPU {cpu} of pool '{pool.name}' is not in the base tree, which has {len(cpus)}")
            at = fdt.path_offset(cpus[cpu].path)
            handle = fdt.get_phandle(at)
            if not handle:
                highest += 1
                handle = highest
                fdt.setprop_u32(at, "phandle", handle)
            handles.append(handle)
        value = b"".join(handle.to_bytes(4, "big") for handle in handles)
        fdt.setprop(fdt.path_offset(f"/chosen/{pool.node_name}"), "cpupool-cpus", value)
    fdt.pack()
    return bytes(fdt.as_bytearray())


def as_booted(blob: bytes, board: BoardPlan, sizes: Mapping[str, int] | None) -> bytes:
    """Do to a merged tree what the boot loader does before Xen reads it; ``sizes`` are those of files, in bytes.

    What `boot.cmd` writes, and what Xen itself does under UEFI, where it loads dom0's kernel (efi-boot.h). Without
    ``sizes`` another boot loader does it, and lint is told so.
    """
    if board.xen_bootargs is None:
        return blob
    import libfdt  # noqa: PLC0415 - compiled code, needed by staging only

    fdt = libfdt.Fdt(blob)
    fdt.resize(len(blob) + 16 * KIB)
    chosen = fdt.path_offset("/chosen", quiet=(libfdt.NOTFOUND,))
    if chosen < 0:
        fdt.add_subnode(0, "chosen")
    cells = board.facts.device_tree.chosen_cells
    for name, value in zip(("#address-cells", "#size-cells"), cells, strict=True):
        if not fdt.hasprop(fdt.path_offset("/chosen"), name):
            fdt.setprop_u32(fdt.path_offset("/chosen"), name, value)
    chosen = fdt.path_offset("/chosen")
    if sizes is None:
        fdt.setprop(chosen, BOOT_LOADER_ADDS, b"")
        return bytes(fdt.as_bytearray())
    fdt.setprop_str(chosen, "xen,xen-bootargs", board.xen_bootargs)
    fdt.setprop_str(chosen, "xen,dom0-bootargs", board.control.bootargs)
    if board.facts.load is None:
        fdt.setprop(chosen, "xen,uefi-cfg-load", b"")
    else:
        for kind, where in _modules_of_dom0(board.control, board.facts.load, sizes).items():
            node = fdt.add_subnode(fdt.path_offset("/chosen"), f"module@{where.base:x}")
            fdt.setprop(node, "compatible", f"multiboot,{kind}\0multiboot,module\0".encode())
            fdt.setprop(node, "reg", _in_cells(where, *cells))
    policy = board.xen_boot.xsm_policy
    if policy is not None and (size := sizes.get(policy.file)):
        node = fdt.path_offset(f"/chosen/{policy.node_name}")
        fdt.setprop(node, "reg", _in_cells(AddressRange.of_size(policy.window.base, size), *cells))
    for guest in board.xen_boot.guests:
        for module in guest.modules:
            if size := sizes.get(module.file):
                where = AddressRange.of_size(module.window.base, size)
                node = fdt.path_offset(f"/chosen/{guest.node_name}/{module.node_name}")
                fdt.setprop(node, "reg", _in_cells(where, 2, 2))
    fdt.pack()
    return bytes(fdt.as_bytearray())


def _modules_of_dom0(control: ControlDomain, load: LoadAddresses, sizes: Mapping[str, int]) -> dict[str, AddressRange]:
    modules = {"kernel": AddressRange.of_size(load.kernel, sizes.get("Image") or PAGE_BYTES)}
    if control.ramdisk_window is not None:
        modules["ramdisk"] = AddressRange.of_size(control.ramdisk_window.base, sizes.get("initrd") or PAGE_BYTES)
    return modules


def _in_cells(where: AddressRange, address_cells: int, size_cells: int) -> bytes:
    return where.base.to_bytes(4 * address_cells, "big") + where.size_bytes.to_bytes(4 * size_cells, "big")


def new_faults(base: Tree, merged: Tree, release: tuple[int, int] | None) -> list[Diagnostic]:
    """Return what lint finds in a tree for a release of Xen (None: for Linux alone) and does not in its base.

    What a board's own tree was like before a plan touched it is not the plan's fault.
    """
    version = XenVersion(*release) if release else None
    before = set(map(_kind_of, lint(base)[1]))
    return [found.diagnostic() for found in lint(merged, version)[1] if _kind_of(found) not in before]


def _kind_of(found: Finding) -> tuple[str, str, bool]:
    """Return what makes two findings the same: what Linux bears may be what Xen stops at."""
    return found.code, found.node.path, "Xen" in found.message


def absent_nodes(tree: Tree, board: BoardPlan) -> list[Diagnostic]:
    """Return a finding (VT417) for each node to be passed through that a board's tree does not have.

    Xen compares whole names (dt_find_node_by_path); what libfdt would find without a unit address is not enough.
    """
    paths = {node.path: None for node in tree.root.walk()}
    return [
        Diagnostic(
            "VT417",
            f"the device tree of board '{board.name}' has no node '{node.path}' to pass through to '{node.domain}'",
            node.place,
            hints=nearest(node.path, paths),
        )
        for node in board.passthrough
        if node.path not in paths
    ]


def differences(tree: Tree, board: BoardPlan) -> Iterator[str]:
    """Yield everything in which a merged tree is not what was planned."""
    for region in board.host_regions:
        yield from _region_differs(tree, "region", region, region.compatible)
    boot = board.xen_boot
    if boot.empty:
        return
    chosen = tree.root.children["chosen"]
    if boot.static_heap is not None:
        seen = _pairs(chosen, "xen,static-heap", tree.root)
        if seen != [boot.static_heap.range]:
            yield f"the static heap is at {_list(seen)}, not at {boot.static_heap.range}"
    for view in boot.shared:
        yield from _shared_differs(chosen, view, "dom0")
    if boot.xsm_policy is not None:
        seen = _ranges(chosen.children.get(boot.xsm_policy.node_name))
        if seen != [boot.xsm_policy.window]:
            yield f"module '{boot.xsm_policy.file}' is at {_list(seen)}, not in {boot.xsm_policy.window}"
    numbered = [name for name, node in chosen.children.items() if "xen,domain" in node.compatible]
    for guest in boot.guests:
        yield from _guest_differs(chosen, guest)
        number = numbered.index(guest.node_name) + 1
        if guest.domain_id != number:
            yield f"domain '{guest.name}' is number {number} to Xen, not {guest.domain_id}"
        owned = [n for n in chosen.children[guest.node_name].children.values() if n.string("role") == "owner"]
        for device in guest.virtio:
            view = next(view for view in guest.shared if view.region == device.pool)
            phandle = XEN_POOL_PHANDLE + [node.name for node in owned].index(view.node_name)
            if device.pool_phandle != phandle:
                yield f"pool '{device.pool}' of '{guest.name}' gets phandle {phandle}, not {device.pool_phandle}"
    yield from _references_differ(tree, chosen, board)


def guest_differences(tree: Tree, guest: KvmGuest) -> Iterator[str]:
    """Yield everything in which a guest's merged tree is not what was planned."""
    by_phandle = tree.by_phandle()
    for pool in guest.pools:
        yield from _region_differs(tree, "pool", pool, pool.use.value)
    for device in guest.devices:
        if device.pool is None:
            continue
        mmio = device.transport is Transport.MMIO
        machine = tree.node(f"/{device.node_name}" if mmio else QEMU_VIRT_PCI_NODE)
        if machine is None or not machine.compatible:
            yield f"device '{device.name}' has no '{device.node_name if mmio else QEMU_VIRT_PCI_NODE}' in the base tree"
            continue
        user = machine if mmio else machine.children[device.node_name]
        named = [by_phandle.get(handle) for handle in user.properties["memory-region"].cells]
        if [found.name if found else "" for found in named] != [device.pool.node_name]:
            yield f"device '{device.name}' does not name the pool '{device.pool.region}'"


def _region_differs(tree: Tree, what: str, region: HostRegion | Pool, compatible: str) -> Iterator[str]:
    """Compare where a region is, what it is, and who names it."""
    node = tree.node(f"/reserved-memory/{region.node_name}")
    seen = _ranges(node)
    if node is None or seen != [region.range]:
        yield f"{what} '{region.region}' is at {_list(seen)}, not at {region.range}"
        return
    flags = {region.flag} if region.flag else set()
    if node.string("compatible") != compatible or {"no-map", "reusable"} & set(node.properties) != flags:
        flag = region.flag or "neither no-map nor reusable"
        yield f"region '{region.region}' is not '{compatible or 'plain'}' with {flag}"
        return
    for path in region.device_nodes:
        user = tree.node(path)
        if user is None or node.phandle is None or user.properties["memory-region"].cells != (node.phandle,):
            yield f"'{path}' does not name the region '{region.region}'"


def _references_differ(tree: Tree, chosen: Node, board: BoardPlan) -> Iterator[str]:
    """Compare what is said by phandle: CPUs of pools, the other ends of event channels."""
    boot, by_phandle, cpus = board.xen_boot, tree.by_phandle(), cpu_nodes(tree)
    for pool in boot.cpupools:
        handles = chosen.children[pool.node_name].properties["cpupool-cpus"].cells
        if [by_phandle.get(handle) for handle in handles] != [cpus[cpu] for cpu in pool.cpus]:
            yield f"pool '{pool.name}' does not name the CPUs {pool.cpus}"
    named = {pool.label: chosen.children[pool.node_name] for pool in boot.cpupools}
    for guest in boot.guests:
        for setting in guest.settings:
            if not isinstance(setting.in_tree, Reference):
                continue
            handle = chosen.children[guest.node_name].number(setting.row.name)
            if by_phandle.get(handle) is not named[setting.in_tree.label]:
                yield f"`{setting.row.name}` of '{guest.name}' does not name '{setting.in_tree.label}'"
    cpus_of = {pool.node_name: pool.cpus for pool in boot.cpupools}
    numbers = pool_numbers({name: cpus_of[name] for name in chosen.children if name in cpus_of})
    for pool in boot.cpupools:
        if numbers[pool.node_name] != pool.number:
            yield f"pool '{pool.name}' is number {numbers[pool.node_name]} to Xen, not {pool.number}"
    places = {guest.name: chosen.children[guest.node_name] for guest in boot.guests}
    for end in boot.channel_ends:
        node = places.get(end.domain, chosen).children[f"evtchn-{end.channel}"]
        port, handle = node.properties["xen,evtchn"].cells
        other = by_phandle.get(handle)
        if port != end.port or other is None or other.properties["xen,evtchn"].cells[0] != end.other_port:
            yield f"event channel '{end.channel}' of '{end.domain}' is not at port {end.port}"


def _guest_differs(chosen: Node, guest: XenBootGuest) -> Iterator[str]:
    node = chosen.children[guest.node_name]
    memory = node.properties["memory"].tuples(2)[0][0] * KIB
    if memory != guest.memory_bytes:
        yield f"domain '{guest.name}' has {memory} bytes, not {guest.memory_bytes}"
    static = _pairs(node, "xen,static-mem", chosen)
    if static != [part.range for part in guest.static_memory]:
        yield f"static memory of '{guest.name}' is at {_list(static)}"
    for module in guest.modules:
        seen = _ranges(node.children[module.node_name])
        if seen != [module.window]:
            yield f"module '{module.file}' is at {_list(seen)}, not in {module.window}"
    for setting in guest.settings:
        name, wanted = setting.row.name, setting.tree_bytes
        if not isinstance(setting.in_tree, tuple | Reference) and node.values.get(name) != wanted:
            yield f"`{name}` of '{guest.name}' is {node.values.get(name)!r}, not {wanted!r}"
    if node.children[guest.kernel.node_name].string("bootargs") != guest.bootargs:
        yield f"the command line of '{guest.name}' is {node.children[guest.kernel.node_name].string('bootargs')!r}"
    for view in guest.shared:
        yield from _shared_differs(node, view, guest.name)


def _shared_differs(parent: Node, view: SharedView, domain: str) -> Iterator[str]:
    node = parent.children.get(view.node_name)
    if node is None:
        yield f"region '{view.region}' of '{domain}' is missing"
        return
    cells = (parent.address_cells, parent.size_cells)
    widths = (cells[0], *cells) if view.host else cells
    (numbers,) = node.properties["xen,shared-mem"].tuples(*widths)
    wanted = (*((view.host.base,) if view.host else ()), view.inside.base, view.inside.size_bytes)
    if numbers != wanted or node.string("xen,shm-id") != view.xen_id or node.string("role") != (view.role or ""):
        yield f"region '{view.region}' of '{domain}' is not as planned: {tuple(map(hex, numbers))}"


def _ranges(node: Node | None) -> list[AddressRange]:
    return [AddressRange.of_size(base, size) for base, size in node.reg()] if node else []


def _pairs(node: Node, name: str, cells_of: Node) -> list[AddressRange]:
    if name not in node.properties:
        return []
    pairs = node.properties[name].tuples(cells_of.address_cells, cells_of.size_cells)
    return [AddressRange.of_size(base, size) for base, size in pairs]


def _list(ranges: list[AddressRange]) -> str:
    return ", ".join(map(str, ranges)) or "no place"
