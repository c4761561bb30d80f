"""Rules: the addresses of network devices, MAC and IPv4, and the bridges they meet on."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface

from vtool.check.scope import Rule, Scope, repeated
from vtool.diagnostics import Diagnostic, Label
from vtool.model.topology import NetworkDevice

ENDS = ("frontend_address", "backend_address")


def _networks(scope: Scope) -> Iterator[tuple[str, NetworkDevice]]:
    for name, device in scope.topology.devices.items():
        if isinstance(device, NetworkDevice):
            yield name, device


def _interface(text: str) -> IPv4Interface | None:
    """Read ``192.0.2.1/24``; None when it is anything else, such as an address without its prefix."""
    prefix = text.partition("/")[2]
    if not (prefix.isascii() and prefix.isdigit()):
        return None
    try:
        return IPv4Interface(text)
    except ValueError:
        return None


def macs_differ(scope: Scope) -> Iterator[Diagnostic]:
    """VT340: no MAC is given twice, on any board, because bridges may meet."""
    entries = (
        (device.network.mac, ("devices", name, "network", "mac"))
        for name, device in _networks(scope)
        if device.network.mac is not None
    )
    yield from repeated("VT340", "MAC address", entries, scope)


def macs_are_unicast(scope: Scope) -> Iterator[Diagnostic]:
    """VT341: the lowest bit of the first byte marks a group of stations (IEEE 802.3 §3.2.3)."""
    for name, device in _networks(scope):
        mac = device.network.mac
        if mac is not None and int(mac[:2], 16) & 1:
            yield Diagnostic(
                "VT341",
                f"MAC address '{mac}' is a multicast address: its first byte is odd",
                scope.span("devices", name, "network", "mac"),
                hints=("leave out `mac` and let vtool choose, or start with an even byte such as 52",),
            )


def addresses_are_readable(scope: Scope) -> Iterator[Diagnostic]:
    """VT342: both ends are IPv4 addresses with a prefix length."""
    for name, device in _networks(scope):
        for end in ENDS:
            text = getattr(device.network, end)
            if _interface(text) is None:
                yield Diagnostic(
                    "VT342",
                    f"{text!r} is not an IPv4 address with a prefix length",
                    scope.span("devices", name, "network", end),
                    hints=("write it as 192.0.2.1/24",),
                )


def ends_share_a_network(scope: Scope) -> Iterator[Diagnostic]:
    """VT343, VT344: both ends are in one network, at two addresses."""
    for name, device in _networks(scope):
        frontend = _interface(device.network.frontend_address)
        backend = _interface(device.network.backend_address)
        if frontend is None or backend is None:
            continue
        place = scope.span("devices", name, "network", "frontend_address")
        labels = (Label(scope.span("devices", name, "network", "backend_address"), "the backend's is here"),)
        if frontend.network != backend.network:
            message = f"frontend is in network {frontend.network}, but backend is in {backend.network}"
            yield Diagnostic("VT343", f"device '{name}': {message}", place, labels)
        elif frontend.ip == backend.ip:
            message = f"device '{name}': frontend and backend have the same address {frontend.ip}"
            yield Diagnostic("VT344", message, place, labels)


def addresses_are_for_hosts(scope: Scope) -> Iterator[Diagnostic]:
    """VT345: an end is neither its network's own nor its broadcast address, nor a special one."""
    for name, device in _networks(scope):
        for end in ENDS:
            interface = _interface(getattr(device.network, end))
            reason = None if interface is None else _not_for_a_host(interface)
            if interface is not None and reason is not None:
                place = scope.span("devices", name, "network", end)
                yield Diagnostic("VT345", f"no host can have {interface}: it is {reason}", place)


def _not_for_a_host(interface: IPv4Interface) -> str | None:
    """Say why a host cannot have an address; a /31 has only host addresses (RFC 3021)."""
    address, network = interface.ip, interface.network
    if address.is_multicast or address.is_loopback or address.is_unspecified:
        return "a multicast, loopback or unspecified address"
    if network.num_addresses > 2 and address == network.network_address:
        return f"the address of network {network} itself"
    if network.num_addresses > 2 and address == network.broadcast_address:
        return f"the broadcast address of network {network}"
    return None


def bridges_have_one_address(scope: Scope) -> Iterator[Diagnostic]:
    """VT346: devices on one bridge of a board agree on the backend's address."""
    first: dict[tuple[str | None, str], str] = {}
    for name, device in _networks(scope):
        network = device.network
        before = first.setdefault((scope.board_of(device.backend), network.bridge), name)
        address = scope.topology.devices[before]
        assert isinstance(address, NetworkDevice)
        if address.network.backend_address != network.backend_address:
            there = scope.span("devices", before, "network", "backend_address")
            yield Diagnostic(
                "VT346",
                f"bridge '{network.bridge}' cannot be {network.backend_address}: "
                f"device '{before}' has it at {address.network.backend_address}",
                scope.span("devices", name, "network", "backend_address"),
                (Label(there, "the first address is here"),),
                hints=("a bridge has one address: use it again, or name another bridge",),
            )


def frontends_differ(scope: Scope) -> Iterator[Diagnostic]:
    """VT347: no two frontends on one bridge have one address."""
    entries = (
        (
            (scope.board_of(device.backend), device.network.bridge, str(interface.ip)),
            ("devices", name, "network", "frontend_address"),
        )
        for name, device in _networks(scope)
        if (interface := _interface(device.network.frontend_address)) is not None
    )
    yield from repeated("VT347", "frontend address", entries, scope)


RULES: tuple[Rule, ...] = (
    macs_differ,
    macs_are_unicast,
    addresses_are_readable,
    ends_share_a_network,
    addresses_are_for_hosts,
    bridges_have_one_address,
    frontends_differ,
)
