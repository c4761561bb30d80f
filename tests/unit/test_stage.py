"""Staging with the real dtc, fdtoverlay, mkimage and QEMU's own tree; read back with libfdt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import libfdt
import pytest

from vtool.board.qemu_process import Machine, dump_device_tree
from vtool.cli.common import prepare
from vtool.deploy.stage import Staged, stage
from vtool.diagnostics import VtoolError
from vtool.plan.types import BoardPlan
from vtool.render import render
from vtool.render.artifacts import ArtifactSet

EXAMPLES = Path(__file__).resolve().parents[2] / "topology" / "examples"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return dump_device_tree(Machine(2, 3 << 30), tmp_path_factory.mktemp("tree") / "base.dtb")


def staged(board: BoardPlan, base: bytes, folder: Path, artifacts: ArtifactSet | None = None) -> Staged:
    image = folder / "image"
    image.write_bytes(b"image")
    work = folder / "work"
    work.mkdir()
    return stage("t", board, artifacts or render(board), base, lambda _: image, work)


def test_the_host_region_is_in_the_merged_tree(base: bytes, tmp_path: Path) -> None:
    board = prepare(EXAMPLES / "xen-pv.yaml").plan.boards[0]
    files = {file.name: file for file in staged(board, base, tmp_path).files}
    tree = libfdt.Fdt(files["board.dtb"].path.read_bytes())
    node = tree.path_offset("/reserved-memory/vtool-region0@60000000")
    assert bytes(tree.getprop(node, "reg")).hex() == "00000000600000000000000000200000"
    assert {"boot.scr", "entry.scr", "Image", "xen", "manifest.json", "vtool-board"} <= set(files)


def test_a_tree_that_is_not_the_plan_is_refused(base: bytes, tmp_path: Path) -> None:
    board = prepare(EXAMPLES / "xen-pv.yaml").plan.boards[0]
    moved = render(board)
    wrong = tuple(
        dataclasses.replace(a, content=a.content.replace("reg = <0x0 0x60000000", "reg = <0x0 0x61000000"))
        for a in moved.artifacts
    )
    with pytest.raises(VtoolError) as caught:
        staged(board, base, tmp_path, ArtifactSet(moved.board, wrong))
    assert caught.value.diagnostics[0].code == "VT702"


def test_a_broken_overlay_is_refused_with_dtcs_words(base: bytes, tmp_path: Path) -> None:
    board = prepare(EXAMPLES / "kvm-pool.yaml").plan.boards[0]
    broken = tuple(
        dataclasses.replace(a, content=a.content.replace("reserved-memory {", "reserved-memory"))
        for a in render(board).artifacts
    )
    with pytest.raises(VtoolError) as caught:
        staged(board, base, tmp_path, ArtifactSet("board0", broken))
    assert caught.value.diagnostics[0].code == "VT701" and caught.value.diagnostics[0].detail


def test_same_input_same_generation(base: bytes, tmp_path: Path) -> None:
    board = prepare(EXAMPLES / "kvm-pool.yaml").plan.boards[0]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = staged(board, base, tmp_path / "a"), staged(board, base, tmp_path / "b")
    assert one.generation == two.generation
    assert set(one.generation["units"]) == {"vtool-domain-fe0.service", "vtool-backend-disk0.service"}


def test_only_what_changed_restarts(base: bytes, tmp_path: Path) -> None:
    board = prepare(EXAMPLES / "kvm-pool.yaml").plan.boards[0]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    before = staged(board, base, tmp_path / "a").generation
    guest = dataclasses.replace(board.kvm_guests[0], bootargs="console=ttyAMA0 quiet")
    after = staged(dataclasses.replace(board, kvm_guests=(guest,)), base, tmp_path / "b").generation
    changed = {unit for unit in before["units"] if before["units"][unit] != after["units"][unit]}
    assert changed == {"vtool-domain-fe0.service"}
    assert before["boot_set"] == after["boot_set"] and before["generation"] != after["generation"]
