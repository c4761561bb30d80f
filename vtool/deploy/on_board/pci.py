"""PCI devices of the board for guests of KVM: taken from their drivers for VFIO, and given back.

Linux Documentation/driver-api/vfio.rst, Documentation/ABI/testing/sysfs-bus-pci (driver_override).
"""

from __future__ import annotations

import argparse
import contextlib
import pwd
import shutil
from pathlib import Path

from .base import BoardError, run
from .typed import Any

BUS = Path("/sys/bus/pci")
NODES = Path("/dev/vfio")
GROUPS = Path("/sys/kernel/iommu_groups")
DRIVER = "vfio-pci"
_BRIDGE = "0x0604"
"""The class of a PCI bridge, which stays with the board when its group goes to a guest."""


def verb_pci_look(arguments: argparse.Namespace) -> dict[str, Any]:
    """Say which devices one guest cannot have together, and why; nothing is changed.

    Where the running kernel drives no IOMMU at all, the deployed one may: it is asked when a device is taken.
    """
    refused = []
    for address in arguments.addresses:
        if (BUS / "devices" / address).exists() and not any(GROUPS.glob("*")):
            continue
        try:
            group_of(address, arguments.addresses)
        except BoardError as error:
            refused.append({"address": address, "message": error.message, "hints": error.hints})
    return {"refused": refused}


def verb_pci_take(arguments: argparse.Namespace) -> dict[str, Any]:
    """Bind devices to VFIO, and give their groups' nodes to the user that runs VMMs. BoardError VT499, VT704."""
    groups = {address: group_of(address, arguments.addresses) for address in arguments.addresses}
    if not (BUS / "drivers" / DRIVER).exists():
        run("modprobe", DRIVER)
    for address in arguments.addresses:
        (BUS / "devices" / address / "driver_override").write_text(DRIVER)
        if driver_of(address) != DRIVER:
            _bind_anew(address)
        if driver_of(address) != DRIVER:
            raise BoardError("VT499", f"PCI device {address} was not taken by {DRIVER}: {_held_by(address)}")
    owner = pwd.getpwnam("vtool-domain")
    for group in set(groups.values()):
        shutil.chown(NODES / group, owner.pw_uid, owner.pw_gid)
    return {"groups": groups}


def verb_pci_return(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give devices back to the drivers that Linux finds for them; what has kept its driver is left alone."""
    for address in arguments.addresses:
        with contextlib.suppress(FileNotFoundError):  # the device itself may be gone
            (BUS / "devices" / address / "driver_override").write_text("\n")
            if driver_of(address) in ("", DRIVER):
                _bind_anew(address)
    return {"drivers": {address: driver_of(address) for address in arguments.addresses}}


def group_of(address: str, together: list[str]) -> str:
    """Return the IOMMU group of a device, all of which goes to one guest. BoardError VT499."""
    device = BUS / "devices" / address
    if not device.exists():
        there = ", ".join(sorted(path.name for path in (BUS / "devices").glob("*"))) or "none"
        raise BoardError("VT499", f"the board has no PCI device {address}", hints=[f"there are: {there}"])
    group = device / "iommu_group"
    if not group.exists():
        message = f"no IOMMU confines PCI device {address}: it is in no group"
        hint = "an IOMMU has to be there, switched on by the firmware, and driven by the board's kernel"
        raise BoardError("VT499", message, hints=[hint])
    members = sorted(path.name for path in (group / "devices").glob("*"))
    others = [other for other in members if other not in together and not _is_bridge(other)]
    if others:
        message = f"PCI device {address} is in one IOMMU group with {', '.join(others)}: they go to a guest together"
        raise BoardError("VT499", message, hints=[f"pci: [{', '.join([*together, *others])}]"])
    return group.resolve().name


def driver_of(address: str) -> str:
    """Return the driver that has a device, or the empty text."""
    driver = BUS / "devices" / address / "driver"
    return driver.resolve().name if driver.exists() else ""


def _bind_anew(address: str) -> None:
    if driver_of(address):
        (BUS / "devices" / address / "driver" / "unbind").write_text(address)
    (BUS / "drivers_probe").write_text(address)


def _held_by(address: str) -> str:
    return f"'{driver_of(address)}' has it" if driver_of(address) else "no driver has it"


def _is_bridge(address: str) -> bool:
    try:
        return (BUS / "devices" / address / "class").read_text().startswith(_BRIDGE)
    except OSError:
        return False
