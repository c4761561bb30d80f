"""virtio devices of Xen guests, which one QEMU in dom0 serves by grants or by foreign mappings."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.deploy.proof.steps import Proof, Results, Row, Step, disk_io, in_domain, shows, value_of
from vtool.deploy.proof.xen import network_io
from vtool.plan.types import XenGuest, XenQemu, XenVirtio
from vtool.units import KIB, format_size

GRANTS, FOREIGN = "/dev/xen/gntdev", "/dev/xen/privcmd"
IOREQ_BYTES = 8 * KIB
"""QEMU maps the pages by which Xen hands it accesses through privcmd, too: one, and one for buffered ones."""


def xen_virtio(guest: XenGuest) -> Iterator[Proof]:
    """Return what has to be shown of the virtio devices of a guest, and of the QEMU that serves them."""
    for device in guest.virtio:
        subject, identity = f"device {device.name}", f"{guest.name}-{device.name}"
        if device.grants:
            option = {
                "id": f"option-{identity}",
                "op": "kernel-option",
                "path": guest.kernel,
                "option": "XEN_VIRTIO",
            }
            yield shows(subject, "kernel has CONFIG_XEN_VIRTIO", option, "y", key="value")
        yield features(device, guest.name)
        if device.disks:
            block = f"/dev/$(ls /sys/devices/platform/{device.place.base:x}.virtio/virtio*/block)"
            disk = device.disks[0]
            yield from disk_io(subject, guest.name, identity, block, disk.disk_path, disk.scratch)
        if device.tap is not None:
            yield from network_io(subject, guest.name, identity, device.frontend_address)
    if guest.qemu is not None:
        yield mappings(guest, guest.qemu)


def features(device: XenVirtio, domain: str) -> Proof:
    """Ask QEMU which of bits 32 and 33 the driver accepted: with the second, its addresses are not plain memory."""
    command = {"execute": "x-query-virtio-status", "arguments": {"path": f"/machine/peripheral/device-{device.name}"}}
    step: Step = {"id": f"features-{device.name}", "op": "qmp", "domain": domain, "commands": [command]}
    known = ("VIRTIO_F_VERSION_1", "VIRTIO_F_IOMMU_PLATFORM")
    wanted = known[:1] if device.data_path == "shared-ram" else known

    def read(results: Results) -> Row:
        answers, why = value_of(results, step, "answers")
        named: set[str] = set()
        if answers is not None:
            accepted = results[step["id"]]["answers"][0].get("guest-features", {})
            named = {text.split(":")[0] for text in accepted.get("transports", [])}
        seen = tuple(word for word in known if word in named)
        what = "features the driver accepted (bits 32 and 33)"
        return Row(f"device {device.name}", what, ", ".join(wanted), ", ".join(seen) or "neither", seen == wanted, why)

    return Proof((step,), read)


def mappings(guest: XenGuest, qemu: XenQemu) -> Proof:
    """What QEMU has mapped of the guest while a disk is read: granted pages, or the guest's memory."""
    paths = {device.grants for device in guest.virtio}
    disk = next((device for device in guest.virtio if device.disks), None)
    busy: tuple[Step, ...] = ()
    if disk is not None:
        block = f"/dev/$(ls /sys/devices/platform/{disk.place.base:x}.virtio/virtio*/block)"
        busy = (
            in_domain(
                guest.name,
                f"busy-{guest.name}",
                f"(dd if={block} of=/dev/null bs=64k count=512 iflag=direct >/dev/null 2>&1 &); echo ok",
            ),
        )
    maps: Step = {"id": f"maps-{qemu.unit}", "op": "maps", "unit": qemu.unit}
    wanted = " and ".join(
        words
        for words, there in (
            ("granted pages (gntdev)", True in paths),
            ("its memory (privcmd)" if False in paths else "nothing else (privcmd)", True),
        )
        if there
    )

    def read(results: Results) -> Row:
        subject, what = f"backend of {guest.name}", "memory of the guest that QEMU maps, while a disk is read"
        _, why = value_of(results, maps, "shared")
        if why:
            return Row(subject, what, wanted, "nothing", False, why)
        sizes = {GRANTS: 0, FOREIGN: 0}
        for mapping in results[maps["id"]]["shared"]:
            if mapping["name"] in sizes:
                sizes[mapping["name"]] += mapping["size_bytes"]
        by_grants, foreign = sizes[GRANTS] > 0, sizes[FOREIGN] > IOREQ_BYTES
        seen = f"{format_size(sizes[GRANTS])} by gntdev, {format_size(sizes[FOREIGN])} by privcmd"
        return Row(subject, what, wanted, seen, (by_grants, foreign) == (True in paths, False in paths))

    return Proof((*busy, maps), read)
