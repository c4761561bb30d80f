"""A board whose eth0 is systemd-networkd's, by DHCP or by a fixed address: the real one follows to the bridge and back.

Both sides have one; the lab's is the DHCP server. There is no udev, which it does not expect where /sys is read-only.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.network.namespaces import LAB, Namespace, Place, until

NETWORKD = "/lib/systemd/systemd-networkd"
SERVER = (
    f"[Match]\nName=lan0\n[Network]\nAddress={LAB}/24\nDHCPServer=yes\n[DHCPServer]\nPoolOffset=50\nEmitRouter=yes\n"
)
BY_DHCP = "[Match]\nName=eth*\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n"
FIXED = f"[Match]\nName=eth0\n[Network]\nAddress=192.0.2.9/24\nGateway={LAB}\nLinkLocalAddressing=no\n"
BUS = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true"/><allow receive_requested_reply="true"/>
  </policy>
</busconfig>
"""
_READY = """
mkdir -p /run/dbus /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
cat >/run/systemd/network/10-first.network
chown -R systemd-network /run/systemd/netif
echo 0123456789abcdef0123456789abcdef >/run/machine-id
mount --bind /run/machine-id /etc/machine-id
"""


def serve(place: Place, namespace: Namespace, text: str) -> None:
    namespace.run("sh", "-ec", _READY, stdin=text)
    words = [*namespace.prefix, NETWORKD]
    place.processes.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def started(place: Place, text: str) -> None:
    """Start both networkds, the board's with its bus, on links without addresses."""
    board, lab = place.board, place.lab
    lab.run("mount", "-t", "tmpfs", "tmpfs", "/run")
    lab.run("mount", "-t", "sysfs", "-o", "ro", "sysfs", "/sys")
    board.run("mount", "-o", "remount,ro", "/sys")
    for namespace, interface in ((lab, "lan0"), (board, "eth0")):
        for family in ("-4", "-6"):
            namespace.run("ip", family, "route", "flush", "dev", interface, check=False)
        namespace.run("ip", "address", "flush", "dev", interface)
    serve(place, lab, SERVER)
    (board.files / "bus.conf").write_text(BUS)
    board.run("mkdir", "-p", "/run/dbus")
    bus = ("dbus-daemon", "--config-file=/tmp/board/bus.conf", "--nofork", "--nopidfile")
    place.processes.append(subprocess.Popen([*board.prefix, *bus]))
    until(lambda: board.run("test", "-S", "/run/dbus/system_bus_socket", check=False).returncode == 0)
    serve(place, board, text)
    until(lambda: setup(place).get("eth0") == ("configured", "routable"), 40)


def setup(place: Place) -> dict[str, tuple[str, str]]:
    """Return what networkd says of each interface: how far it is with it, and what it is good for."""
    said = json.loads(place.board.run("networkctl", "list", "--json=short", check=False).stdout or "{}")
    return {one["Name"]: (one["AdministrativeState"], one["OperationalState"]) for one in said.get("Interfaces", ())}


def address(place: Place, interface: str) -> tuple[dict[str, Any], list[str]]:
    """Return the one IPv4 address of an interface, and where its default routes lead."""
    (link,) = place.board.ip("-4", "address", "show", "dev", interface)
    (found,) = filter(None, link["addr_info"])
    routes = place.board.ip("route", "show", "default", "dev", interface)
    return found, [route["gateway"] for route in routes]


@pytest.mark.parametrize("text", [BY_DHCP, FIXED], ids=["dhcp", "fixed"])
def test_the_bridge_has_the_same_address_from_networkd_and_then_its_interface_again(place: Place, text: str) -> None:
    started(place, text)
    before, routes = address(place, "eth0")
    assert routes == [LAB] and bool(before.get("dynamic")) == (text == BY_DHCP)
    place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0")
    until(lambda: setup(place)["br0"] == ("configured", "routable"))
    assert setup(place)["eth0"][0] == "unmanaged"
    on_bridge, routes = address(place, "br0")
    assert (on_bridge["local"], on_bridge["prefixlen"], routes) == (before["local"], before["prefixlen"], [LAB])
    assert place.answers(before["local"]) and place.network("eth0") == ()
    # A lease is networkd's own: it asks for it again when it is told to.
    place.board.run("networkctl", "renew", "br0")
    place.board.program("give_uplink", "br0")
    until(lambda: setup(place)["eth0"] == ("configured", "routable"))
    again, routes = address(place, "eth0")
    assert (again["local"], routes) == (before["local"], [LAB])
    assert place.answers(before["local"])
    assert place.board.run("ls", "/run/systemd/network").stdout.split() == ["10-first.network"]


def test_networkd_does_not_come_back_to_an_interface_that_is_in_the_bridge(place: Place) -> None:
    """Of a cable that is pulled and put in again it makes nothing."""
    started(place, FIXED)
    place.board.program("take_uplink", "br0", "eth0", "--guard-s", "0")
    until(lambda: setup(place)["br0"] == ("configured", "routable"))
    place.lab.run("ip", "link", "set", "lan0", "down")
    until(lambda: setup(place)["br0"][1] != "routable")
    place.lab.run("ip", "link", "set", "lan0", "up")
    until(lambda: place.answers("192.0.2.9"))
    assert place.network("eth0") == ()
    assert address(place, "br0")[0]["local"] == "192.0.2.9"
