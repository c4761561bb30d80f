"""``vtool dt --base``: fragments merged into base trees of every form, read back, and what does not fit."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from vtool.board.dts import read_tree
from vtool.cli.common import prepare
from vtool.cli.main import main
from vtool.deploy.merged_tree import guest_differences
from vtool.diagnostics import Severity
from vtool.lint import lint
from vtool.model.topology import RegionUse
from vtool.platform.devicetree import Tree, read_blob

ROOT = Path(__file__).resolve().parents[2]
KVM = ROOT / "topology" / "examples" / "kvm-pool.yaml"
XEN = ROOT / "topology" / "examples" / "xen-pv.yaml"
BOOT = ROOT / "tests" / "topologies" / "dom0less-shared.yaml"
POOLS = ROOT / "tests" / "topologies" / "kvm-dma-pools.yaml"
CPUS = "".join(f'cpu@{n} {{ device_type = "cpu"; reg = <{n}>; }};' for n in range(2))
SLOT = 'virtio_mmio@a000000 { compatible = "virtio,mmio"; };'
FORMS = [(1, 1, False), (2, 1, True), (2, 2, False), (2, 2, True)]


def base_tree(
    folder: Path, address_cells: int = 2, size_cells: int = 2, reserved: bool = False, also: str = ""
) -> Path:
    cells = f"#address-cells = <{address_cells}>; #size-cells = <{size_cells}>;"
    region = f"old@f0000000 {{ reg = <{'0 ' * (address_cells - 1)}0xf0000000 {'0 ' * (size_cells - 1)}0x1000>; }};"
    memory = f"reserved-memory {{ {cells} ranges; {region} }};" if reserved else ""
    cpus = f"cpus {{ #address-cells = <1>; #size-cells = <0>; {CPUS} }};"
    path = folder / "base.dtb"
    source = f"/dts-v1/; / {{ {cells} {cpus} {memory} }}; / {{ {also} }};"
    subprocess.run(["dtc", "-q", "-O", "dtb", "-o", path], input=source, text=True, check=True)
    return path


def merged(path: Path, base: Path, *words: str) -> Tree:
    output = base.with_name("merged.dtb")
    assert main(["dt", str(path), "--base", str(base), "-o", str(output), *words]) == 0
    return read_blob(output.read_bytes())


@pytest.mark.parametrize(("address_cells", "size_cells", "reserved"), FORMS)
def test_any_base_tree_gets_the_hosts_regions(
    address_cells: int, size_cells: int, reserved: bool, tmp_path: Path
) -> None:
    tree = merged(XEN, base_tree(tmp_path, address_cells, size_cells, reserved))
    node = tree.node("/reserved-memory/vtool-region0@60000000")
    assert node is not None and node.reg() == [(0x6000_0000, 0x20_0000)]
    parent = node.parent
    assert parent is not None and "ranges" in parent.properties
    assert (parent.address_cells, parent.size_cells) == (address_cells, size_cells)
    assert (tree.node("/reserved-memory/old@f0000000") is not None) == reserved


@pytest.mark.parametrize(("address_cells", "size_cells", "reserved"), FORMS)
def test_any_base_tree_gets_a_guests_pool(address_cells: int, size_cells: int, reserved: bool, tmp_path: Path) -> None:
    tree = merged(KVM, base_tree(tmp_path, address_cells, size_cells, reserved, SLOT), "--domain", "fe0")
    pool, slot = tree.node("/reserved-memory/vtool-pool0@50000000"), tree.node("/virtio_mmio@a000000")
    assert pool is not None and pool.reg() == [(0x5000_0000, 16 << 20)]
    assert slot is not None and slot.properties["memory-region"].cells == (pool.phandle,)


def test_cpu_pools_get_their_cpus_and_source_says_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = base_tree(tmp_path)
    tree = merged(BOOT, base)
    cpu, pool = tree.node("/cpus/cpu@1"), tree.node("/chosen/cpupool-rt")
    assert cpu and pool and pool.properties["cpupool-cpus"].cells == (cpu.phandle,)
    capfd.readouterr()
    assert main(["dt", str(BOOT), "--base", str(base)]) == 0
    again = subprocess.run(
        ["dtc", "-q", "-I", "dts", "-O", "dtb"], input=capfd.readouterr().out.encode(), capture_output=True
    )
    seen = read_blob(again.stdout)
    assert {n.path: n.properties for n in seen.root.walk()} == {n.path: n.properties for n in tree.root.walk()}


def test_pools_that_drivers_ask_for_are_named_by_their_nodes(tmp_path: Path) -> None:
    nodes = {name: f'{name} {{ compatible = "x"; }};' for name in ("pl061@9030000", "pl011@9000000", "pcie@10000000")}
    base = base_tree(tmp_path, also=SLOT + "".join(nodes.values()))
    for domain, node, pool, kind, flag in (
        ("host", "pl061@9030000", "vtool-frames@60000000", "shared-dma-pool", {"no-map"}),
        ("fe0", "pl011@9000000", "vtool-camera@50000000", "shared-dma-pool", {"reusable"}),
        ("fe0", "pcie@10000000", "vtool-pool0@52000000", "restricted-dma-pool", set()),
        ("fe1", "pcie@10000000", "vtool-coherent@48000000", "shared-dma-pool", {"no-map"}),
    ):
        tree = merged(POOLS, base, "--domain", domain)
        user, region = tree.node(f"/{node}"), tree.node(f"/reserved-memory/{pool}")
        assert user is not None and region is not None and region.compatible == (kind,)
        assert user.properties["memory-region"].cells == (region.phandle,)
        assert {"no-map", "reusable"} & set(region.properties) == flag


def test_a_pool_that_is_not_what_was_planned_is_found(tmp_path: Path) -> None:
    nodes = "".join(f'{name} {{ compatible = "x"; }};' for name in ("pl011@9000000", "pcie@10000000"))
    tree = merged(POOLS, base_tree(tmp_path, also=SLOT + nodes), "--domain", "fe0")
    assert tree.node("/reserved-memory/vtool-camera@50000000") is not None
    blob = (tmp_path / "merged.dtb").read_bytes()
    guest = prepare(POOLS).plan.boards[0].kvm_guests[0]
    assert list(guest_differences(read_blob(blob), guest)) == []
    first, *rest = guest.pools
    for change in ({"flag": "no-map"}, {"use": RegionUse.RESTRICTED_DMA_POOL}, {"device_nodes": ("/pcie@10000000",)}):
        wrong = replace(guest, pools=(replace(first, **change), *rest))
        assert len(list(guest_differences(read_blob(blob), wrong))) == 1, change


def test_without_a_change_the_base_tree_comes_out(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(KVM.read_text().split("regions:")[0])
    base = base_tree(tmp_path)
    assert merged(tmp_path / "t.yaml", base).root.children.keys() == {"cpus"}


@pytest.mark.parametrize(
    ("topology", "also", "words", "code", "exit_code"),
    [
        (KVM, "", ["--domain", "fe0"], "VT702", 1),  # no such virtio-mmio slot: a tree of another machine
        (XEN, "", ["-o", "merged.tree"], "VT443", 2),
        (XEN, "#address-cells = <3>;", [], "VT813", 1),
        (XEN, "reserved-memory { #address-cells = <1>; #size-cells = <1>; ranges; };", [], "VT817", 1),
        (BOOT, "reserved-memory { #address-cells = <1>; #size-cells = <1>; ranges; };", [], "VT815", 0),
        (POOLS, SLOT, ["--domain", "fe0"], "VT701", 1),  # no such node for a pool
        (BOOT, "cpus { /delete-node/ cpu@1; };", [], "VT702", 1),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(
    topology: Path, also: str, words: list[str], code: str, exit_code: int, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(["dt", str(topology), "--base", str(base_tree(tmp_path, also=also)), *words]) == exit_code
    assert f"[{code}]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "form", ["#address-cells = <1>; #size-cells = <1>; ranges;", "#address-cells = <2>; #size-cells = <2>;"]
)
def test_what_linux_ignored_before_is_said_and_stays_the_only_fault(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = base_tree(tmp_path, also=f"reserved-memory {{ {form} }};")
    tree = merged(BOOT, base)
    said = capsys.readouterr().err
    assert said.count("warning[VT815]") == 1 and "`vtool lint` says VT840 of this tree, and of the merged" in said
    before, after = (
        {(f.code, f.node.path) for f in lint(t)[1] if f.severity is Severity.ERROR} for t in (read_tree(base), tree)
    )
    assert before == after == {("VT840", "/reserved-memory")}


def test_a_base_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("/dts-v1/; / {")
    for name, code in (("text", "VT801"), ("missing", "VT100")):
        assert main(["dt", str(XEN), "--base", str(tmp_path / name)]) == 1
        assert f"[{code}]" in capsys.readouterr().err
