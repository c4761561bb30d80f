"""What has to be shown of disks, and when it is not: made of their image, read-only, alone, in their format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vtool.cli.common import prepare
from vtool.deploy.proof import Proof, Row, proofs
from vtool.deploy.proof.disks import MadeOf, disks, through_disk
from vtool.model.devices import DiskFormat
from vtool.plan.types import FileDisk

TOPOLOGIES = Path(__file__).resolve().parents[1] / "topologies"
OLD, NEW = "a" * 64, "b" * 64


def row(keeps: bool, made: str, wanted: str = NEW) -> Row:
    judge = MadeOf(step="disk", keeps=keeps)
    verdict = judge.judge({"disk": {"made": made, "wanted": wanted}})
    return Row("device a", "image", **vars(verdict))


@pytest.mark.parametrize("keeps", [True, False])
def test_a_disk_that_was_made_of_its_image_is_proven(keeps: bool) -> None:
    assert row(keeps, NEW).proven


def test_one_that_is_kept_is_told_and_one_that_is_reset_must_not_be_old() -> None:
    kept = row(True, OLD)
    assert not kept.failed and kept.noted and OLD[:16] in kept.seen
    assert not row(True, "").failed
    assert row(False, OLD).failed and row(False, "").failed


def test_nothing_observed_is_no_proof() -> None:
    verdict = MadeOf(step="disk", keeps=True).judge({})
    assert not verdict.proven and not verdict.noted


def what(found: list[Proof], device: str) -> set[str]:
    return {proof.what for proof in found if proof.subject == f"device {device}"}


def test_every_wish_has_its_row() -> None:
    (board,) = prepare(TOPOLOGIES / "xen-disks.yaml").plan.boards
    found = proofs(board)
    assert "image that root.img began as (SHA-256)" in what(found, "root")
    assert "where the board itself has /dev/vg0/guest mounted" in what(found, "volume")
    assert {"the guest's flag that it is read-only", "image that fixed.img began as (SHA-256)"} <= what(found, "fixed")
    assert "sectors that blkback wrote" in what(found, "root") - what(found, "fixed")
    assert "format of virtio.qcow2" in what(found, "virtio")
    assert "1MiB in the backend's file, read by the frontend" in what(found, "virtio")
    (kvm,) = prepare(TOPOLOGIES / "kvm-disks.yaml").plan.boards
    assert what(list(disks(kvm)), "lun") >= {"where the board itself has /dev/vg0/data mounted"}


def steps(disk: FileDisk) -> dict[str, dict[str, Any]]:
    found = through_disk("device a", "fe0", "a", "/dev/vda", disk)
    return {step["id"]: step for proof in found for step in proof.steps}


def test_the_board_reads_a_device_past_what_it_remembers_and_never_writes_into_qcow2() -> None:
    device = steps(FileDisk("/dev/vg0/a", None, None, is_device=True))
    assert "iflag=direct" in device["fill-a"]["command"] and "of=/dev/vg0" not in device["fill-a"]["command"]
    file = steps(FileDisk("/disks/a", 64 << 20, None, "a", DiskFormat.QCOW2))
    assert set(file) == {"written-a", "read-a"} and file["written-a"]["op"] == "disk-range"
