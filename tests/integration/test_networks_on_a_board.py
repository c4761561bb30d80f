"""Guests on an emulated board's own networks: a bridge that it has, its NIC as an uplink, a wrong one, macvtap.

The board's only way to vtool is the interface that moves. The tests run in order on one board.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, Bench

pytestmark = [pytest.mark.board, pytest.mark.long]
BRIDGE = {
    "br-lan.netdev": "[NetDev]\nName=br-lan\nKind=bridge\n",
    "br-lan.network": "[Match]\nName=br-lan\n[Network]\nAddress=198.51.100.1/24\nDHCPServer=yes\n"
    "ConfigureWithoutCarrier=yes\nLinkLocalAddressing=no\n",
}
"""A bridge of systemd-networkd's, with a DHCP server."""
PORT_OFF = "while :; do bridge link set dev eth0 state 0 2>/dev/null; sleep 0.05; done"
"""What a network does that takes no bridge: nothing comes through any more. 0 is BR_STATE_DISABLED (if_bridge.h).

Again and again, as a bridge that comes up gives its ports their state anew (br_stp_enable_bridge, br_stp_if.c).
"""
NETWORK = "ip -o -4 address show; ip -4 route show"


@pytest.fixture(scope="module")
def board(bench: Bench) -> Iterator[Bench]:
    bench.vtool("board", "up")
    for name, text in BRIDGE.items():
        bench.ssh(f"cat > /etc/systemd/network/{name}", text.encode())
    bench.ssh("networkctl reload; until ip -4 address show dev br-lan 2>/dev/null | grep -q 198.51; do sleep 1; done")
    yield bench
    bench.vtool("board", "destroy")


@pytest.fixture(scope="module")
def before(board: Bench) -> str:
    return network(board)


def network(bench: Bench) -> str:
    """Return addresses and routes, without what is left of leases."""
    words = "sed -E 's/(valid_lft|preferred_lft) [0-9a-z]+//g; s/ +$//' | sort"
    return bench.ssh(f"{{ {NETWORK}; }} | {words}")


def shown(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(row["subject"], "|", row["what"], "|", row["seen"])
    assert not [row for row in rows if not (row["proven"] or row["noted"])], rows


def topology(tmp_path: Path, name: str) -> Path:
    path = tmp_path / "t.yaml"
    path.write_text((ROOT / "tests" / "topologies" / f"{name}.yaml").read_text())
    return path


def test_guests_are_on_a_bridge_of_the_board_and_in_one_with_its_nic(board: Bench, before: str, tmp_path: Path) -> None:
    kvm = topology(tmp_path, "kvm-networks")
    shown(board.deploy(kvm)["rows"])
    assert "upbr0" in board.ssh("ip -4 route get ${SSH_CLIENT%% *}"), "the connection that says so came through it"
    shown(board.verify(kvm))
    assert "br-lan" in board.ssh("ls /sys/class/net")


def test_a_boot_takes_the_nic_again(board: Bench, before: str, tmp_path: Path) -> None:
    kvm = topology(tmp_path, "kvm-networks")
    board.vtool("board", "power", "cycle")
    board.vtool("board", "up")
    shown(board.deploy(kvm)["rows"])
    assert "upbr0" in board.ssh("ip -4 route get ${SSH_CLIENT%% *}")


def test_down_gives_the_board_its_network_back(board: Bench, before: str, tmp_path: Path) -> None:
    board.vtool("down", topology(tmp_path, "kvm-networks"))
    assert network(board) == before
    assert board.ssh("ls /sys/class/net").split() == ["br-lan", "eth0", "lo"]


def test_an_uplink_that_cuts_the_board_off_is_given_back(board: Bench, before: str, tmp_path: Path) -> None:
    kvm = topology(tmp_path, "kvm-networks")
    first = kvm.read_text()
    alone = first.replace("upbr0, uplink: eth0, frontend_address: dhcp", "upbr0, frontend_address: none")
    kvm.write_text(alone)
    good = board.deploy(kvm)["generation"]
    board.ssh(f"systemd-run --quiet --unit=port-off sh -c '{PORT_OFF}'")
    kvm.write_text(first)
    report = board.deploy(kvm, code=3)
    board.ssh("systemctl stop port-off.service")
    assert report["failure"][0]["code"] == "VT475", report["failure"]
    assert report["went_back_to"] == good
    assert "eth0" in board.ssh("ip -4 route get ${SSH_CLIENT%% *}")
    kvm.write_text(alone)
    assert not board.deploy(kvm)["changed"], "the last good generation runs"
    board.vtool("down", kvm)
    assert network(board) == before


def test_guests_are_on_the_nic_without_a_bridge(board: Bench, before: str, tmp_path: Path) -> None:
    kvm = topology(tmp_path, "kvm-direct")
    rows = board.deploy(kvm)["rows"]
    shown(rows)
    assert any(row["what"].startswith("the address") and row["seen"].startswith("10.0.2.") for row in rows)
    # Behind vtool's back.
    board.ssh("systemctl stop vtool-tap-net1.service")
    lost = {row["subject"] for row in board.verify(kvm, code=3) if not (row["proven"] or row["noted"])}
    assert "device net1" in lost and "device net0" not in lost
    board.vtool("down", kvm)
    assert network(board) == before


def test_guests_of_xen_are_on_them_too(board: Bench, before: str, tmp_path: Path) -> None:
    xen = topology(tmp_path, "xen-networks")
    shown(board.deploy(xen)["rows"])
    assert "xenbr0" in board.ssh("ip -4 route get ${SSH_CLIENT%% *}")
    board.vtool("down", xen)
    assert network(board) == before
