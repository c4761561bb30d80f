"""Regions between two guests, by QEMU."""

from typing import Literal, final

from vtool.model.devices.arguments import region_between
from vtool.model.devices.base import DeviceBase, DeviceType, Program, Service, only_pci


@final
class SharedMemoryDevice(DeviceBase):
    """Not a virtio device: a region that both domains see as the second BAR of an ``ivshmem-plain``."""

    type: Literal["ivshmem"]


TYPE = DeviceType(
    SharedMemoryDevice,
    kvm={Program.QEMU: Service(only_pci("ivshmem-plain"), region_between, virtio=False)},
    xen={},
)
