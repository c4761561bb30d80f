"""An interface of the board in a bridge of vtool's: its addresses and routes move to the bridge, and back.

Nothing of it is on a disk. What was before stands in /run, so that a board which loses its power has the network that
it came with until the unit of a bridge takes the interface again. While a generation is on trial a guard waits besides:
unless somebody reached the board anew and said so (``confirm_uplinks``), it gives all back. Enter at ``take``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from . import address_owners, addressing
from .base import INTERFACES, BoardError, read_json, replace_file, run
from .typed import Any

STATES = Path("/run/vtool/uplinks")
GUARD_S = 120.0
"""How long a controller has to reach the board anew: as long as an emulated board's slowest connection, and some."""
ADDRESS_S = 30.0
"""How long a DHCP client may take at boot until there is something to move."""


def state_of(bridge: str) -> dict[str, Any] | None:
    """Return what is known of a bridge with an uplink, None where it has none."""
    return read_json(STATES / f"{bridge}.json")


def _write(bridge: str, state: dict[str, Any]) -> None:
    replace_file(STATES / f"{bridge}.json", json.dumps(state).encode())


def taken() -> list[str]:
    """Return the bridges that have an uplink now."""
    return sorted(path.stem for path in STATES.glob("*.json"))


def master_of(interface: str) -> str:
    """Return the bridge or bond that an interface is a port of, or nothing."""
    link = INTERFACES / interface / "master"
    return os.readlink(link).rsplit("/", 1)[-1] if link.is_symlink() else ""


# ---------------------------------------------------------------- what can be one


def refuse(interface: str, *, moves: bool = True) -> None:
    """Raise BoardError VT471 for an interface that guests cannot be put on, VT477 for addresses that cannot move."""
    about = INTERFACES / interface
    if not about.exists():
        names = sorted(path.name for path in INTERFACES.iterdir() if (path / "device").exists())
        raise _unfit(f"the board has no interface '{interface}'", f"it has: {', '.join(names) or 'none of hardware'}")
    if interface == "lo" or (about / "bridge").exists():
        what = "the loopback" if interface == "lo" else "a bridge itself"
        raise _unfit(f"'{interface}' of the board is {what}", f"write `bridge: {interface}, existing: true`")
    if (about / "wireless").exists() or (about / "phy80211").exists():
        hint = "an access point takes frames of one address; give the guests a bridge of their own"
        raise _unfit(f"'{interface}' of the board is wireless: nothing of guests would go through it", hint)
    master = master_of(interface)
    if master in taken():
        return  # vtool's own, which is given back before another takes it
    if master:
        hint = f"write `bridge: {master}, existing: true`, if that is a bridge"
        raise _unfit(f"'{interface}' of the board is a port of '{master}' already", hint)
    upper = [path.name[len("upper_") :] for path in about.glob("upper_*")]
    macvlan = [name for name in upper if (INTERFACES / name / "macvtap").exists() and not name.startswith("vt")]
    if moves and macvlan:
        raise _unfit(f"'{interface}' of the board has a macvtap interface '{macvlan[0]}'", "Linux lets it have one use")
    if moves:
        _require_movable(interface)


def _unfit(message: str, hint: str) -> BoardError:
    return BoardError("VT471", message, [hint])


def _require_movable(interface: str) -> None:
    address_owners.owners_of(interface, addressing.addresses_of(interface))
    for family in ("-4", "-6"):
        for rule in addressing.rules_of(family):
            if interface in (rule.get("iif"), rule.get("oif")):
                what = f"a policy rule of the board (priority {rule.get('priority')}) names '{interface}'"
                raise _unfit(what, "its addresses would move to the bridge, and the rule would not")


# ---------------------------------------------------------------- there and back


