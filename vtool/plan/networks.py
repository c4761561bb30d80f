"""Names on the board's network: bridges, taps, MAC addresses."""

from __future__ import annotations

import hashlib

from vtool.model.devices import NetworkDevice
from vtool.plan import types as plan


def bridge_unit(bridge: str) -> str:
    """Return the unit that makes a bridge."""
    return f"vtool-bridge-{bridge}.service"


def derived_mac(board: str, frontend: str, device: str) -> str:
    """Return a MAC in Xen's range (00:16:3e) that depends on the three names only."""
    tail = hashlib.sha256(f"{board}/{frontend}/{device}".encode()).digest()[:3]
    return "00:16:3e:" + ":".join(f"{byte:02x}" for byte in (tail[0] & 0x7F, *tail[1:]))


def plan_tap(name: str, device: NetworkDevice, owner: str) -> plan.Tap:
    """Decide the tap interface of a device inside a QEMU that runs as ``owner``."""
    # Interfaces have names of at most 15 characters (IFNAMSIZ), devices of 31.
    interface = f"vt{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    bridge = device.network.bridge
    return plan.Tap(interface, bridge, bridge_unit(bridge), f"vtool-tap-{name}.service", owner, device.multi_queue)
