"""What a guest's kernel is told of granted disks: how many requests they may have outstanding, each with its grants."""

from __future__ import annotations

from collections.abc import Iterable

from vtool.model.devices import Program
from vtool.plan.paths import Planning
from vtool.plan.types import KvmDevice, XenVirtio
from vtool.platform.xen_grants import GRANTED_REQUESTS


def _kernel_words(device: KvmDevice | XenVirtio) -> Iterable[str]:
    # drivers/block/virtio_blk.c: of all virtio disks of the guest, in each queue; else as many as its ring has entries.
    if device.type == "blk" and device.program is Program.QEMU_XENPVH and device.queues.size is None:
        yield f"virtio_blk.queue_depth={GRANTED_REQUESTS}"


PLANNING = Planning(kernel_words=_kernel_words)
