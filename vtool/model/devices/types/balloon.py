"""Balloons, by which a guest gives memory back, by QEMU."""

from typing import Literal, final

from vtool.model.devices.arguments import nothing_besides
from vtool.model.devices.base import DeviceBase, DeviceType, Program, Service, both


@final
class BalloonDevice(DeviceBase):
    type: Literal["balloon"]


TYPE = DeviceType(
    BalloonDevice,
    kvm={
        Program.QEMU: Service(both("virtio-balloon-device", "virtio-balloon-pci"), nothing_besides, ("VIRTIO_BALLOON",))
    },
    xen={},
)
