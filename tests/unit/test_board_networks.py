"""A board refuses a bridge in a network that it is in itself, before anything of it is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.deploy.on_board import networks
from vtool.deploy.on_board.base import BoardError

# eth0 in 10.0.2.0/24 with the default route, xenbr0 and docker0 as bridges of taps, br0 with eth1, a tap of a ring.
ROUTES = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0202000A	0003	0	0	0	00000000	0	0	0
eth0	0002000A	00000000	0001	0	0	0	00FFFFFF	0	0	0
eth0	0000A8C0	0302000A	0003	0	0	0	00FFFFFF	0	0	0
xenbr0	004DA8C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
br0	0000100A	00000000	0001	0	0	0	0000FFFF	0	0	0
vt0	004EA8C0	00000000	0001	0	0	0	FCFFFFFF	0	0	0
"""


@pytest.fixture(autouse=True)
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "route").write_text(ROUTES)
    for name in (
        "eth0/device",
        "eth1/device",
        "xenbr0/bridge",
        "xenbr0/brif/vif1.0",
        "vif1.0/device",
        "br0/bridge",
        "br0/brif/eth1",
    ):
        (tmp_path / "net" / name).mkdir(parents=True)
    (tmp_path / "net/vif1.0/device/subsystem").symlink_to("/sys/bus/xen-backend")
    (tmp_path / "net/vt0").mkdir()
    (tmp_path / "net/vt0/tun_flags").touch()
    monkeypatch.setattr(networks, "ROUTES", tmp_path / "route")
    monkeypatch.setattr(networks, "INTERFACES", tmp_path / "net")
    monkeypatch.setenv("SSH_CONNECTION", "172.16.5.9 50000 10.9.0.1 22")


def refused(network: str) -> str:
    with pytest.raises(BoardError) as caught:
        networks.refuse_own_networks([{"name": "kvmbr0", "network": network}])
    assert caught.value.code == "VT428"
    assert caught.value.hints == ["give the bridge a network of its own, such as 192.168.77.0/24"]
    return str(caught.value)


@pytest.mark.parametrize(
    ("network", "why"),
    [
        ("10.0.2.0/24", "which 'eth0' of it is in"),
        ("10.0.2.128/25", "which 'eth0' of it is in"),
        ("10.0.0.0/8", "where it is reached as 10.9.0.1"),
        ("192.168.0.0/24", "which 'eth0' of it is in"),
        ("10.16.3.0/24", "which 'br0' of it is in"),
        ("172.16.5.0/24", "from which 172.16.5.9 deploys"),
    ],
)
def test_a_network_of_its_own_is_refused(network: str, why: str) -> None:
    assert refused(network) == f"bridge 'kvmbr0' would have the network {network} on the board, {why}"


@pytest.mark.parametrize("network", ["192.168.77.0/24", "192.168.78.0/30", "10.0.3.0/24", "172.16.6.0/24"])
def test_vtools_own_interfaces_and_others_networks_are_no_reason(network: str) -> None:
    networks.refuse_own_networks([{"name": "kvmbr0", "network": network}])


def test_without_ssh_what_the_board_routes_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION")
    assert "eth0" in refused("10.0.2.0/24")
    networks.refuse_own_networks([{"name": "kvmbr0", "network": "172.16.5.0/24"}])


def test_the_network_of_the_hint_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.168.77.9 50000 10.9.0.1 22")
    with pytest.raises(BoardError) as caught:
        networks.refuse_own_networks(
            [{"name": "kvmbr0", "network": "10.0.2.0/24"}, {"name": "kvmbr1", "network": "192.168.78.0/30"}]
        )
    assert caught.value.hints == ["give the bridge a network of its own, such as 192.168.79.0/24"]


def refused_for(wanted: dict[str, object], running: list[dict[str, object]] | None = None) -> tuple[str, str, str]:
    with pytest.raises(BoardError) as caught:
        networks.refuse_networks([wanted], running or [])
    return caught.value.code, str(caught.value), caught.value.hints[0]


def test_a_bridge_that_is_to_be_there_is_and_is_not_vtools() -> None:
    networks.refuse_networks([{"name": "br0", "existing": True}], [])
    assert refused_for({"name": "br7", "existing": True}) == (
        "VT470",
        "bridge 'br7' is not there on the board",
        "the board has: br0, xenbr0",
    )
    assert refused_for({"name": "eth1", "existing": True})[:2] == ("VT470", "bridge 'eth1' is no bridge on the board")
    code, message, hint = refused_for({"name": "br0", "existing": True}, [{"name": "br0", "uplink": "eth1"}])
    assert code == "VT470" and "the generation that runs made it" in message and "after vtool down" in hint


def test_a_bridge_of_another_tool_is_used_or_refused_and_never_fought() -> None:
    assert refused_for({"name": "br0", "network": "192.168.77.0/24"}) == (
        "VT472",
        "the board has a bridge 'br0' that is not vtool's, and vtool would make one of that name",
        "`existing: true` beside `bridge: br0` uses it as it is",
    )
    assert refused_for({"name": "vt0"})[:2] == (
        "VT472",
        "the board has an interface 'vt0' that is not vtool's, and vtool would make one of that name",
    )
    # What the running generation made is vtool's.
    networks.refuse_networks([{"name": "br0", "network": "192.168.77.0/24"}], [{"name": "br0"}])


def test_the_network_of_a_bridge_that_is_there_is_the_boards_own_and_no_reason() -> None:
    networks.refuse_networks([{"name": "br0", "existing": True}], [])
    with pytest.raises(BoardError, match=r"10\.16\.0\.0/16 on the board"):
        networks.refuse_networks([{"name": "br1", "network": "10.16.0.0/16"}], [])


def test_an_interface_that_guests_are_put_on_is_there_and_is_wired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks.uplink, "INTERFACES", tmp_path / "net")
    monkeypatch.setattr(networks.uplink, "STATES", tmp_path / "states")
    (tmp_path / "net/wlan0/device").mkdir(parents=True)
    (tmp_path / "net/wlan0/phy80211").mkdir()
    (tmp_path / "net/eth1/master").symlink_to("../br0")
    networks.refuse_networks([{"direct": "eth0"}], [])
    assert refused_for({"direct": "eth9"}) == (
        "VT471",
        "the board has no interface 'eth9'",
        "it has: eth0, eth1, vif1.0, wlan0",
    )
    assert refused_for({"direct": "wlan0"})[0] == "VT471"
    assert refused_for({"direct": "eth1"})[1] == "'eth1' of the board is a port of 'br0' already"
