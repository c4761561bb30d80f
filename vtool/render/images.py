"""Which images go where: kernels and ramdisks of domains and of the board, its hypervisor, images of disks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vtool.plan.types import XSM_POLICY, BoardPlan, FileDisk, units_of
from vtool.render.artifacts import Artifact, Kind, Place


def render(board: BoardPlan) -> Iterator[Artifact]:
    """References only; the bytes come from the cache, the user's files or the board when the set is staged."""
    for name, reference in board.control.images.items():
        yield _image(Place.BOOT, name, reference, ("domains", board.control.name))
    if board.xen_image is not None:
        yield _image(Place.BOOT, "xen", board.xen_image, ("boards", board.name, "hypervisor"))
    if board.xsm_policy is not None:
        yield _image(Place.BOOT, XSM_POLICY, board.xsm_policy, ("boards", board.name, "hypervisor", "xsm_policy"))
    for guest in board.guests:
        for image in guest.images:
            asked_by = ("boards", board.name, "hypervisor", "qemu_image") if image.of_qemu else ("domains", guest.name)
            place = Place.BOOT if image.at_boot else Place.GENERATION
            name = image.file if image.at_boot else f"domains/{guest.name}/{image.file}"
            artifact = _image(place, name, image.reference, asked_by, *image.used_by)
            yield replace(artifact, mode=0o755) if image.executable else artifact
        for device in guest.devices:
            units = units_of(guest, device)
            yield from (_disk(device.name, disk, units) for disk in device.files if disk.image is not None)


def _disk(device: str, disk: FileDisk, units: tuple[str, ...]) -> Artifact:
    assert disk.image is not None
    # What is kept has no use for another image.
    used_by = units if disk.image.resets else ()
    name = f"disks/{disk.name}.json"
    return Artifact(Place.GENERATION, name, Kind.DISK, disk.image.reference, ("devices", device), used_by)


def _image(place: Place, name: str, reference: str, asked_by: tuple[str, ...], *used_by: str) -> Artifact:
    return Artifact(place, name, Kind.IMAGE, reference, asked_by, used_by)
