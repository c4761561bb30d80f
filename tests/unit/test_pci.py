"""PCI devices of the board for guests of KVM: what is rendered, what the board does, what it refuses and shows."""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.unit.running_system import Running
from vtool.cli.common import prepare
from vtool.deploy.needed_devices import not_to_be_had
from vtool.deploy.on_board import pci
from vtool.deploy.on_board.base import BoardError
from vtool.deploy.proof import proofs, saved
from vtool.diagnostics import Diagnostic
from vtool.plan.types import BoardPlan
from vtool.render import render

KERNEL = Path(__file__).parents[1] / "errors" / "images" / "linux-of-30MiB"
TOPOLOGY = f"""
version: 1
name: case
boards:
  board0:
    facts: qemu-virt
    hypervisor: {{kind: kvm}}
domains:
  host: {{role: control, kernel: {KERNEL}}}
  fe0:
    memory: 256MiB
    ramdisk: vtool:guest-initramfs
    pci: ['0000:01:00.0', '0000:01:00.1']
"""


@pytest.fixture
def board(tmp_path: Path) -> BoardPlan:
    (tmp_path / "case.yaml").write_text(TOPOLOGY)
    return prepare(tmp_path / "case.yaml").plan.boards[0]


def test_a_unit_takes_the_devices_before_qemu_starts(board: BoardPlan) -> None:
    files = render(board)
    taken = files.get("units/vtool-pci-fe0.service").content
    assert re.findall(r"^(Exec\w+)=\S+ (.*)", taken, re.M) == [
        ("ExecStart", "pci-take 0000:01:00.0 0000:01:00.1"),
        ("ExecStopPost", "pci-return 0000:01:00.0 0000:01:00.1"),
    ]
    unit = files.get("units/vtool-domain-fe0.service").content
    assert "Requires=vtool-pci-fe0.service\nAfter=vtool-pci-fe0.service" in unit
    assert re.findall(r"-device vfio-pci,\S+", unit) == [
        "-device vfio-pci,id=pci-0000-01-00-0,host=0000:01:00.0,bus=pcie.0,addr=0x1f",
        "-device vfio-pci,id=pci-0000-01-00-1,host=0000:01:00.1,bus=pcie.0,addr=0x1e",
    ]
    # All of the guest's memory is pinned; DevicePolicy=closed allows nothing else.
    assert "LimitMEMLOCK=1280M\nDeviceAllow=/dev/vfio/vfio rw\nDeviceAllow=char-vfio rw\n" in unit


def test_a_guest_without_them_has_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "case.yaml").write_text(re.sub(r"    pci: .*\n", "", TOPOLOGY))
    files = render(prepare(tmp_path / "case.yaml").plan.boards[0])
    assert "vfio" not in "".join(file.content for file in files.artifacts) and "MEMLOCK" not in str(files)


# -- on the board


class Bus:
    """A PCI bus in a folder whose kernel obeys: a write to ``drivers_probe`` binds, one to ``unbind`` unbinds."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bus, self.nodes, self.given = folder / "bus", folder / "nodes", list[tuple[str, int]]()
        self.unbound: list[str] = []
        for driver in ("vfio-pci", "e1000e"):
            (self.bus / "drivers" / driver).mkdir(parents=True)
        monkeypatch.setattr(pci, "BUS", self.bus)
        monkeypatch.setattr(pci, "NODES", self.nodes)
        monkeypatch.setattr(pci.shutil, "chown", lambda path, user, _: self.given.append((path.name, user)))
        monkeypatch.setattr(pci.pwd, "getpwnam", lambda _: argparse.Namespace(pw_uid=7, pw_gid=8))
        write = Path.write_text

        def written(path: Path, text: str) -> int:
            if path.name == "unbind":
                (self.bus / "devices" / text / "driver").unlink()
                self.unbound.append(text)
            elif path.name == "drivers_probe":
                device = self.bus / "devices" / text
                wanted = (device / "driver_override").read_text().strip() or "e1000e"
                (device / "driver").symlink_to(self.bus / "drivers" / wanted)
            else:
                return write(path, text)
            return len(text)

        monkeypatch.setattr(Path, "write_text", written)

    def add(self, address: str, group: str = "", kind: str = "0x020000", driver: str = "e1000e") -> None:
        device = self.bus / "devices" / address
        device.mkdir(parents=True)
        (device / "class").write_text(f"{kind}\n")
        if driver:
            (device / "driver").symlink_to(self.bus / "drivers" / driver)
        if group:
            members = self.bus / "groups" / group / "devices"
            members.mkdir(parents=True, exist_ok=True)
            (members / address).symlink_to(device)
            (device / "iommu_group").symlink_to(members.parent)


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bus:
    return Bus(tmp_path, monkeypatch)


def take(*addresses: str) -> None:
    pci.verb_pci_take(argparse.Namespace(addresses=list(addresses)))


def test_devices_are_taken_from_their_drivers_and_come_back(bus: Bus) -> None:
    bus.add("0000:00:1c.0", "3", "0x060400", driver="")
    bus.add("0000:01:00.0", "3")
    bus.add("0000:01:00.1", "3", driver="")
    take("0000:01:00.0", "0000:01:00.1")
    assert [pci.driver_of(f"0000:01:00.{n}") for n in (0, 1)] == ["vfio-pci"] * 2
    assert bus.given == [("3", 7)]
    take("0000:01:00.0", "0000:01:00.1")  # once more, as after a crash of vtool
    pci.verb_pci_return(argparse.Namespace(addresses=["0000:01:00.0", "0000:01:00.1"]))
    assert [pci.driver_of(f"0000:01:00.{n}") for n in (0, 1)] == ["e1000e"] * 2
    assert not (bus.bus / "devices/0000:01:00.0/driver_override").read_text().strip()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("0000:09:00.0", "the board has no PCI device 0000:09:00.0"),
        ("0000:02:00.0", "no IOMMU confines PCI device 0000:02:00.0"),
        ("0000:01:00.0", "in one IOMMU group with 0000:01:00.1"),
    ],
)
def test_a_device_that_cannot_be_had_is_left_as_it_is(address: str, words: str, bus: Bus) -> None:
    bus.add("0000:01:00.0", "3")
    bus.add("0000:01:00.1", "3")
    bus.add("0000:02:00.0")
    with pytest.raises(BoardError) as caught:
        take(address)
    assert caught.value.code == "VT499" and words in str(caught.value)
    pci.verb_pci_return(argparse.Namespace(addresses=[address]))  # as the unit does, then
    assert pci.driver_of("0000:01:00.0") == "e1000e" and not bus.given and not bus.unbound


# -- before anything changes


class Program:
    """The board's program, whose system is in the folder that ``group`` makes."""

    def run(self, verb: str, *words: str) -> dict[str, Any]:
        assert verb == "pci-look"
        return pci.verb_pci_look(argparse.Namespace(addresses=list(words)))


