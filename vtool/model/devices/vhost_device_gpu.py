"""A GPU, by vhost-device-gpu or QEMU."""

from enum import Enum
from typing import Literal, final

from vtool.model.devices.base import DaemonPlace, Program, Service, VhostUserDevice, Words, both, by_hand, socket_path
from vtool.model.types import Model


class GpuRenderer(Enum):
    """What draws for vhost-device-gpu."""

    VIRGLRENDERER = "virglrenderer"
    GFXSTREAM = "gfxstream"


class Gpu(Model):
    """How vhost-device-gpu draws."""

    renderer: GpuRenderer = GpuRenderer.VIRGLRENDERER


@final
class GpuDevice(VhostUserDevice):
    type: Literal["gpu"]
    gpu: Gpu = Gpu.model_construct()

    def node_class(self) -> tuple[str, str] | None:
        """Return the class of nodes that it takes."""
        return None if self.program is Program.QEMU else ("char-drm", "render")

    def daemon_arguments(self, at: DaemonPlace) -> Words:
        """Return the daemon's arguments."""
        return socket_path(at, ("--gpu-mode", self.gpu.renderer.value), ("--headless",))


PROGRAM = Program("vhost-device-gpu")
FACTS = by_hand(PROGRAM)
UNDER_KVM = (
    Service("gpu", PROGRAM, both("vhost-user-gpu", "vhost-user-gpu-pci"), ("DRM_VIRTIO_GPU",)),
    Service("gpu", Program.QEMU, both("virtio-gpu-device", "virtio-gpu-pci"), ("DRM_VIRTIO_GPU",)),
)
UNDER_XEN: tuple[Service, ...] = ()
