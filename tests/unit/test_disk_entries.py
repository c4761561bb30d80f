"""The disks that a board is told to have are all that the plan gives its guests."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.cli.common import prepare
from vtool.deploy.disks import disk_entries
from vtool.plan.types import file_disks

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("tests/topologies/kvm-disks", "tests/topologies/kvm-firmware", "topology/examples/kvm-pool")


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_a_guest_is_told_with_who_writes_to_it(name: str) -> None:
    for board in prepare(ROOT / f"{name}.yaml").plan.boards:
        files = [disk for guest in board.guests for disk in file_disks(guest)]
        made = {disk.name: {"source": "", "sha256": "", "size_bytes": 0} for disk in files}
        told = {entry["path"]: entry["units"] for entry in disk_entries(board, made) if "path" in entry}
        assert set(told) == {disk.disk_path for disk in files}
        for guest in board.guests:
            assert all(told[disk.disk_path] == [guest.unit] for disk in guest.own_files)
