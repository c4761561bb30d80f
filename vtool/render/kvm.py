"""Units of KVM guests, of the daemons that serve their devices, and of what lies between them."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.plan.types import PROGRAM, BoardPlan, KvmDevice, KvmGuest
from vtool.render.artifacts import Artifact, Kind, Place
from vtool.render.templating import fill


def render(board: BoardPlan) -> Iterator[Artifact]:
    """One domain unit per guest that QEMU runs without libvirt, one for its PCI devices, one per daemon."""
    made: set[str] = set()
    for guest in board.kvm_guests:
        if guest.libvirt_xml is None:
            text = fill("kvm/domain.service.j2", guest=guest, program=PROGRAM)
            yield _unit(guest.unit, text, ("domains", guest.name))
        if guest.pci_unit is not None:
            text = fill("kvm/pci.service.j2", guest=guest, program=PROGRAM)
            yield _unit(guest.pci_unit, text, ("domains", guest.name), guest.unit)
        for device in guest.devices:
            for unit, text in _units_of(guest, device):
                if unit not in made:  # a region's, which is a device of two guests
                    yield _unit(unit, text, ("devices", device.name), *_users(board, device, guest))
                made.add(unit)


def _units_of(guest: KvmGuest, device: KvmDevice) -> Iterator[tuple[str, str]]:
    if device.backend is not None:
        yield device.backend.unit, fill("kvm/backend.service.j2", guest=guest, device=device, program=PROGRAM)
        if device.backend.socket_unit is not None:
            yield device.backend.socket_unit, fill("kvm/backend.socket.j2", guest=guest, device=device)
    if device.tap is not None:
        template = "kvm/macvtap.service.j2" if device.tap.direct else "kvm/tap.service.j2"
        yield device.tap.unit, fill(template, guest=guest, device=device)
    if device.region_file is not None:
        yield device.region_file.unit, fill("kvm/region.service.j2", file=device.region_file)


def _users(board: BoardPlan, device: KvmDevice, guest: KvmGuest) -> list[str]:
    """Return the units that restart when one of a device's units changes."""
    if device.region_file is None:
        return [guest.unit]
    return [other.unit for other in board.guests if device.region_file in other.region_files]


def _unit(name: str, text: str, asked_by: tuple[str, ...], *also_used_by: str) -> Artifact:
    return Artifact(Place.GENERATION, f"units/{name}", Kind.TEXT, text, asked_by, (name, *also_used_by))