def asked(board: BoardPlan, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Diagnostic]:
    monkeypatch.setattr(pci, "BUS", folder / "sys/bus/pci")
    monkeypatch.setattr(pci, "GROUPS", folder / "sys/kernel/iommu_groups")
    return not_to_be_had(board, Program(), Running(folder))  # type: ignore[arg-type]


def group(folder: Path, *addresses: str) -> None:
    members = folder / "sys/kernel/iommu_groups/0/devices"
    members.mkdir(parents=True, exist_ok=True)
    (folder / "sys/bus/pci/devices").mkdir(parents=True, exist_ok=True)
    for address in addresses:
        device = folder / "sys/devices/pci0000:00" / address
        device.mkdir(parents=True)
        (device / "class").write_text("0x010802\n")
        (device / "iommu_group").symlink_to(members.parent)
        (members / address).symlink_to(device)
        (folder / "sys/bus/pci/devices" / address).symlink_to(device)


def test_the_running_board_is_asked_before_anything_changes(
    board: BoardPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group(tmp_path, "0000:01:00.0", "0000:01:00.1", "0000:01:00.2")
    found = asked(board, tmp_path, monkeypatch)
    assert [each.code for each in found] == ["VT499"] * 2
    assert "group with 0000:01:00.2: they go to a guest together" in found[0].message and found[0].span is not None
    assert found[0].hints == ("pci: [0000:01:00.0, 0000:01:00.1, 0000:01:00.2]",)


def test_a_group_that_goes_as_a_whole_is_well(
    board: BoardPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group(tmp_path, "0000:01:00.0", "0000:01:00.1")
    assert asked(board, tmp_path, monkeypatch) == []


def test_a_kernel_without_an_iommu_says_nothing_of_the_one_that_is_deployed(
    board: BoardPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group(tmp_path, "0000:01:00.0", "0000:01:00.1")
    for address in ("0000:01:00.0", "0000:01:00.1"):
        (tmp_path / "sys/bus/pci/devices" / address / "iommu_group").unlink()
    assert len(asked(board, tmp_path, monkeypatch)) == 2
    shutil.rmtree(tmp_path / "sys/kernel/iommu_groups")
    assert asked(board, tmp_path, monkeypatch) == []


def test_what_is_not_there_is_said(board: BoardPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group(tmp_path, "0000:01:00.0")
    (found,) = asked(board, tmp_path, monkeypatch)
    assert "the board has no PCI device 0000:01:00.1" in found.message


def test_the_disk_of_the_root_file_system_stays(
    board: BoardPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group(tmp_path, "0000:01:00.0", "0000:01:00.1")
    disk = tmp_path / "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1/nvme0n1p2"
    for made in (disk, tmp_path / "sys/dev/block", tmp_path / "proc/self"):
        made.mkdir(parents=True)
    (tmp_path / "sys/dev/block/259:2").symlink_to(disk)
    (tmp_path / "proc/self/mountinfo").write_text("20 1 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n")
    (found,) = asked(board, tmp_path, monkeypatch)
    assert found.code == "VT497" and "needs '0000:01:00.0' itself: the file system on /" in found.message


# -- what has to be shown


def test_a_driver_of_the_guest_has_the_same_device(board: BoardPlan) -> None:
    left, grouped, same, driven = (row for row in proofs(board) if row.subject == "device 0000:01:00.0")
    said = {step["id"]: step for row in (left, grouped, same, driven) for step in row.steps}
    assert "/sys/bus/pci/devices/0000:00:1f.0/driver" in said["driven-fe0-0000:00:1f.0"]["command"]

    def results(**outputs: str) -> dict[str, dict[str, object]]:
        return {f"{name}-fe0-0000:00:1f.0": {"code": 0, "output": output} for name, output in outputs.items()}

    assert left.read(results(left="vfio-pci\n")).proven and not left.read(results(left="nvme\n")).proven
    assert grouped.read(results(group="3: 0000:01:00.0 0000:01:00.1\n")).proven
    for said in ("\n", "3:\n", "3: 0000:01:00.0 0000:01:00.2\n"):
        assert not grouped.read(results(group=said)).proven
    assert same.read(results(kind="1" * 64, seen="1" * 64)).proven
    assert not same.read(results(kind="1" * 64, seen="2" * 64)).proven
    assert driven.read(results(driven="nvme\n")).proven and not driven.read(results(driven="\n")).proven
    assert saved.from_json(saved.to_json([left, grouped, same, driven])) == [left, grouped, same, driven]
