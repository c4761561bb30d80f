"""Rules on networks: MAC addresses, both ends' addresses, bridges, forwarded ports."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from vtool.check.context import Context
from vtool.check.free import free_address, free_claim, free_network, interface, is_a_hosts
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.devices import NetworkDevice, daemon_of
from vtool.model.devices.base import BOARD_PORTS

# Loopback, and what the kernel and systemd name real interfaces after (systemd.net-naming-scheme(7)).
_REAL_INTERFACE = re.compile(r"^(lo|(eth|wlan|wwan|usb|end|can)\d+|(en|wl|ww)([bcopsx]\S*|d\d+))$")


@rule(
    "VT330",
    what="a MAC address is multicast, zero or used twice",
    why="Frames would go to the wrong place.",
    example="mac: 01:16:3e:00:00:01",
    fix="Leave mac out and vtool makes one.",
)
@rule(
    "VT331",
    what="network addresses do not match",
    why="The two ends need different host addresses in one IPv4 network, and no two frontends may have the same.",
    example="192.0.2.2/24 and 198.51.100.1/24",
    fix="Use two addresses of one network, with its prefix (8 to 30).",
)
@rule(
    "VT332",
    what="a bridge gets two addresses",
    why="The backend's address is the bridge's.",
    example="two devices on xenbr0 with different backend_address",
    fix="Use the same address, or another bridge.",
)
def networks_are_sound(context: Context) -> Iterator[Diagnostic]:
    """MACs are unicast and unique, addresses too, and a bridge has one address."""
    macs: dict[str, str] = {}
    addresses: dict[tuple[str, str, str], str] = {}
    bridges: dict[tuple[str, str], tuple[str, str]] = {}
    for name, device in context.topology.devices.items():
        if device.type != "net":
            continue
        network, path = device.network, ("devices", name, "network")
        if network.mac is not None:
            if int(network.mac[:2], 16) & 1 or set(network.mac) <= set("0:"):
                kind = "multicast" if int(network.mac[:2], 16) & 1 else "zero"
                message = f"mac '{network.mac}' of '{name}' is a {kind} address"
                yield context.find("VT330", message, (*path, "mac"), hints=("leave it out: vtool makes one",))
            if network.mac in macs:
                message = f"mac '{network.mac}' of '{name}' is also that of '{macs[network.mac]}'"
                label = Label(context.span("devices", macs[network.mac], "network", "mac"), "the other is here")
                hint = "leave one of them out: vtool makes one"
                yield context.find("VT330", message, (*path, "mac"), labels=(label,), hints=(hint,))
            macs.setdefault(network.mac, name)
        yield from _addresses_meet(context, name, device)
        if not network.bridge:
            continue
        key = (device.backend, network.bridge)
        taken = addresses.setdefault((*key, network.fixed_address.partition("/")[0]), name)
        if taken != name and network.fixed_address:
            message = f"'{network.frontend_address}' of '{name}' is also the address of '{taken}'"
            label = Label(context.span("devices", taken, "network", "frontend_address"), "the other is here")
            hint = free_address(context, device, network.backend_address)
            yield context.find("VT331", message, (*path, "frontend_address"), labels=(label,), hints=(hint,))
        if network.has_no_fixed_address and not network.backend_address:
            continue  # it asks nothing of the bridge
        if key in bridges and bridges[key][1] != network.backend_address:
            other = bridges[key][0]
            message = f"bridge '{network.bridge}' gets another address from '{name}' than from '{other}'"
            label = Label(context.span("devices", other, "network", "backend_address"), "the other is here")
            hint = f"`backend_address: {bridges[key][1]}` is the bridge's; or use another bridge"
            yield context.find("VT332", message, (*path, "backend_address"), labels=(label,), hints=(hint,))
        bridges.setdefault(key, (name, network.backend_address))


def _addresses_meet(context: Context, name: str, device: NetworkDevice) -> Iterator[Diagnostic]:
    path = ("devices", name, "network")
    ends: list[ipaddress.IPv4Interface] = []
    for end in ("frontend_address", "backend_address"):
        text = getattr(device.network, end)
        if not text or (end == "frontend_address" and device.network.has_no_fixed_address):
            continue  # VT340 says that it is missing
        address = interface(text)
        if address is None:
            message = f"{text!r} is not an IPv4 address with its network's prefix"
        elif not is_a_hosts(address):
            message = (
                f"'{text}' cannot be a host's: a network's first or last address, special, or no prefix of 8 to 30"
            )
        else:
            ends.append(address)
            continue
        beside = device.network.frontend_address if end == "backend_address" else device.network.backend_address
        yield context.find("VT331", message, (*path, end), hints=(free_address(context, device, beside),))
    if len(ends) == 2 and (ends[0].network != ends[1].network or ends[0].ip == ends[1].ip):
        message = f"'{ends[0]}' of '{device.frontend}' and '{ends[1]}' of '{device.backend}' are in different networks"
        if ends[0].ip == ends[1].ip:
            message = (
                f"'{ends[0].ip}' is the address of both ends of '{name}', '{device.frontend}' and '{device.backend}'"
            )
        label = Label(context.span(*path, "backend_address"), "the other is here")
        hint = free_address(context, device, device.network.backend_address)
        yield context.find("VT331", message, (*path, "frontend_address"), labels=(label,), hints=(hint,))


@rule("VT333")
def bridges_are_apart(context: Context) -> Iterator[Diagnostic]:
    """Two bridges of a domain have networks that do not overlap."""
    seen: dict[str, dict[str, tuple[str, ipaddress.IPv4Network]]] = {}
    for name, device in context.topology.devices.items():
        address = interface(device.network.backend_address) if device.type == "net" else None
        if device.type != "net" or address is None:
            continue
        bridge = device.network.bridge
        if device.data_path.traits.carries_data:
            continue  # a link of two ends
        bridges = seen.setdefault(device.backend, {})
        if bridge in bridges:
            continue
        for other_bridge, (other, network) in bridges.items():
            if network.overlaps(address.network):
                networks = f"{network} and {address.network}"
                message = f"bridges '{other_bridge}' and '{bridge}' have overlapping networks, {networks}"
                label = Label(context.span("devices", other, "network", "backend_address"), "the other is here")
                path = ("devices", name, "network", "backend_address")
                hint = f"{free_network(context, device)}; or use one bridge for both"
                yield context.find("VT333", message, path, labels=(label,), hints=(hint,))
        bridges[bridge] = name, address.network


@rule(
    "VT428",
    what="a bridge has a network that the board itself is in",
    why="The board would send what is for the network behind its own interface to the bridge, and no longer answer.",
    example="backend_address: 10.0.2.2/24 on the emulated board, which is reached through 10.0.2.0/24",
    fix="Give the bridge and its guests a network of their own.",
)
def networks_are_not_the_boards(context: Context) -> Iterator[Diagnostic]:
    """A bridge or link of the board has no network that the board is in by itself, or else it is cut off."""
    said: set[tuple[str, str]] = set()
    for name, device in context.topology.devices.items():
        if not isinstance(device, NetworkDevice) or context.by_a_guest(device):
            continue  # a driver domain makes its bridge itself
        daemon = daemon_of(device.program)
        if daemon is not None and daemon.without_bridge:
            continue  # it gives the board no address
        board, bridge = context.board_of.get(device.backend, ""), device.network.bridge
        address = interface(device.network.backend_address)
        if board not in context.facts or address is None or not is_a_hosts(address):
            continue  # VT331 says it
        if (device.backend, bridge or name) in said:
            continue
        said.add((device.backend, bridge or name))
        loaded = context.facts[board]
        for index, network in enumerate(loaded.facts.networks):
            if address.network.overlaps(ipaddress.IPv4Network(network)):
                what = f"bridge '{bridge}'" if bridge else f"device '{name}'"
                message = f"{what} has the network {address.network}, but board '{board}' is reached by {network}"
                label = Label(loaded.document.span(("networks", index)), "so its facts say")
                path = ("devices", name, "network", "backend_address")
                yield context.find("VT428", message, path, labels=(label,), hints=(free_network(context, device),))


@rule(
    "VT334",
    what="a bridge has the name of an interface",
    why=(
        "vtool makes the bridge and takes it down; done to the interface that leads to the board, it would cut the "
        "board off."
    ),
    example="bridge: eth0",
    fix="Use another name, such as xenbr0.",
)
def bridges_are_new(context: Context) -> Iterator[Diagnostic]:
    """A bridge of the board is made by vtool, so its name is none that the board's own interfaces have."""
    for name, device in context.topology.devices.items():
        if context.by_a_guest(device):
            continue  # a driver domain makes its bridge itself
        if device.type == "net" and not device.network.existing and _REAL_INTERFACE.match(device.network.bridge):
            message = f"bridge '{device.network.bridge}' has the name of one of a board's own interfaces"
            hint = "vtool makes the bridge and removes it again; give it a name such as xenbr0"
            yield context.find("VT334", message, ("devices", name, "network", "bridge"), hints=(hint,))


@rule(
    "VT345",
    what="a port number cannot be forwarded",
    why="Ports end at 65535, and those below 1024 are the board's own services.",
    example="forward_tcp: ['22:22']",
    fix="Use 1024 to 65535 on the board.",
)
def port_numbers_exist(context: Context) -> Iterator[Diagnostic]:
    """Forwarded ports are at most 65535, and the board's at least 1024."""
    for name, device in context.topology.devices.items():
        if device.type != "net":
            continue
        for pair, claim in zip(device.network.forward_tcp, device.claims(), strict=True):
            outside, inside = (int(number) for number in pair.split(":"))
            if outside not in BOARD_PORTS or inside >= BOARD_PORTS.stop:
                message = f"'{pair}' of '{name}': the board's port is 1024 to 65535, the guest's 1 to 65535"
                hints = (
                    () if outside in BOARD_PORTS else free_claim(context, context.board_of.get(device.frontend), claim)
                )
                yield context.find("VT345", message, ("devices", name, *claim.place), hints=hints)
