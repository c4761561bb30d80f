"""The places that rules count are the places that are planned."""

from __future__ import annotations

import pytest

from tests.golden.test_golden import CASES
from vtool.cli.common import prepare
from vtool.model.lookup import Lookup
from vtool.model.places import disk_names, kvm_mmio, kvm_pci, xen_mmio
from vtool.plan.types import KvmDevice, MmioPlace, PciPlace
from vtool.platform.layouts import QEMU_VIRT_PCI_FIRST


@pytest.mark.parametrize("case", CASES)
def test_devices_are_planned_where_the_rules_count_them(case: str) -> None:
    prepared = prepare(CASES[case])
    lookup = Lookup(prepared.topology)
    for board in prepared.plan.boards:
        for guest in board.guests:
            devices = lookup.devices_of[guest.name]
            virtio = [device for device in guest.devices if isinstance(getattr(device, "place", None), MmioPlace)]
            slots = (kvm_mmio if board.hypervisor == "kvm" else xen_mmio)(guest.name, devices)
            assert [device.name for device in virtio] == slots
            on_pci = [d for d in guest.devices if isinstance(d, KvmDevice) and isinstance(d.place, PciPlace)]
            numbers = {d.name: d.place.slot for d in on_pci if d.type != "iommu"}
            counted = kvm_pci(guest.name, devices) if board.hypervisor == "kvm" else []
            assert numbers == {name: QEMU_VIRT_PCI_FIRST + index for index, name in enumerate(counted)}


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
