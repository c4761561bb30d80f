"""A guest on an interface of the board: the units' own commands make macvtap interfaces, and QEMU takes their files."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.network.namespaces import PYTHON, Place, until
from vtool.board.qmp import monitor
from vtool.check import check
from vtool.diagnostics import Severity
from vtool.model.validate import load_facts, validate
from vtool.plan.planner import make_plan
from vtool.plan.types import BoardPlan
from vtool.reading.source import load
from vtool.render import render

TOPOLOGY = """version: 1
name: direct
boards:
  board0: {facts: qemu-virt, hypervisor: {kind: kvm, vmm: VMM}}
domains:
  host: {role: control}
  fe0: {memory: 64MiB}
devices:
  net0:
    {type: net, frontend: fe0, backend: host, program: qemu, transport: pci, data_path: shared-ram,
     network: {direct: eth0, frontend_address: dhcp}}
  net1:
    {type: net, frontend: fe0, backend: host, program: qemu, transport: pci, data_path: shared-ram,
     network: {direct: eth0, frontend_address: none, mac: "52:54:00:00:00:77"}}
"""
# What a guest would send: a header of virtio-net without anything to do (virtio 1.3, 5.1.6), and a broadcast.
SEND = "import os; os.write(4, bytes(10) + b'\\xff' * 6 + bytes.fromhex('525400000077') + b'\\x88\\xb5' + b'x' * 50)"
HEAR = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as heard:
    heard.bind(("lan0", 0x88B5))
    heard.settimeout(30)
    print("ready", flush=True)
    print(heard.recv(2048)[6:12].hex(":"), flush=True)
"""


def planned(folder: Path, vmm: str = "qemu") -> BoardPlan:
    path = folder / "topology.yaml"
    path.write_text(TOPOLOGY.replace("VMM", vmm))
    document = load(path)
    topology, facts = validate(document), {"board0": load_facts("qemu-virt")}
    # Of its kernel nothing is known here.
    assert not [found for found in check(document, topology, facts, {}) if found.severity is Severity.ERROR]
    return make_plan(document, topology, {"board0": facts["board0"].facts}).boards[0]


def units(board: BoardPlan) -> dict[str, str]:
    return {Path(one.name).name: one.content for one in render(board).artifacts if "/units/" in f"/{one.name}"}


def started(place: Place, text: str) -> None:
    """Run what a unit starts, as systemd does; its user is root here, and there is no udev."""
    for line in re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE):
        words = [word.replace("$$", "$") for word in shlex.split(line.lstrip("-").replace("vtool-domain", "root"))]
        if "udevadm" not in words[0]:
            place.board.run(*words)


def command(text: str, folder: str) -> list[str]:
    """Return the words of the unit that runs a guest, with no KVM and the board's folders below ``folder``."""
    (line,) = re.findall(r"^ExecStart=((?:.*\\\n)*.*)$", text, re.MULTILINE)
    words = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line.replace("\\\n", " "))]
    words[words.index("-kernel") + 1] = f"{folder}/kernel"
    words[words.index("kvm")], words[words.index("host")] = "tcg", "max"
    return [re.sub(r"/(run|var/log)/vtool/[a-z0-9/-]*/", f"{folder}/", word) for word in words]


def test_qemu_has_the_files_of_its_interfaces_and_frames_go_out(place: Place, tmp_path: Path) -> None:
    found = units(planned(tmp_path))
    assert not any("bridge" in name for name in found)
    for name in ("net0", "net1"):
        started(place, found[f"vtool-tap-{name}.service"])
    files = place.board.files
    (files / "kernel").write_bytes(bytes(4096))
    words = command(found["vtool-domain-fe0.service"], "/tmp/board")
    assert "DeviceAllow=char-macvtap rw\n" in found["vtool-domain-fe0.service"]
    assert "PrivateNetwork" not in found["vtool-domain-fe0.service"]
    qemu = subprocess.Popen([*place.board.prefix, *words, "-S"], stdin=subprocess.DEVNULL)
    place.processes.append(qemu)
    macs: set[str] = set()

    def answers() -> bool:
        with suppress(FileNotFoundError, ConnectionRefusedError), monitor(files / "qmp.sock") as execute:
            macs.update(one["main-mac"] for one in execute("query-rx-filter"))
        assert qemu.poll() is None
        return bool(macs)

    until(answers, 60)
    links = place.board.ip("-d", "link", "show", "type", "macvtap")
    assert macs == {link["address"] for link in links if link} and "52:54:00:00:00:77" in macs
    assert {link["linkinfo"]["info_data"]["mode"] for link in links if link} == {"bridge"}


def test_what_is_written_to_the_file_reaches_the_lab(place: Place, tmp_path: Path) -> None:
    found = units(planned(tmp_path))
    for name in ("net0", "net1"):
        started(place, found[f"vtool-tap-{name}.service"])
    shell = command(found["vtool-domain-fe0.service"], "/tmp/board")[:4]
    with subprocess.Popen([*place.lab.prefix, sys.executable, "-c", HEAR], stdout=subprocess.PIPE) as lab:
        assert lab.stdout and lab.stdout.readline() == b"ready\n"
        place.board.run(*shell, PYTHON, "-c", SEND)
        assert lab.stdout.readline() == b"52:54:00:00:00:77\n"
    (tap,) = [one.name for one in planned(tmp_path).kvm_guests[0].handed if one.mac == "52:54:00:00:00:77"]
    assert int(place.board.run("cat", f"/sys/class/net/{tap}/statistics/tx_packets").stdout) > 0


def test_libvirt_is_told_of_an_interface_that_is_there(tmp_path: Path) -> None:
    board = planned(tmp_path, "libvirt")
    (xml,) = [one.content for one in render(board).artifacts if one.name.endswith(".xml")]
    first, second = board.kvm_guests[0].handed
    for tap in (first, second):
        assert f'<target dev="{tap.name}" managed="no" />' in xml
    assert "fd=" not in xml


@pytest.mark.parametrize("address", ["dhcp", "none", "192.0.2.9/24"])
def test_the_rows_of_each_kind_of_address(tmp_path: Path, address: str) -> None:
    from vtool.deploy.proof.networks import network_rows

    def rows(*, direct: bool) -> list[str]:
        return [p.what for p in network_rows("device net0", "fe0", "x", address, port="p", inside="i", direct=direct)]

    counted = ["its interface on the board has a link", "frames that it sent, counted on the board"]
    told = ["the address that it says it got by DHCP"] if address == "dhcp" else []
    assert rows(direct=True) == [*told, *counted]
    assert (rows(direct=False) == [*told, *counted]) == (address in ("dhcp", "none"))
