"""Rules on what of the board's own networks guests are put on: its bridges, and its interfaces."""

from __future__ import annotations

from collections.abc import Iterator

from vtool.check.context import Context
from vtool.diagnostics import Diagnostic, Label
from vtool.diagnostics.codes import rule
from vtool.model.devices import NetworkDevice
from vtool.model.devices.types.net import Network
from vtool.model.topology import Xen


def _of_the_board(context: Context) -> Iterator[tuple[str, NetworkDevice]]:
    for name, device in context.sound_devices():
        if isinstance(device, NetworkDevice) and not context.by_a_guest(device):
            yield name, device  # a driver domain makes its bridge itself


@rule(
    "VT473",
    what="one bridge is said to be two things, or one interface in two places",
    why="Guests on one bridge are on the same one: the board's own, one with an uplink, or one for guests alone.",
    example="br0 with `existing: true` in one device and without in another",
    fix="Write the same at each device on the bridge.",
)
def bridges_are_one_thing(context: Context) -> Iterator[Diagnostic]:
    """Devices on one bridge say the same of it, and an interface of the board is in one place."""
    said: dict[tuple[str, str], tuple[str, Network]] = {}
    places: dict[tuple[str, str], tuple[str, str, str]] = {}
    for name, device in _of_the_board(context):
        network, path = device.network, ("devices", name, "network")
        first, other = said.setdefault((device.backend, network.bridge), (name, network))
        if network.bridge and not network.direct and _kind(network) != _kind(other):
            message = f"bridge '{network.bridge}' of '{name}' is {_kind(network)}, that of '{first}' is {_kind(other)}"
            label = Label(context.span("devices", first, "network", "bridge"), "the other is here")
            yield context.find("VT473", message, (*path, "bridge"), labels=(label,))
            continue
        key, interface = ("direct", network.direct) if network.direct else ("uplink", network.uplink)
        if not interface:
            continue
        place = "macvtap interfaces" if network.direct else f"bridge '{network.bridge}'"
        first, first_key, taken = places.setdefault((device.backend, interface), (name, key, place))
        if taken != place:
            message = f"'{interface}' of '{name}' cannot be in {place}: by '{first}' it is in {taken}"
            label = Label(context.span("devices", first, "network", first_key), "the other is here")
            yield context.find("VT473", message, (*path, key), labels=(label,))


def _kind(network: Network) -> str:
    if network.existing:
        return "the board's own"
    return f"one with the uplink '{network.uplink}'" if network.uplink else "made for guests alone"


@rule(
    "VT474",
    what="a guest of Xen is to be on an interface directly",
    why="A macvtap interface is a file that QEMU reads; Xen's netback is an interface itself, which a bridge joins.",
    example="network: {direct: eth0} for a guest of Xen",
    fix="Use a bridge: `existing: true` with one of the board's, or `uplink`.",
)
def direct_is_qemus(context: Context) -> Iterator[Diagnostic]:
    """A guest that is on an interface of the board directly is run by QEMU under KVM."""
    for name, device in _of_the_board(context):
        direct = device.network.direct
        if direct and isinstance(context.hypervisor_of(device.frontend), Xen):
            message = f"'{name}' is on '{direct}' directly, and Xen has no macvtap"
            hint = f"write `bridge: br0, uplink: {direct}`: vtool makes a bridge with '{direct}' in it"
            yield context.find("VT474", message, ("devices", name, "network", "direct"), key=True, hints=(hint,))
