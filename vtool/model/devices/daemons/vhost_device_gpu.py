"""GPUs, by vhost-device-gpu."""

from vtool.model.devices.arguments import Lines, Wiring, behind_socket, socket_path
from vtool.model.devices.base import Daemon, Program, Service, both, built_by_hand
from vtool.model.devices.types.gpu import GpuDevice


def _device_class(_: GpuDevice) -> tuple[str, str]:
    return ("char-drm", "render")


def _arguments(device: GpuDevice, at: Wiring) -> Lines:
    return socket_path(at, ("--gpu-mode", device.gpu.renderer.value), ("--headless",))


PROGRAM = Program("vhost-device-gpu")
DAEMON = Daemon(
    program=PROGRAM,
    packages={},
    executable=built_by_hand(PROGRAM),
    serves=GpuDevice,
    arguments=_arguments,
    device_class=_device_class,
    kvm=Service(both("vhost-user-gpu", "vhost-user-gpu-pci"), behind_socket, ("DRM_VIRTIO_GPU",)),
    xen=None,
)
