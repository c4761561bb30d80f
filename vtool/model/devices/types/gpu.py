"""GPUs, by QEMU; vhost-device-gpu has a file of its own."""

from enum import Enum
from typing import Literal, final

from vtool.model.devices.arguments import nothing_besides
from vtool.model.devices.base import DeviceBase, DeviceType, Program, Service, both
from vtool.model.types import Model


class GpuRenderer(Enum):
    """What draws for vhost-device-gpu."""

    VIRGLRENDERER = "virglrenderer"
    GFXSTREAM = "gfxstream"


class Gpu(Model):
    """How vhost-device-gpu draws."""

    renderer: GpuRenderer = GpuRenderer.VIRGLRENDERER


@final
class GpuDevice(DeviceBase):
    type: Literal["gpu"]
    gpu: Gpu = Gpu.model_construct()


TYPE = DeviceType(
    GpuDevice,
    kvm={Program.QEMU: Service(both("virtio-gpu-device", "virtio-gpu-pci"), nothing_besides, ("DRM_VIRTIO_GPU",))},
    xen={},
)
