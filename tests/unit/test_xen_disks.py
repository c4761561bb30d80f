"""Names and numbers of disks that Xen hands over, and that a partition takes the place of its disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.cli.common import prepare
from vtool.diagnostics import VtoolError
from vtool.platform.xen_disks import meet, vbd_number

DISK = """
  {name}:
    type: blk
    frontend: fe0
    backend: dom0
    program: blkback
    transport: xenbus
    data_path: pv
    disk: {{file: {name}.img, size: 64MiB}}
"""
TOPOLOGY = """
version: 1
name: case
boards:
  board0: {facts: qemu-virt, hypervisor: {kind: xen}}
domains:
  dom0: {role: control, memory: 1GiB}
  fe0: {memory: 256MiB, bootargs: root=/dev/xvda2}
devices:
"""


@pytest.mark.parametrize(
    ("name", "number"),
    # xen-vbd-interface(7): 202 << 8 | disk << 4 | partition, from the 17th disk on 1 << 28 | disk << 8 | partition.
    [("xvda", 51712), ("xvda1", 51713), ("xvdb", 51728), ("xvdp15", 51967), ("xvdq", 268439552), ("xvdz2", 268441858)],
)
def test_numbers_are_those_of_xens_interface(name: str, number: int) -> None:
    assert vbd_number(name) == number


def test_a_partition_and_its_disk_meet() -> None:
    assert meet("xvda", "xvda1")
    assert meet("xvda1", "xvda")
    assert meet("xvda1", "xvda1")
    assert not meet("xvda1", "xvda11")
    assert not meet("xvda", "xvdb1")


def with_disks(folder: Path, **wished: str | None) -> Path:
    topology = folder / "case.yaml"
    disks = (DISK.format(name=name) + (f"    vdev: {vdev}\n" if vdev else "") for name, vdev in wished.items())
    topology.write_text(TOPOLOGY + "".join(disks))
    return topology


def test_partitions_take_their_disks_letter(tmp_path: Path) -> None:
    prepared = prepare(with_disks(tmp_path, swap="xvda1", root="xvda2", data=None))
    (guest,) = prepared.plan.boards[0].xen_guests
    assert [disk.virtual_device for disk in guest.disks] == ["xvda1", "xvda2", "xvdb"]
    assert not [warning for warning in prepared.warnings if warning.code == "VT424"]  # root=/dev/xvda2 is there


def test_a_partition_that_is_not_there_is_no_root(tmp_path: Path) -> None:
    warnings = prepare(with_disks(tmp_path, swap="xvda1")).warnings
    assert "/dev/xvda2" in next(warning for warning in warnings if warning.code == "VT424").message


def test_no_name_beyond_partition_15(tmp_path: Path) -> None:
    with pytest.raises(VtoolError, match="xvda16"):
        prepare(with_disks(tmp_path, root="xvda16"))
