"""The networks that the board is in by itself: a bridge in one of them would cut it off from who deploys."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from . import uplink
from .base import INTERFACES, BoardError
from .typed import Any

ROUTES = Path("/proc/net/route")


def refuse_networks(wanted: list[dict[str, Any]], running: list[dict[str, Any]]) -> None:
    """Raise BoardError for what a generation wants of the board's own networks and cannot have, before it changes.

    VT470 for a bridge that is not there, VT472 for one that is, VT471 and VT477 for an interface, VT428 for a network.
    ``running`` is what the running generation has of them.
    """
    made = {one["name"] for one in running if "name" in one and not one.get("existing")}
    for one in wanted:
        name, there = one.get("name", ""), (INTERFACES / one.get("name", "") / "bridge").exists()
        if one.get("existing") and (name in made or not there):
            _refuse_missing(name, of_vtool=name in made)
        if name and not one.get("existing") and name not in made and (INTERFACES / name).exists():
            what = "a bridge" if there else "an interface"
            hints = [f"`existing: true` beside `bridge: {name}` uses it as it is"] if there else []
            message = f"the board has {what} '{name}' that is not vtool's, and vtool would make one of that name"
            raise BoardError("VT472", message, [*hints, "or give the bridge another name"])
        if interface := one.get("uplink") or one.get("direct"):
            uplink.refuse(interface, moves="uplink" in one)
    refuse_own_networks([one for one in wanted if "network" in one])


def _refuse_missing(name: str, *, of_vtool: bool) -> None:
    if of_vtool:
        message = f"bridge '{name}' is to be there already, and it is vtool's: the generation that runs made it"
        raise BoardError("VT470", message, ["leave out `existing`, or have another tool make it after vtool down"])
    bridges = sorted(path.parent.name for path in INTERFACES.glob("*/bridge"))
    what = "is no bridge" if (INTERFACES / name).exists() else "is not there"
    hint = (
        f"the board has: {', '.join(bridges)}"
        if bridges
        else "the board has no bridge; without `existing` vtool makes one"
    )
    raise BoardError("VT470", f"bridge '{name}' {what} on the board", [hint])


def refuse_own_networks(wanted: list[dict[str, Any]]) -> None:
    """Raise BoardError VT428 for a bridge whose ``network`` the board is in, or reaches its controller by."""
    own = list(own_networks())
    for bridge in wanted:
        for what, network in own:
            if _overlap(bridge["network"], network):
                others = [*(network for _, network in own), *(other["network"] for other in wanted)]
                places = (f"192.168.{third}.0/24" for third in range(77, 256))
                free = next((place for place in places if not any(_overlap(place, other) for other in others)), None)
                hint = f"give the bridge a network of its own{f', such as {free}' if free else ''}"
                message = f"bridge '{bridge['name']}' would have the network {bridge['network']} on the board, {what}"
                raise BoardError("VT428", message, hints=[hint])


def own_networks() -> Iterator[tuple[str, str]]:
    """Yield the networks that are not vtool's, each with what the board has of it in words; IPv4 only."""
    connection = os.environ.get("SSH_CONNECTION", "").split()
    if len(connection) == 4 and ":" not in connection[0]:
        yield f"from which {connection[0]} deploys", f"{connection[0]}/32"
        yield f"where it is reached as {connection[2]}", f"{connection[2]}/32"
    for line in ROUTES.read_text().splitlines()[1:]:
        fields = line.split()
        interface, mask = fields[0], _number_of(fields[7])
        if mask and not _is_made(interface):
            base = socket.inet_ntoa(_number_of(fields[1]).to_bytes(4, "big"))
            yield f"which '{interface}' of it is in", f"{base}/{bin(mask).count('1')}"


def _is_made(interface: str) -> bool:
    """Whether an interface is a tap, or a bridge without any interface that is hardware: vtool's, and the like."""
    about = INTERFACES / interface
    ports = list((about / "brif").glob("*"))
    bridge = (about / "bridge").exists() and not any(_is_hardware(INTERFACES / port.name) for port in ports)
    return bridge or (about / "tun_flags").exists()


def _is_hardware(about: Path) -> bool:
    """Whether an interface has a device of its own; the one that netback's has is a guest's (bus xen-backend)."""
    device = about / "device"
    return device.exists() and (device / "subsystem").resolve().name != "xen-backend"


def _number_of(text: str) -> int:
    """Read an address as the kernel shows it: in the memory's order."""
    return int.from_bytes(int(text, 16).to_bytes(4, "little"), "big")


def _overlap(one: str, other: str) -> bool:
    (base, mask), (other_base, other_mask) = _numbers(one), _numbers(other)
    return (base ^ other_base) & mask & other_mask == 0


def _numbers(network: str) -> tuple[int, int]:
    address, _, prefix = network.partition("/")
    mask = (0xFFFFFFFF << (32 - int(prefix))) & 0xFFFFFFFF
    return int.from_bytes(socket.inet_aton(address), "big") & mask, mask
