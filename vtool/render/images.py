"""Which images go where: kernels and ramdisks of domains, kernel and hypervisor of the board."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from vtool.plan.types import BoardPlan
from vtool.render.artifacts import Artifact, Kind, Place


def render(board: BoardPlan) -> Iterator[Artifact]:
    """References only; the bytes come from the cache or the user's files when the set is staged."""
    yield _image(Place.BOOT, "Image", board.control.kernel_image, ("domains", board.control.name))
    if board.xen_image is not None:
        yield _image(Place.BOOT, "xen", board.xen_image, ("boards", board.name, "hypervisor"))
    for boot_guest in board.xen_boot.guests:
        for module in (module for module in boot_guest.modules if module.image):
            yield _image(Place.BOOT, module.file, module.image, ("domains", boot_guest.name))
    for guest in board.guests:
        asked_by = ("domains", guest.name)
        folder = f"domains/{guest.name}"
        yield _image(Place.GENERATION, f"{folder}/Image", guest.kernel_image, asked_by, guest.unit)
        if guest.ramdisk_image is not None:
            yield _image(Place.GENERATION, f"{folder}/ramdisk", guest.ramdisk_image, asked_by, guest.unit)
    for guest_name, qemu in board.xen_qemus:
        if qemu.image is not None:
            file = f"domains/{guest_name}/{PurePosixPath(qemu.executable).name}"
            asked = ("boards", board.name, "hypervisor", "qemu_image")
            yield replace(_image(Place.GENERATION, file, qemu.image, asked, qemu.unit), mode=0o755)
    for started in board.xen_boot.guests:
        if started.rings:
            units = [ring.unit for ring in started.rings]
            program, name = started.rings[0].image, f"domains/{started.name}/vtool-ring"
            yield replace(_image(Place.GENERATION, name, program, ("domains", started.name), *units), mode=0o755)
    for domu in board.xen_guests:
        if domu.device_tree_image is not None:
            name = f"domains/{domu.name}/partial.dtb"
            yield _image(Place.GENERATION, name, domu.device_tree_image, ("domains", domu.name), domu.unit)


def _image(place: Place, name: str, reference: str, asked_by: tuple[str, ...], *used_by: str) -> Artifact:
    return Artifact(place, name, Kind.IMAGE, reference, asked_by, used_by)
