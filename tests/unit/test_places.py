"""The places that rules count are the places that are planned."""

from __future__ import annotations

import pytest

from tests.golden.test_golden import CASES
from vtool.cli.common import prepare
from vtool.model.lookup import Lookup
from vtool.model.places import disk_names, kvm_mmio, kvm_pci, xen_mmio
from vtool.plan.types import KvmDevice, MmioPlace, PciPlace


@pytest.mark.parametrize("case", CASES)
def test_devices_are_planned_where_the_rules_count_them(case: str) -> None:
    prepared = prepare(CASES[case])
    lookup = Lookup(prepared.topology)
    for board in prepared.plan.boards:
        for guest in board.guests:
            devices = lookup.devices_of[guest.name]
            virtio = [device for device in guest.devices if isinstance(getattr(device, "place", None), MmioPlace)]
            planned = {device.name: device.place.slot for device in virtio}
            if board.hypervisor == "kvm":
                assert planned == kvm_mmio(guest.name, devices)
            else:
                assert planned == {name: slot for slot, name in enumerate(xen_mmio(guest.name, devices))}
            on_pci = [d for d in guest.devices if isinstance(d, KvmDevice) and isinstance(d.place, PciPlace)]
            numbers = {d.name: d.place.slot for d in on_pci if d.type != "iommu"}
            assert numbers == (kvm_pci(guest.name, devices) if board.hypervisor == "kvm" else {})


def test_devices_are_where_they_were_given_a_place() -> None:
    guest = prepare(CASES["kvm-places"]).plan.boards[0].kvm_guests[0]
    mmio = {d.name: (d.place.base, d.place.intid) for d in guest.devices if isinstance(d.place, MmioPlace)}
    assert mmio == {"disk0": (0x0A00_0200, 49), "disk1": (0x0A00_0000, 48), "disk2": (0x0A00_3E00, 79)}
    fixed = [d.name for d in guest.devices if isinstance(d.place, MmioPlace) and d.place.origin.kind.value == "fixed"]
    assert fixed == ["disk1", "disk2"]
    assert {d.name: d.place.slot for d in guest.devices if isinstance(d.place, PciPlace)} == {
        "random0": 31,
        "random1": 2,
    }
    virtio = prepare(CASES["xen-places"]).plan.boards[0].xen_guests[0].virtio
    assert [(device.name, device.intid) for device in virtio] == [("disk0", 33), ("random0", 34)]


@pytest.mark.parametrize("case", CASES)
def test_pv_disks_are_planned_under_the_names_that_the_rules_look_for(case: str) -> None:
    prepared = prepare(CASES[case])
    lookup = Lookup(prepared.topology)
    for board in prepared.plan.boards:
        for guest in board.xen_guests:
            devices = lookup.devices_of[guest.name]
            names = {name: device for name, device in disk_names(guest.name, devices.values()).items() if "xvd" in name}
            planned = {disk.virtual_device: disk.name for disk in (*guest.disks, *guest.served_disks)}
            assert {f"/dev/{name}": devices[of] for name, of in planned.items()} == names
