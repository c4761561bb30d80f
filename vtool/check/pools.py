"""What the devices of a pool need of it, at least."""

from __future__ import annotations

from vtool.base.units import KIB, MIB
from vtool.check.context import Context
from vtool.check.shares import Share, largest_first

MINIMUM_POOL = 4 * MIB
POOL_NEED = {"rng": 256 * KIB, "console": 256 * KIB}
"""The least a device takes of a pool: one segment for those with few small buffers, else the least pool. A
disk keeps its queue's depth in flight, a network device its receive ring (2 MiB a queue pair) for ever."""


def pool_shares(context: Context, region: str) -> list[Share]:
    """Return what each device of a pool needs, the largest first; nothing where no device has it for a pool."""
    users = context.lookup.users_of[region].items()
    return largest_first(
        Share(f"'{name}'", POOL_NEED.get(device.type, MINIMUM_POOL), ("devices", name), of_key=True)
        for name, device in users
        if device.data_path.traits.pooled
    )


def least_pool(shares: list[Share]) -> int:
    """Return the size in bytes that a pool of such devices has at least; 0 where it has none."""
    return max(MINIMUM_POOL, sum(share.amount for share in shares)) if shares else 0
