"""A PCI device of the emulated board behind its SMMU in a guest of KVM, by VFIO, and back again.

The tests run in order on one board.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import EXAMPLES, Bench

pytestmark = [pytest.mark.board, pytest.mark.long]
ADDRESS = "0000:00:02.0"
TOPOLOGY = EXAMPLES / "kvm-passthrough.yaml"
DRIVER = f"basename $(readlink /sys/bus/pci/devices/{ADDRESS}/driver)"


@pytest.fixture(scope="module")
def board() -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="vt-"))
    board = Bench(folder, "smmu0")
    try:
        yield board
    finally:
        subprocess.run(board.command("board", "power", "off", "smmu0"), env=board.environment, capture_output=True)
        shutil.rmtree(folder)


def shown(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["what"]: row["seen"] for row in rows if row["subject"] == f"device {ADDRESS}" and row["proven"]}


def test_the_guest_drives_the_device_and_the_board_does_not(board: Bench, tmp_path: Path) -> None:
    report = board.deploy(TOPOLOGY)
    rows = shown(report["rows"])
    print(rows)
    assert rows["no driver of the board has it"] == "vfio-pci"
    assert rows["its IOMMU group"].endswith(f": {ADDRESS}")
    assert rows["a driver of 'fe0' has it"] == "virtio-pci"
    assert len(rows) == 4
    assert shown(board.verify(TOPOLOGY)) == rows
    random = "cat /sys/class/misc/hw_random/rng_current; dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c"
    assert board.vtool("exec", "fe0", "--", "sh", "-c", random).stdout.split() == ["virtio_rng.0", "64"]


def test_a_driver_of_the_board_that_takes_it_back_is_found(board: Bench) -> None:
    board.ssh(f"systemctl stop vtool-domain-fe0.service vtool-pci-fe0.service; {DRIVER}")
    assert board.ssh(DRIVER).strip() == "virtio-pci"
    lost = {row["what"] for row in board.verify(TOPOLOGY, code=3) if not (row["proven"] or row["noted"])}
    assert "no driver of the board has it" in lost
    assert len(shown(board.deploy(TOPOLOGY)["rows"])) == 4


def test_what_is_not_there_is_refused_before_anything_changes(board: Bench, tmp_path: Path) -> None:
    topology = tmp_path / "t.yaml"
    topology.write_text(TOPOLOGY.read_text().replace(ADDRESS, "0000:00:09.0"))
    report = board.deploy(topology, code=3)
    assert "VT499" in str(report) and "no PCI device 0000:00:09.0" in str(report)
    assert len(shown(board.verify(TOPOLOGY))) == 4


def test_it_comes_and_goes_with_generations_and_is_the_boards_after_down(board: Bench, tmp_path: Path) -> None:
    topology = tmp_path / "t.yaml"
    topology.write_text(TOPOLOGY.read_text().replace(f'    pci: ["{ADDRESS}"]\n', ""))
    board.deploy(topology)
    assert board.ssh(DRIVER).strip() == "virtio-pci"
    said = board.vtool("rollback", TOPOLOGY).stdout
    assert "NOT PROVEN" not in said
    assert board.ssh(DRIVER).strip() == "vfio-pci"
    board.vtool("down", TOPOLOGY)
    assert board.ssh(DRIVER).strip() == "virtio-pci"
    assert board.ssh(f"cat /sys/bus/pci/devices/{ADDRESS}/driver_override").strip() in ("", "(null)")
