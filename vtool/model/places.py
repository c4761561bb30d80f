"""Which place each device of a guest has on its machine, and the names that its Linux gives disks.

The planner gives devices these places, and the rules count them and look names up: one order for both. Every mapping
of devices is a board's or a domain's, in the order of the file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from string import ascii_lowercase

from vtool.data_paths.facts import Transport
from vtool.model.combinations import combination_of
from vtool.model.devices import Device, disks_of
from vtool.platform.layouts import QEMU_VIRT_MMIO, QEMU_VIRT_PCI_FIRST, XEN_VIRTIO_MMIO, MmioSlots
from vtool.platform.xen_disks import XVD_NAMES, whole_disk

_ON_PCI = (Transport.PCI, Transport.SHARED_MEMORY)


def has_device(domain: str, device: Device) -> bool:
    """Whether a domain's VMM has a device: as its frontend, or as either end of a region between two guests."""
    return domain == device.frontend or (device.data_path.traits.at_both_ends and domain == device.backend)


def kvm_mmio(domain: str, devices: Mapping[str, Device]) -> dict[str, int]:
    """Return the slots of the virtio-mmio devices of a KVM guest, in the order of the file.

    Those that are given, and from 0 on those that are left for the others.
    """
    mine = {n: d for n, d in devices.items() if domain == d.frontend and d.transport is Transport.MMIO}
    return _numbered(mine, given_slots(mine, QEMU_VIRT_MMIO), 0)


def kvm_pci(domain: str, devices: Mapping[str, Device]) -> dict[str, int]:
    """Return the numbers of devices on the root bus of a KVM guest, without its IOMMU, which has one of its own."""
    mine = {n: d for n, d in devices.items() if has_device(domain, d) and d.transport in _ON_PCI and not d.translates}
    return _numbered(mine, {n: d.address for n, d in mine.items() if d.address is not None}, QEMU_VIRT_PCI_FIRST)


def xen_mmio(domain: str, devices: Mapping[str, Device]) -> list[str]:
    """Return the virtio devices of a Xen guest; the N-th is on slot N.

    libxl gives places to virtio disks first, then to its ``virtio`` list, and QEMU's xenpvh fills them in the order of
    its options (libxl_arm.c, hw/xen/xen-pvh-common.c). A slot that is given orders both; a rule looks whether it can.
    """
    every = ((n, d) for n, d in devices.items() if domain == d.frontend and d.transport is Transport.MMIO)
    mine = dict(sorted(every, key=lambda item: not in_disk_list(item[1])))
    slots = _numbered(mine, given_slots(mine, XEN_VIRTIO_MMIO), 0)
    return sorted(slots, key=slots.__getitem__)


def given_slots(devices: Mapping[str, Device], slots: MmioSlots) -> dict[str, int]:
    """Return the slots of those virtio-mmio devices that have an address or interrupt of one."""
    given = ((n, d) for n, d in devices.items() if d.address is not None or d.interrupt is not None)
    found = ((n, slots.slot_at(d.address, d.interrupt)) for n, d in given)
    return {name: slot for name, slot in found if slot is not None}


def _numbered(names: Iterable[str], given: Mapping[str, int], first: int) -> dict[str, int]:
    taken = set(given.values())
    free = (number for number in itertools.count(first) if number not in taken)
    return {name: given[name] if name in given else next(free) for name in names}


def xl_disks(domain: str, devices: Mapping[str, Device]) -> list[str]:
    """Return what stands in xl's ``disk`` list, PV disks first."""
    mine = [(n, d) for n, d in devices.items() if domain == d.frontend and in_disk_list(d)]
    return [n for n, _ in sorted(mine, key=lambda item: item[1].transport is not Transport.XENBUS)]


def xl_disk_names(domain: str, devices: Mapping[str, Device]) -> dict[str, str]:
    """Return the names of what stands in xl's ``disk`` list: those chosen, the others' from xvda on in its order.

    PV disks have that name inside the guest, too.
    """
    mine = xl_disks(domain, devices)
    return dict(zip(mine, _named([devices[name] for name in mine]), strict=False))


def _named(disks: Iterable[Device]) -> list[str]:
    """Return xl's names of disks in their order, as far as there are free ones."""
    chosen = [disk.vdev if disk.type == "blk" else None for disk in disks]
    taken = {whole_disk(name) for name in chosen if name}
    free = iter([name for name in XVD_NAMES if name not in taken])
    return [name for name in (one or next(free, None) for one in chosen) if name]


def in_disk_list(device: Device) -> bool:
    """Whether a device of a Xen guest stands in xl's list of disks."""
    row = combination_of("xen", device)
    return row is not None and row.in_disk_list


def disk_names(domain: str, devices: Iterable[Device]) -> dict[str, Device]:
    """Return the disks of a guest by the names that its Linux gives them (/dev/vda), but for those of its programs.

    A SCSI device has as many names as disks.
    """
    found: dict[str, list[Device]] = {"vd": [], "sd": [], "xvd": []}
    for device in devices:
        mine = domain == device.frontend and not device.data_path.traits.carries_data
        if mine and (prefix := device.root_kind()) in found:
            found[prefix].extend([device] * max(1, len(disks_of(device))))
    names = {prefix: [f"{prefix}{letter}" for letter in ascii_lowercase] for prefix in found}
    names["xvd"] = _named(found["xvd"])
    return {
        f"/dev/{name}": device
        for prefix, mine in found.items()
        for name, device in zip(names[prefix], mine, strict=False)
    }