def take(bridge: str, interface: str, guard_s: float) -> None:
    """Make a bridge, put an interface in it, and give it the interface's addresses and routes.

    What fails gives all back. With ``guard_s`` above 0 so does a guard after so many seconds without a confirmation.
    """
    state = state_of(bridge)
    if state and state["stage"] == "taken" and master_of(interface) == bridge:
        return
    if state:
        give(bridge)
    if (INTERFACES / interface).exists():
        _wait_for_owner(interface)
    refuse(interface)
    addresses, routes = addressing.addresses_of(interface), addressing.routes_of(interface)
    owners = address_owners.owners_of(interface, addresses)
    state = {"uplink": interface, "stage": "taking", "confirmed": guard_s <= 0, **owners}
    _write(bridge, {**state, "addresses": addresses, "routes": routes})
    if guard_s > 0:
        _start_guard("guard_uplink", bridge, guard_s)
    try:
        _make(bridge, interface)
        _move(bridge, interface, owners, addresses, routes)
    except BaseException:
        give(bridge)
        raise
    known = state_of(bridge)
    if known is None:
        raise BoardError("VT475", f"'{interface}' took its addresses back from bridge '{bridge}'")
    _write(bridge, {**known, "stage": "taken"})


def _wait_for_owner(interface: str) -> None:
    """Wait at boot until it can be seen who configures an interface, and a client of its own has an address."""
    deadline = time.monotonic() + ADDRESS_S
    while time.monotonic() < deadline:
        leased = any(address["family"] == "inet" for address in addressing.addresses_of(interface))
        if address_owners.is_settled(interface) and (leased or not address_owners.has_client(interface)):
            return
        time.sleep(0.2)  # polling what they have not done yet; the loop has the deadline


def _make(bridge: str, interface: str) -> None:
    """Make a bridge that forwards at once and has the interface's own MAC, so that nobody sees another board."""
    about = INTERFACES / interface
    address, mtu = ((about / name).read_text().strip() for name in ("address", "mtu"))
    if (INTERFACES / bridge).exists():
        run("ip", "link", "set", "dev", bridge, "address", address)
    else:  # with an address from the start, or udev gives it one (systemd.link(5), MACAddressPolicy=)
        forwards = ("type", "bridge", "stp_state", "0", "forward_delay", "0")
        run("ip", "link", "add", "name", bridge, "address", address, *forwards)
    run("ip", "link", "set", "dev", interface, "up")
    run("ip", "link", "set", "dev", interface, "master", bridge)
    run("ip", "link", "set", "dev", bridge, "mtu", mtu)
    addressing.follow_settings(interface, bridge)


def _move(
    bridge: str,
    interface: str,
    owners: dict[str, Any],
    addresses: list[dict[str, Any]],
    routes: list[dict[str, Any]],
) -> None:
    address_owners.stop_clients(interface)
    if owners["networkd"] is not None:
        address_owners.networkd_follows(bridge, interface, owners["networkd"])
    run("ip", "address", "flush", "dev", interface)
    addressing.without_ipv6(interface, off=True)
    run("ip", "link", "set", "dev", bridge, "up")
    # What came by a router's advertisement (RTPROT_RA, 9) the bridge hears, too.
    addressing.put(addresses, [route for route in routes if "9" not in _protocol(route)], bridge, check=True)
    address_owners.start_clients(owners["clients"], interface, bridge, group=False)


def _protocol(route: dict[str, Any]) -> list[str]:
    words = route["words"]
    return [words[index + 1] for index, word in enumerate(words) if word == "proto"]


def give(bridge: str, *, keep_bridge: bool = False) -> None:
    """Give an interface what it brought into a bridge, as it is now, and remove the bridge; go on whatever fails."""
    state = state_of(bridge)
    if state is not None:
        interface = state["uplink"]
        addresses, routes = state["addresses"], state["routes"]
        if state["stage"] == "taken":
            with contextlib.suppress(BoardError):
                # A lease may have been renewed, or be another one.
                addresses, routes = addressing.addresses_of(bridge) or addresses, addressing.routes_of(bridge) or routes
        address_owners.stop_clients(bridge)
        run("ip", "address", "flush", "dev", bridge, check=False)
        run("ip", "link", "set", "dev", interface, "nomaster", check=False)
        addressing.without_ipv6(interface, off=False)
        run("ip", "link", "set", "dev", interface, "up", check=False)
        addressing.put(addresses, routes, interface, check=False)
        if state["networkd"] is not None:
            address_owners.networkd_forgets(bridge, interface)
        if state["clients"] and not address_owners.has_client(interface):
            address_owners.start_clients(state["clients"], bridge, interface, group=True)
        with contextlib.suppress(FileNotFoundError):
            (STATES / f"{bridge}.json").unlink()
    if not keep_bridge and (INTERFACES / bridge / "bridge").exists():
        run("ip", "link", "delete", "dev", bridge)


