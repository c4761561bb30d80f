"""The images that a topology names for its disks: looked at once each. Enter at ``disk_images_of``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from vtool.diagnostics import Diagnostic
from vtool.diagnostics.codes import declare
from vtool.files.disk_images import ImageFile, look_at_disk
from vtool.files.regular import reason_of
from vtool.model.devices import Disk
from vtool.model.partial import Unsound, known
from vtool.model.topology import Topology
from vtool.reading.source import Document, KeyPath

declare(
    "VT462",
    what="an image of a disk cannot be used",
    why="A guest would find half a file system, or bytes that are none; it is told before anything is changed.",
    example="source: rootfs.img.xz, of which the download broke off",
    fix=(
        "Get the image again. What vtool does not know by its beginning it takes as it is with `format: raw` written."
    ),
)


def disk_images_of(document: Document, topology: Topology) -> tuple[dict[str, ImageFile], list[Diagnostic]]:
    """Return what each image is that disks begin as, by its reference, and what cannot be used (VT462)."""
    found: dict[str, ImageFile] = {}
    findings: list[Diagnostic] = []
    for name, disk, place in _named(topology):
        assert disk.source is not None
        fault, hints = "", tuple[str, ...]()
        try:
            image = found.get(disk.source) or look_at_disk(document.path.parent / disk.source)
        except OSError as error:
            fault = reason_of(error)
        except ValueError as error:
            fault = str(error)
        else:
            found[disk.source] = image
            if not image.known and "format" not in disk.model_fields_set:
                fault = f"it is {image.what.words}"
                hints = ("if it is what the guest is to see, byte for byte, write `format: raw`",)
        if fault:
            message = f"image '{disk.source}' of device '{name}' cannot be used: {fault}"
            findings.append(Diagnostic("VT462", message, document.span((*place, "source")), hints=hints))
    return found, findings


def _named(topology: Topology) -> Iterator[tuple[str, Disk, KeyPath]]:
    for name, device in known(topology.devices).items():
        with suppress(Unsound):
            for disk, place in device.disk_files():
                if disk.source is not None:
                    yield name, disk, ("devices", name, *place)
