"""Random numbers, by QEMU; vhost-device-rng has a file of its own."""

from typing import Literal, final

from vtool.model.devices.arguments import Parts, QemuOption, Wiring
from vtool.model.devices.base import FEW_BUFFERS_BYTES, DeviceBase, DeviceType, Program, Service, both, in_dom0
from vtool.platform.layouts import SWIOTLB_SEGMENT_BYTES
from vtool.platform.xen_grants import ring_pages, virtio_holds


@final
class RandomDevice(DeviceBase):
    type: Literal["rng"]

    pool_bytes = FEW_BUFFERS_BYTES

    def spread_in_pool(self, entries: int) -> int:  # noqa: ARG002
        """Return the segment of the one buffer that it keeps."""
        return SWIOTLB_SEGMENT_BYTES


def _in_qemu(_: RandomDevice, at: Wiring) -> Parts:
    identity = f"random-{at.name}"
    source = QemuOption("-object", "rng-random", (("id", identity), ("filename", "/dev/urandom")))
    return Parts((source,), (("rng", identity),))


_BY_QEMU = Service(both("virtio-rng-device", "virtio-rng-pci"), _in_qemu, ("HW_RANDOM_VIRTIO",))
TYPE = DeviceType(
    RandomDevice,
    kvm={Program.QEMU: _BY_QEMU},
    xen={Program.QEMU_XENPVH: in_dom0(_BY_QEMU, virtio_holds(8 * 2 + ring_pages(8)))},
)
