"""What the devices of a pool need of it, at least."""

from __future__ import annotations

from vtool.check.context import Context
from vtool.check.shares import Share, largest_first
from vtool.model.devices.base import LEAST_POOL_BYTES


def pool_shares(context: Context, region: str) -> list[Share]:
    """Return what each device of a pool needs, the largest first; nothing where no device has it for a pool."""
    users = context.lookup.users_of[region].items()
    return largest_first(
        Share(f"'{name}'", device.least_of_pool(), ("devices", name), of_key=True)
        for name, device in users
        if device.data_path.traits.pooled
    )


def least_pool(shares: list[Share]) -> int:
    """Return the size in bytes that a pool of such devices has at least; 0 where it has none."""
    return max(LEAST_POOL_BYTES, sum(share.amount for share in shares)) if shares else 0
