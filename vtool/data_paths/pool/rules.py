"""Rules on pools that alone are shared: what must not be beside one under KVM, and what Xen makes of one."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.check.kvm import kvm_devices
from vtool.check.xen_virtio import xen_virtio
from vtool.data_paths.facts import Shares
from vtool.diagnostics import Diagnostic, Label, Severity
from vtool.diagnostics.codes import rule
from vtool.model.combinations import is_daemon
from vtool.model.places import has_device
from vtool.model.topology import RegionUse, Role, Start, Xen, XenPatch
from vtool.reading.source import KeyPath


@rule(
    "VT341",
    what="data paths of one domain do not go together",
    why="QEMU hands all shared memory of a guest to each of its daemons, so one that needs all undoes another's pool.",
    example="data_path: shared-ram for a folder beside data_path: pool for a disk",
    fix="Use the pool for both, or give one of them to another domain.",
)
def data_paths_go_together(context: Context) -> Iterator[Diagnostic]:
    """Beside a daemon behind a pool, nothing shares more of the domain's memory."""
    for domain in context.topology.domains:
        mine = {n: d for n, d, _ in kvm_devices(context, domain) if has_device(domain, d)}
        behind = next((n for n, d in mine.items() if d.data_path.traits.shares is Shares.POOL), None)
        if behind is None:
            continue
        for name, device in mine.items():
            shares = device.data_path.traits.shares
            if (shares is Shares.RAM and is_daemon(device.program)) or shares in (Shares.RAM_WITH_POOL, Shares.REGION):
                message = (
                    f"device '{name}' of '{domain}' shares other memory of it ({device.data_path.value}), "
                    f"device '{behind}' has a pool that alone is shared"
                )
                label = Label(context.span("devices", behind, "data_path"), "the pool's device is here")
                hint = "QEMU hands all shared memory of a guest to every daemon: use pools for all, or two domains"
                yield context.find("VT341", message, ("devices", name, "data_path"), labels=(label,), hints=(hint,))


@rule(
    "VT387",
    what="the board's Xen is not known to write pools in the form that Linux reads",
    why=(
        "Upstream Xen's node of a region is no restricted-dma-pool and has no phandle; Linux then silently goes on "
        "without it."
    ),
    example="data_path: pool under Xen, without patches: [pool-node]",
    fix="Write image: vtool:xen at the hypervisor; or patch your own and write patches: [pool-node].",
)
@rule(
    "VT388",
    what="a guest with a pool has a partial device tree of its own",
    why="Xen takes one partial tree a guest, and the one that vtool writes has the virtio devices.",
    example="device_tree: mine.dtb, for a guest with a device by data_path: pool",
    fix="Leave device_tree out.",
)
def pools_reach_linux(context: Context) -> Iterator[Diagnostic]:
    """Xen writes a pool's node as Linux knows it, and the tree that names it is vtool's."""
    for name, device, _ in xen_virtio(context):
        frontend = context.topology.domains[device.frontend]
        if device.data_path.traits.shares is not Shares.POOL or frontend.start is not Start.DOM0LESS:
            continue  # VT373: xl shares no regions
        board = context.board_of[device.frontend]
        if not context.has_patch(board, XenPatch.POOL_NODE):
            message = (
                f"device '{name}' has a pool, but the Xen of board '{board}' writes no node for it that Linux takes "
                "for one: the guest would silently use all of its memory"
            )
            hint = (
                "write `image: vtool:xen`; or patch your own (docs/explanation/data-paths.md): `patches: [pool-node]`"
            )
            path: KeyPath = ("devices", name, "data_path")
            label = Label(context.span("boards", board, "hypervisor"), "this Xen has no such patch")
            yield context.find("VT387", message, path, labels=(label,), hints=(hint,))
        if frontend.device_tree is not None:
            message = f"`device_tree` of '{device.frontend}': vtool writes the partial tree of a guest with virtio"
            label = Label(context.span("devices", name, key=True), "its device is here")
            yield context.find("VT388", message, ("domains", device.frontend, "device_tree"), labels=(label,))


@rule(
    "VT389",
    what="a guest that Xen starts has virtio devices (warning)",
    why="It runs before dom0 can serve them, and an access that nobody answers stops its kernel.",
    example="a disk with data_path: pool",
    fix="Write image: vtool:xen, whose guests find no device there until dom0 serves it.",
)
def frontend_waits(context: Context) -> Iterator[Diagnostic]:
    """A guest that Xen starts must not touch its virtio devices before dom0 has their backend (warning)."""
    for domain in context.topology.domains:
        pooled = [n for n, d, _ in xen_virtio(context, domain) if d.data_path.traits.shares is Shares.POOL]
        if not pooled or context.has_patch(context.board_of[domain], XenPatch.VIRTIO_WAITS):
            continue
        if context.topology.domains[domain].start is Start.DOM0LESS:
            message = f"'{domain}' runs before dom0 serves '{pooled[0]}', and Linux stops at a device without a backend"
            hint = "write `image: vtool:xen`, or VIRTIO_MMIO is a module that its ramdisk loads once dom0 says so"
            path = ("domains", domain, "start")
            yield context.find("VT389", message, path, hints=(hint,), severity=Severity.WARNING)


@rule(
    "VT390",
    what="a guest owns shared memory on a Xen that makes pools of what guests own",
    why="Its kernel would take the region for a pool and clear it.",
    example="owner: fe0 of a region for shared-memory, with patches: [pool-node]",
    fix="Leave owner out; Xen itself owns the region then.",
)
def other_regions_stay_what_they_are(context: Context) -> Iterator[Diagnostic]:
    """On a Xen that makes pools of what a guest owns, a guest owns pools only."""
    for name, region in context.topology.regions.items():
        owner = context.topology.domains.get(region.owner or "")
        hypervisor = context.hypervisor_of(region.owner or "")
        if owner is None or owner.role is Role.CONTROL or not isinstance(hypervisor, Xen):
            continue
        patched = context.has_patch(context.board_of[region.owner or ""], XenPatch.POOL_NODE)
        if region.use is RegionUse.SHARED_MEMORY and patched:
            message = f"region '{name}' is owned by '{region.owner}', so that this Xen makes a pool of it, too"
            hint = "leave out `owner` and let both domains borrow it; Xen itself owns it then"
            yield context.find("VT390", message, ("regions", name, "owner"), hints=(hint,))
