"""What is free, for the hints of rules that refuse a number, a network or an address: one that they would take."""

from __future__ import annotations

import ipaddress
import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain

from vtool.base.units import AddressRange
from vtool.check.context import Context
from vtool.model.devices import NetworkDevice
from vtool.model.devices.base import Claim
from vtool.platform import layouts

# Of what RFC 1918 leaves to everybody, what few use already: not 192.168.0.0 and 192.168.1.0, which routers have.
_NETWORKS = tuple(ipaddress.IPv4Network(f"192.168.{third}.0/24") for third in range(77, 256))
_ENDS = ("frontend_address", "backend_address")


def free_claim(context: Context, board: str | None, claim: Claim) -> tuple[str, ...]:
    """Say which number a device could have in another's place: the next that is free, or else the lowest."""
    devices = (d for d in context.topology.devices.values() if context.board_of.get(d.frontend) == board)
    taken = {other.which for device in devices for other in device.claims() if other.kind == claim.kind}
    after = claim.choices[bisect_right(claim.choices, claim.which) :] if isinstance(claim.which, int) else ()
    free = next((number for number in chain(after, claim.choices) if number not in taken), None)
    return () if free is None else (f"{claim.kind} {free} is free",)


def interface(text: str) -> ipaddress.IPv4Interface | None:
    """Read ``192.0.2.1/24``; a mask in the prefix's place, which Python takes, is not what tools take."""
    if re.fullmatch(r"[0-9.]+/[0-9]{1,2}", text) is None:
        return None
    try:
        return ipaddress.IPv4Interface(text)
    except ValueError:
        return None


def is_a_hosts(address: ipaddress.IPv4Interface) -> bool:
    """Whether an address can be one end's: it is neither special nor its network's first or last."""
    ip, network = address.ip, address.network
    special = ip.is_multicast or ip.is_loopback or ip.is_reserved or ip in ipaddress.IPv4Network("0.0.0.0/8")
    ends = (network.network_address, network.broadcast_address)
    return not special and 8 <= network.prefixlen <= 30 and ip not in ends


def free_network(context: Context, device: NetworkDevice) -> str:
    """Say which network is free on a device's board: none of the board's own, and of none of its devices."""
    board = context.board_of.get(device.backend, "")
    taken = [address.network for address in _addresses(context, board)]
    if board in context.facts:
        taken += map(ipaddress.IPv4Network, context.facts[board].facts.networks)
    free = next((network for network in _NETWORKS if not any(map(network.overlaps, taken))), None)
    if free is None:
        return "give it a network of its own"
    return f"{free} is free: `backend_address: {free[1]}/24`, `frontend_address: {free[2]}/24`"


def free_address(context: Context, device: NetworkDevice, beside: str) -> str:
    """Say which address is free in the network of a device's other end, where that is sound."""
    other = interface(beside)
    if other is None or not is_a_hosts(other):
        return free_network(context, device)
    taken = {address.ip for address in _addresses(context, context.board_of.get(device.backend, ""))}
    free = next((host for host in other.network.hosts() if host not in taken), None)
    if free is None:
        return free_network(context, device)
    return f"{free}/{other.network.prefixlen} is free in the network of the other end"


def _addresses(context: Context, board: str) -> Iterator[ipaddress.IPv4Interface]:
    for device in context.topology.devices.values():
        if isinstance(device, NetworkDevice) and context.board_of.get(device.backend, "") == board:
            both = (interface(getattr(device.network, end)) for end in _ENDS)
            yield from (address for address in both if address is not None and is_a_hosts(address))


def free_in_guest(context: Context, guest: str, name: str) -> str:
    """Say where a region would be free in a guest that has Xen's layout."""
    hint = "leave the address out and let vtool choose"
    domain, others = context.topology.domains[guest], context.lookup.regions_of[guest]
    if domain.is_direct:
        return hint
    fixed = ((at, other.size) for n, other in others.items() if n != name and (at := other.address_in(guest)[0]))
    taken = (*layouts.xen_guest_taken(domain.memory or 0), *(AddressRange.of_size(*each) for each in fixed))
    free = next(layouts.xen_guest_places(others[name].size, others[name].step, taken), None)
    return f"{hint}, or write {free.base:#x}, where it is free" if free else hint
