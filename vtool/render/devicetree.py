"""Device-tree overlays: pools of KVM guests, regions of the host.

Overlays use target paths, so that the base needs no symbols, and labels, never phandle numbers.
Merged by fdtoverlay: the host's on the workstation, the guest's on the board, where the QEMU that
runs the guest writes the base tree (`-machine dumpdtb`).
"""

from __future__ import annotations

from collections.abc import Iterator

from vtool.model.board_facts import DeviceTreeFacts
from vtool.plan.types import BoardPlan
from vtool.platform import layouts
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.templating import fill

QEMU_TREE = DeviceTreeFacts.model_construct(address_cells=2, size_cells=2, has_reserved_memory=False)
"""QEMU hw/arm/virt.c create_fdt: what the tree of a guest's machine is like."""


def render(board: BoardPlan, guest_tree: DeviceTreeFacts = QEMU_TREE) -> Iterator[Artifact]:
    """One overlay per KVM guest with pools, one tree per guest of Xen with such devices, and the host's overlay."""
    for guest in board.kvm_guests:
        if guest.overlay is None:
            continue
        yield Artifact(
            Place.GENERATION,
            f"domains/{guest.name}/{guest.name}.dts",
            Kind.OVERLAY,
            fill("devicetree/guest-pools.dts.j2", guest=guest, tree=guest_tree),
            asked_by=("domains", guest.name),
            used_by=(guest.unit,),
        )
    for boot_guest in board.xen_boot.guests:
        if boot_guest.device_tree is not None and not boot_guest.device_tree.image:
            text = fill("devicetree/xen-guest.dts.j2", guest=boot_guest, gic=layouts.XEN_GIC_PHANDLE)
            yield Artifact(Place.BOOT, f"{boot_guest.name}.dts", Kind.TREE, text, ("domains", boot_guest.name))
    for of_xl in board.xen_guests:
        if of_xl.device_tree is not None and of_xl.device_tree_image is None:
            text = fill("devicetree/xen-guest.dts.j2", guest=of_xl, gic=layouts.XEN_GIC_PHANDLE)
            name, asked_by = f"domains/{of_xl.name}/partial.dts", ("domains", of_xl.name)
            yield Artifact(Place.GENERATION, name, Kind.TREE, text, asked_by, (of_xl.unit,))
    yield Artifact(
        Place.BOOT,
        "board.dts",
        Kind.HOST_OVERLAY,
        fill("devicetree/host-regions.dts.j2", board=board, tree=board.facts.device_tree),
        asked_by=("boards", board.name),
    )
