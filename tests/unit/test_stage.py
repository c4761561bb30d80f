"""Staging with the real dtc, fdtoverlay, mkimage and QEMU's own tree; read back with libfdt."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import libfdt
import pytest

from vtool.board.qemu_process import Machine, dump_device_tree
from vtool.cli.common import prepare
from vtool.deploy.board_program import KERNEL_IMAGE, SOURCES, board_program, sent_program
from vtool.deploy.merge import run_tool
from vtool.deploy.stage import Staged, stage
from vtool.diagnostics import Severity, VtoolError
from vtool.lint import Kind as LintKind
from vtool.lint import lint
from vtool.model.board_facts import UBoot
from vtool.plan.types import BoardPlan, XenBootGuest
from vtool.platform.devicetree import read_blob
from vtool.render import render
from vtool.render.artifacts import ArtifactSet, Place

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "topology" / "examples"


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


def test_what_xen_builds_at_boot_is_in_the_merged_tree(base: bytes, tmp_path: Path) -> None:
    board = prepare(ROOT / "tests" / "topologies" / "dom0less-shared.yaml").plan.boards[0]
    files = {file.name: file for file in staged(board, base, tmp_path).files}
    tree = read_blob(files["board.dtb"].path.read_bytes())
    cpu = tree.node("/cpus/cpu@1")
    pool = tree.node("/chosen/cpupool-rt")
    assert cpu and pool and pool.properties["cpupool-cpus"].cells == (cpu.phandle,)
    ring = tree.node("/chosen/domain-fe0/shm@60000000")
    assert ring and ring.properties["xen,shared-mem"].tuples(2, 2, 2) == [(0x6000_0000, 0x5000_0000, 0x40_0000)]
    assert {"fe0.Image", "fe0.ramdisk", "be0.Image"} <= set(files)


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ('role = "owner"', 'role = "borrower"'),
        ('xen,shm-id = "ring0"', 'xen,shm-id = "ring9"'),
        ("memory = <0x0 0x40000>", "memory = <0x0 0x4000>"),
        ("xen,static-mem = <0x0 0x98000000", "xen,static-mem = <0x0 0xc8000000"),
        ("xen,evtchn = <7 ", "xen,evtchn = <8 "),
        ("&evtchn_bell_AT_be0>", "&evtchn_tick_AT_be0>"),
        ("xen,static-heap = <0x0 0xa8000000", "xen,static-heap = <0x1 0xa8000000"),
        ("reg = <0x0 0x52000000", "reg = <0x0 0x53000000"),
    ],
)
def test_a_boot_tree_that_is_not_the_plan_is_refused(written: str, instead: str, base: bytes, tmp_path: Path) -> None:
    board = prepare(ROOT / "tests" / "topologies" / "dom0less-shared.yaml").plan.boards[0]
    right = render(board)
    wrong = tuple(dataclasses.replace(a, content=a.content.replace(written, instead)) for a in right.artifacts)
    assert wrong != right.artifacts
    with pytest.raises(VtoolError) as caught:
        staged(board, base, tmp_path, ArtifactSet(right.board, wrong))
    assert caught.value.diagnostics[0].code == "VT702"


POOLS = ROOT / "tests" / "topologies" / "dom0less-pool.yaml"


def test_a_partial_tree_has_the_devices_as_planned_and_lint_knows_their_pools_only_from_xen(tmp_path: Path) -> None:
    board = prepare(POOLS).plan.boards[0]
    for guest in board.xen_boot.guests:
        source, output = tmp_path / f"{guest.name}.dts", tmp_path / f"{guest.name}.dtb"
        (text,) = (a.content for a in render(board).artifacts if a.name == source.name)
        source.write_text(text)
        done = subprocess.run(
            ["dtc", "-I", "dts", "-O", "dtb", "-o", output, source], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        tree = read_blob(output.read_bytes())
        kind, findings = lint(tree)
        assert kind is LintKind.PARTIAL
        # That the phandle is a patched Xen's is what lint itself says of it.
        assert {(f.code, f.severity) for f in findings} == {("VT835", Severity.WARNING)}
        for device in guest.virtio:
            node = tree.node(f"/passthrough/{device.node_name}")
            assert node is not None
            assert node.properties["reg"].cells == (0, device.place.base, 0, 0x200)
            assert node.properties["interrupts"].cells == (0, device.intid - 32, 1)
            assert node.properties["memory-region"].cells == (device.pool_phandle,)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("number", lambda g: dataclasses.replace(g, domain_id=g.domain_id + 1)),
        ("phandle", lambda g: dataclasses.replace(g, virtio=(dataclasses.replace(g.virtio[0], pool_phandle=1),))),
    ],
)
def test_numbers_that_only_xen_gives_are_compared_with_the_merged_tree(
    name: str, change: Callable[[XenBootGuest], XenBootGuest], base: bytes, tmp_path: Path
) -> None:
    board = prepare(POOLS).plan.boards[0]
    (tmp_path / "right").mkdir()
    staged(board, base, tmp_path / "right")
    boot = dataclasses.replace(board.xen_boot, guests=tuple(change(guest) for guest in board.xen_boot.guests))
    (tmp_path / "wrong").mkdir()
    with pytest.raises(VtoolError) as caught:
        staged(dataclasses.replace(board, xen_boot=boot), base, tmp_path / "wrong")
    found = caught.value.diagnostics[0]
    assert found.code == "VT702" and name in f"{found.message} {found.detail}"


def test_a_module_larger_than_its_window_is_refused(base: bytes, tmp_path: Path) -> None:
    board = prepare(ROOT / "tests" / "topologies" / "dom0less-shared.yaml").plan.boards[0]
    large = tmp_path / "large"
    with large.open("wb") as stream:
        stream.truncate((32 << 20) + 1)
    (tmp_path / "work").mkdir()
    with pytest.raises(VtoolError) as caught:
        stage("t", board, render(board), base, lambda _: large, tmp_path / "work")
    assert caught.value.diagnostics[0].code == "VT713"


def test_a_packed_kernel_of_the_board_is_unpacked_a_guests_is_not(base: bytes, tmp_path: Path) -> None:
    image = b"MZ" + bytes(54) + b"ARM\x64" + bytes(4) + b"Linux version 6"
    packed = tmp_path / "Image.gz"
    packed.write_bytes(gzip.compress(image))
    board = prepare(ROOT / "topology" / "examples" / "kvm-pool.yaml").plan.boards[0]
    (tmp_path / "work").mkdir()
    files = stage("t", board, render(board), base, lambda _: packed, tmp_path / "work").files
    read = {(file.place, file.name): file.path.read_bytes() for file in files}
    assert read[Place.BOOT, "Image"] == image
    assert read[Place.GENERATION, "domains/fe0/Image"] == packed.read_bytes()
    packed.write_bytes(packed.read_bytes()[:-4])
    with pytest.raises(VtoolError, match=r"VT505.*'vtool:linux' cannot be used: it is a gzip file that is cut short"):
        stage("t", board, render(board), base, lambda _: packed, tmp_path / "work")


def test_what_is_loaded_into_too_small_a_window_is_refused(base: bytes, tmp_path: Path) -> None:
    board = prepare(ROOT / "topology" / "examples" / "xen-pv.yaml").plan.boards[0]
    assert isinstance(board.facts.boot, UBoot)

    def error_with(**load: int) -> str:
        assert isinstance(board.facts.boot, UBoot)
        boot = board.facts.boot.model_copy(update={"load": board.facts.boot.load.model_copy(update=load)})
        moved = dataclasses.replace(board, facts=board.facts.model_copy(update={"boot": boot}))
        work = tmp_path / "-".join(load)
        work.mkdir()
        image = tmp_path / "image"
        image.write_bytes(bytes(8192))
        with pytest.raises(VtoolError) as caught:
            stage("t", moved, render(moved), base, lambda _: image, work)
        (found,) = caught.value.diagnostics
        assert found.code == "VT713"
        return found.message

    assert error_with(kernel=0x4FFF_F000).startswith("'vtool:linux' ends at 0x50001000, 4KiB beyond the 4KiB")
    assert error_with(hypervisor=0x49FF_F000).startswith("'vtool:xen-debian' would end at 0x4a001000")
    assert error_with(device_tree=0x47FF_F000).startswith("the device tree of board 'board0' ends at")


def test_nodes_to_pass_through_are_looked_for_before_anything_is_merged(base: bytes, tmp_path: Path) -> None:
    topology = ROOT / "tests" / "topologies" / "dom0less-settings.yaml"
    nodes = "[/pl061@9030000, /pl061, /pl011@9040000]"
    consent = f"domains.fe0.xen.force_assign_without_iommu={nodes}"
    board = prepare(topology, settings=[f"domains.fe0.passthrough={nodes}", consent]).plan.boards[0]
    with pytest.raises(VtoolError) as caught:
        staged(board, base, tmp_path)
    assert [(d.code, d.span.text, d.hints) for d in caught.value.diagnostics if d.span] == [
        ("VT417", f"domains.fe0.passthrough={nodes}", ("did you mean '/pl011@9000000'?",)),
        ("VT417", f"domains.fe0.passthrough={nodes}", ("did you mean '/pl061@9030000'?",)),
    ]
    assert caught.value.exit_code.value == 1
    assert not list((tmp_path / "work").iterdir())


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


def test_a_tool_that_ctrl_c_cut_off_writes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    def interrupted(process: subprocess.Popen[str]) -> None:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_tool(["sleep", "5"])
    assert started[0].returncode is not None, "it has ended"


def test_the_board_program_is_its_sources_and_is_sent_packed() -> None:
    sources = {f"on_board/{path.name}": path.read_bytes() for path in SOURCES.glob("*.py")}
    sources["__main__.py"] = sources.pop("on_board/__main__.py")
    sources["on_board/kernel_image.py"] = KERNEL_IMAGE.read_bytes()
    with zipfile.ZipFile(io.BytesIO(board_program())) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert set(packed.pop("modules").decode().split()) == sources.keys() - {"__main__.py"}
    assert packed == sources
    sent = sent_program()
    assert gzip.decompress(sent.packed) == board_program()
    assert sent.sha256 == hashlib.sha256(board_program()).hexdigest()


def test_a_start_on_a_board_does_not_wait_for_typing(tmp_path: Path) -> None:
    (tmp_path / "vtool-board").write_bytes(board_program())
    modules = "program, lock, generations, domains, u_boot, boot_partition"
    code = (
        f"import sys; sys.path.insert(0, sys.argv[1]); from on_board import {modules}; print('typing' in sys.modules)"
    )
    words = [sys.executable, "-IS", "-c", code, str(tmp_path / "vtool-board")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "False\n"
