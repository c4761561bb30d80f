"""The machines that QEMU emulates as boards: one record says everything in which they differ. Enter at `model_of`.

What a board's facts say (root device, console, load addresses, how its loader reads the disk) is not repeated here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vtool.diagnostics import board_failed
from vtool.model.board_facts import BoardFacts


@dataclass(frozen=True)
class Model:
    """A machine that QEMU emulates: its arguments, and what a board of it is made of.

    ``machine`` is what follows `-machine`; ``disk`` has the place `{image}`, ``processors`` has `{cpus}`, and
    ``network`` and ``devices`` are whole arguments. ``firmware`` are images, by the loader that the facts name.
    """

    machine: str
    processors: tuple[str, ...]
    disk: tuple[str, ...]
    network: tuple[str, ...]
    devices: tuple[str, ...]
    firmware: Mapping[str, tuple[str, ...]]


_VIRTIO_DISK = (
    *("-global", "virtio-mmio.force-legacy=false"),
    *("-drive", "if=none,id=disk,{image}"),
    *("-device", "virtio-blk-device,drive=disk"),
)
_VIRTIO_NETWORK = ("-device", "virtio-net-device,netdev=net")
_VIRTIO_RNG = ("-device", "virtio-rng-device")

VIRT = Model(
    # acpi=off, or QEMU swaps the GPIO controller (the power button) for an ACPI device once there is firmware, while
    # the dumped tree still has the controller, and Linux faults on it.
    machine="virt,virtualization=on,gic-version=3,acpi=off,dtb-randomness=off",
    processors=("-cpu", "cortex-a72", "-smp", "{cpus}"),
    disk=_VIRTIO_DISK,
    network=_VIRTIO_NETWORK,
    devices=(*_VIRTIO_RNG, "-device", "i6300esb,addr=1"),
    firmware={"u-boot": ("firmware",), "systemd-boot": ("firmware-uefi", "systemd-boot")},
)

VIRT_SMMU = replace(
    VIRT,
    machine=f"{VIRT.machine},iommu=smmuv3",
    devices=(*VIRT.devices, "-device", "virtio-rng-pci,addr=2,disable-legacy=on,iommu_platform=on"),
)
"""With an SMMUv3 before the PCI bus, and a virtio entropy source behind it that a guest can have."""

_OF_VIRT = "linux,dummy-virt"


def model_of(facts: BoardFacts) -> Model:
    """Return the machine that a board with these facts is emulated by; VtoolError VT631 when there is none."""
    found = VIRT_SMMU if facts.iommus else VIRT
    hints = ("an inventory says how a real one is reached: docs/how-to/reach-boards.md",)
    if facts.compatible and _OF_VIRT not in facts.compatible:
        raise board_failed("VT631", f"vtool emulates no '{facts.name}' ({facts.compatible[0]})", hints=hints)
    if facts.boot is not None and facts.boot.loader not in found.firmware:
        raise board_failed("VT631", f"vtool emulates no '{facts.name}' that {facts.boot.loader} starts", hints=hints)
    return found
