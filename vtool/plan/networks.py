"""Names on the board's network: bridges, taps, MAC addresses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from vtool.model.devices import NetworkDevice
from vtool.model.devices.types.net import Network
from vtool.model.topology import Domain
from vtool.plan import types as plan


def bridge_unit(network: Network) -> str:
    """Return the unit that makes a bridge, or that systemd has for one that is there."""
    return device_unit(network.bridge) if network.existing else f"vtool-bridge-{network.bridge}.service"


def device_unit(interface: str) -> str:
    """Return the unit that is there as soon as an interface is (systemd.device(5), systemd-escape(1))."""
    escaped = "".join(c if c.isalnum() or c in "_." else f"\\x{ord(c):02x}" for c in interface)
    return f"sys-subsystem-net-devices-{escaped}.device"


def derived_mac(board: str, frontend: str, device: str) -> str:
    """Return a MAC in Xen's range (00:16:3e) that depends on the three names only."""
    tail = hashlib.sha256(f"{board}/{frontend}/{device}".encode()).digest()[:3]
    return "00:16:3e:" + ":".join(f"{byte:02x}" for byte in (tail[0] & 0x7F, *tail[1:]))


def address_words(domain: Domain, networks: Sequence[Network]) -> tuple[str, ...]:
    """Say to a guest which address its first interface is to have; to one that is not vtool's only a fixed one."""
    told = (each for each in networks[:1] if domain.is_ours or not each.has_no_fixed_address)
    return tuple(f"vtool.ip={each.frontend_address}" for each in told)


FIRST_DESCRIPTOR = 3
"""The first open file of a program after its standard ones."""


def plan_tap(name: str, device: NetworkDevice, owner: str, mac: str = "", descriptor: int = 0) -> plan.Tap:
    """Decide the tap interface of a device inside a QEMU that runs as ``owner``; ``descriptor`` where it is macvtap."""
    # Interfaces have names of at most 15 characters (IFNAMSIZ), devices of 31.
    interface = f"vt{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    network = device.network
    return plan.Tap(
        interface,
        network.bridge,
        device_unit(network.direct) if network.direct else bridge_unit(network),
        f"vtool-tap-{name}.service",
        owner,
        device.multi_queue,
        *((network.direct, mac, descriptor) if network.direct else ()),
    )