# ---------------------------------------------------------------- the guard


def _start_guard(verb: str, bridge: str, seconds: float) -> None:
    """Start this program once more, on its own: it outlives the connection and the unit's start."""
    subprocess.Popen(
        [sys.executable, sys.argv[0], verb, bridge, "--seconds", str(seconds)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _confirmed_in_time(state: Path, seconds: float) -> bool:
    """Wait until a state is confirmed or gone; return False when neither happens in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = read_json(state)
        if found is None or found["confirmed"]:
            return True
        time.sleep(0.2)  # polling a file that other processes write; the loop has the deadline
    return False


def verb_guard_uplink(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give an uplink back unless its move is confirmed in time; its unit has nothing to hold then, and is stopped."""
    bridge = arguments.bridge
    if _confirmed_in_time(STATES / f"{bridge}.json", arguments.seconds):
        return {"given_back": False}
    give(bridge, keep_bridge=True)
    with contextlib.suppress(OSError):  # the bridge goes with its unit, which stops what is on it
        run("systemctl", "stop", "--no-block", f"vtool-bridge-{bridge}.service", check=False)
    return {"given_back": True}


def verb_guard_release(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take an uplink again unless its release is confirmed in time."""
    released = STATES / f"{arguments.bridge}.released"
    if _confirmed_in_time(released, arguments.seconds):
        return {"taken_again": False}
    found = read_json(released)
    with contextlib.suppress(FileNotFoundError):
        released.unlink()
    if found is not None:
        take(arguments.bridge, found["uplink"], 0)
    return {"taken_again": True}


# ---------------------------------------------------------------- verbs


def verb_take_uplink(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take an interface into a bridge, as the bridge's unit does at boot and at a deploy."""
    guard_s = arguments.guard_s
    if guard_s is None:
        guard_s = 0.0 if _is_good() else GUARD_S
    take(arguments.bridge, arguments.interface, guard_s)
    return {"bridge": arguments.bridge, "guard_s": guard_s}


def _is_good() -> bool:
    """Whether what runs is what boots: somebody reached the board through it once."""
    from .generations import current_state, running_id

    return running_id() != "" and current_state()["good"] == running_id()


def verb_give_uplink(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give an interface back and remove its bridge, as the bridge's unit does when it stops."""
    give(arguments.bridge)
    return {"bridge": arguments.bridge}


def verb_start_uplinks(_: argparse.Namespace) -> dict[str, Any]:
    """Start the bridges with uplinks of the running generation, before anything is waited for."""
    from .generations import running_generation, uplinks

    for bridge in uplinks(running_generation() or {}):
        unit = f"vtool-bridge-{bridge}.service"
        run("systemctl", "reset-failed", unit, check=False)
        run("systemctl", "start", unit)
    return {"uplinks": taken()}


def verb_confirm_uplinks(_: argparse.Namespace) -> dict[str, Any]:
    """Say that the board was reached since its addresses moved: over a connection that was made for this."""
    for bridge in taken():
        state = state_of(bridge)
        if state is not None:
            _write(bridge, {**state, "confirmed": True})
    for released in STATES.glob("*.released"):
        released.unlink()
    return {"uplinks": taken()}


def verb_release_uplinks(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give all uplinks back, their bridges stay; they are taken again unless that is confirmed in time."""
    bridges = taken()
    for bridge in bridges:
        state = state_of(bridge)
        assert state is not None
        released = {"uplink": state["uplink"], "confirmed": False}
        replace_file(STATES / f"{bridge}.released", json.dumps(released).encode())
        _start_guard("guard_release", bridge, GUARD_S if arguments.seconds is None else arguments.seconds)
        give(bridge, keep_bridge=True)
    return {"released": bridges}
