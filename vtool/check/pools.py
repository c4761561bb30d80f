"""What the devices of a pool need of it, at least.

Two things have to fit, and ``pool_shares`` returns the larger: what all of them hold at once; and, where one hands over
whole segments (a disk), the segments in which others keep buffers, with the largest request beside them. Linux tries a
request again for ever whose pieces find no segment that is free, and takes none but one of 128 slots in a row
(6.12 drivers/block/virtio_blk.c virtio_queue_rq, kernel/dma/swiotlb.c swiotlb_search_pool_area).
"""

from __future__ import annotations

from vtool.check.context import Context
from vtool.check.shares import Share, largest_first
from vtool.data_paths.facts import Transport
from vtool.model.devices import Device
from vtool.model.devices.base import LEAST_POOL_BYTES
from vtool.model.devices.queues import QEMU_DEFAULT, QEMU_MOST
from vtool.platform.qemu_releases import offers_sizes


def pool_shares(context: Context, region: str) -> list[Share]:
    """Return what each device of a pool needs, the largest first; nothing where no device has it for a pool."""
    users = {name: user for name, user in context.lookup.users_of[region].items() if user.data_path.traits.pooled}
    entries = {name: _entries(context, user) for name, user in users.items()}
    held = {name: user.least_of_pool(entries[name]) for name, user in users.items()}
    whole = {name: held[name] for name, user in users.items() if user.maps_segments}
    apart: dict[str, int] = {}
    if whole:
        apart = {name: user.spread_in_pool(entries[name]) for name, user in users.items()}
        largest = max(whole, key=lambda name: whole[name])
        apart[largest] += whole[largest]
    needed = max(held, apart, key=lambda shares: sum(shares.values()))
    return largest_first(Share(f"'{name}'", amount, ("devices", name), of_key=True) for name, amount in needed.items())


def least_pool(shares: list[Share]) -> int:
    """Return the size in bytes that a pool of such devices has at least; 0 where it has none."""
    return max(LEAST_POOL_BYTES, sum(share.amount for share in shares)) if shares else 0


def spread_beside_disks(context: Context, region: str) -> list[str]:
    """Return the devices of a pool whose buffers may lie in the segments that a disk beside them needs."""
    users = context.lookup.users_of[region]
    disks = any(user.maps_segments for user in users.values())
    return [name for name, user in users.items() if disks and user.spread_in_pool(_entries(context, user))]


def _entries(context: Context, device: Device) -> int:
    """Return how many entries its queues have: those chosen, the backend's own, or as many as QEMU offers."""
    if device.queue_size:
        return device.queue_size
    hypervisor = context.hypervisor_of(device.frontend)
    qemu = hypervisor.qemu if hypervisor else None
    return QEMU_DEFAULT if offers_sizes(qemu, mmio=device.transport is Transport.MMIO) else QEMU_MOST
