"""Base trees, one a kind: the topology stands in the first line, the code that they are refused with in the name.

``vtool dt --base`` and a deploy's staging judge alike. Where nothing is wrong, all that the base has is there
afterwards as it was, read with libfdt, which vtool's own comparison does not use.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import libfdt
import pytest

from vtool.board.dts import read_tree
from vtool.cli.common import prepare
from vtool.cli.main import main
from vtool.deploy.stage import stage_on
from vtool.diagnostics import VtoolError
from vtool.lint import lint
from vtool.plan.types import BoardPlan
from vtool.platform.devicetree import read_blob

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CASES = sorted(HERE.glob("*.dts"))
REFUSED = [path for path in CASES if path.name.startswith("VT")]
CLEAN = [path for path in CASES if path.name.startswith("clean-")]


def topology_of(path: Path) -> tuple[Path, list[str]]:
    said = re.match(r"/\* (\S+)(?: (\S+))? \*/\n", path.read_text())
    assert said is not None
    return ROOT / said[1], ["--domain", said[2]] if said[2] else []


def compiled(path: Path, folder: Path) -> Path:
    blob = folder / "base.dtb"
    subprocess.run(["dtc", "-q", "-O", "dtb", "-o", blob, path], check=True)
    return blob


def staged_tree(board: BoardPlan, blob: Path, folder: Path) -> bytes:
    image, work = folder / "image", folder / "work"
    image.write_bytes(b"image")
    work.mkdir()
    files = stage_on("t", board, blob.read_bytes(), lambda _: image, work).files
    return next(file.path for file in files if file.name == "board.dtb").read_bytes()


def contents(blob: bytes) -> dict[str, dict[str, bytes]]:
    """Return every node with its properties, as libfdt reads them."""
    fdt = libfdt.Fdt(blob)
    found: dict[str, dict[str, bytes]] = {}
    at, depth = 0, 0
    while at >= 0:
        properties: dict[str, bytes] = {}
        offset = fdt.first_property_offset(at, (libfdt.NOTFOUND,))
        while offset >= 0:
            found_one = fdt.get_property_by_offset(offset)
            properties[found_one.name] = bytes(found_one)
            offset = fdt.next_property_offset(offset, (libfdt.NOTFOUND,))
        found[fdt.get_path(at)] = properties
        at, depth = fdt.next_node(at, depth, (libfdt.NOTFOUND,))
        if depth < 0:
            break
    reservations = [fdt.get_mem_rsv(index) for index in range(fdt.num_mem_rsv())]
    return {"/memreserve/": {hex(r[-2]): bytes(str(r[-1]), "ascii") for r in reservations}, **found}


def kept(base: bytes, merged: bytes) -> bool:
    before, after = contents(base), contents(merged)
    return before["/memreserve/"] == after["/memreserve/"] and all(
        path in after and properties.items() <= after[path].items() for path, properties in before.items()
    )


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_refused_and_nothing_written(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (topology, words), output = topology_of(path), tmp_path / "merged.dtb"
    assert main(["dt", str(topology), "--base", str(path), "-o", str(output), *words]) == 1
    said = capsys.readouterr().err
    assert set(re.findall(r"error\[(VT\d{3})\]", said)) == {path.name[:5]} and not output.exists()
    board = prepare(topology).plan.boards[0]
    with pytest.raises(VtoolError) as caught:
        staged_tree(board, compiled(path, tmp_path), tmp_path)
    assert {found.code for found in caught.value.diagnostics} == {path.name[:5]}


@pytest.mark.parametrize("path", CLEAN, ids=lambda path: path.stem)
def test_what_the_base_has_stays_as_it_was(path: Path, tmp_path: Path) -> None:
    (topology, words), output = topology_of(path), tmp_path / "merged.dtb"
    assert main(["dt", str(topology), "--base", str(path), "-o", str(output), *words]) == 0
    base, board = compiled(path, tmp_path), prepare(topology).plan.boards[0]
    before = {(finding.code, finding.node.path) for finding in lint(read_blob(base.read_bytes()))[1]}
    assert {(finding.code, finding.node.path) for finding in lint(read_blob(output.read_bytes()))[1]} <= before
    for merged in (output.read_bytes(), staged_tree(board, base, tmp_path)):
        assert kept(base.read_bytes(), merged)
        assert len(contents(merged)) > len(contents(base.read_bytes()))


GUEST = """/dts-v1/; MEMRESERVE / { #address-cells = <2>; #size-cells = <2>;
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 SIZE>; };
    virtio_mmio@a000000 { compatible = "virtio,mmio"; dma-coherent; }; MORE };
"""


@pytest.mark.parametrize(
    ("size", "memreserve", "more", "code"),
    [
        ("0x11000000", "", "", None),
        ("0x10000000", "", "", "VT819"),
        ("0x10ff0000", "", "", "VT819"),
        ("0x11000000", "/memreserve/ 0x50fff000 0x1000;", "", "VT818"),
        ("0x11000000", "", "chosen { linux,initrd-start = <0x4f000000>; linux,initrd-end = <0x50000001>; };", "VT818"),
        ("0x11000000", "", "reserved-memory { #address-cells = <2>; #size-cells = <2>; };", "VT817"),
        ("0x11000000", "", "reserved-memory { #address-cells = <1>; #size-cells = <1>; ranges; };", "VT817"),
        ("0x11000000", "", "reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;"
         " cma { size = <0 0x2800000>; alloc-ranges = <0 0x4e000000 0 0x4000000>; }; };", "VT820"),
        ("0x11000000", "", "fragment@0 { __overlay__ { }; };", "VT801"),
    ],
)  # fmt: skip
def test_a_guests_tree_is_judged_alike(
    size: str, memreserve: str, more: str, code: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, output = tmp_path / "guest.dts", tmp_path / "merged.dtb"
    base.write_text(GUEST.replace("SIZE", size).replace("MEMRESERVE", memreserve).replace("MORE", more))
    topology = str(ROOT / "topology" / "examples" / "kvm-pool.yaml")
    done = main(["dt", topology, "--domain", "fe0", "--base", str(base), "-o", str(output)])
    assert (done, output.exists()) == ((1, False) if code else (0, True))
    assert re.findall(r"error\[(VT\d{3})\]", capsys.readouterr().err) == ([code] if code else [])


def test_a_running_board_that_has_more_than_the_tree_merged_into_is_asked(tmp_path: Path) -> None:
    board = prepare(ROOT / "topology" / "examples" / "xen-pv.yaml").plan.boards[0]
    base = compiled(HERE / "clean-beside.dts", tmp_path).read_bytes()
    running = read_tree(HERE / "VT818-carve-out.dts")
    image = tmp_path / "image"
    image.write_bytes(b"image")
    with pytest.raises(VtoolError) as caught:
        stage_on("t", board, base, lambda _: image, tmp_path, running)
    assert [found.code for found in caught.value.diagnostics] == ["VT818"]


def test_firmware_where_the_boot_loader_puts_the_kernel_is_found(tmp_path: Path) -> None:
    text = (HERE / "VT818-carve-out.dts").read_text().replace("60100000", "4a000000")
    (tmp_path / "t.dts").write_text(text)
    for name in ("xen-pv", "kvm-pool"):
        board = prepare(ROOT / "topology" / "examples" / f"{name}.yaml").plan.boards[0]
        folder = tmp_path / name
        folder.mkdir()
        with pytest.raises(VtoolError) as caught:
            staged_tree(board, compiled(tmp_path / "t.dts", folder), folder)
        assert {found.code for found in caught.value.diagnostics} <= {"VT818", "VT863"}
        assert "'Image', which the boot loader puts there," in caught.value.diagnostics[0].message


def test_what_is_merged_already_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = HERE / "clean-beside.dts", tmp_path / "merged.dtb"
    words = ["dt", str(topology_of(path)[0]), "--base"]
    assert main([*words, str(path), "-o", str(output)]) == 0
    assert main([*words, str(output), "-o", str(tmp_path / "twice.dtb")]) == 1
    assert "hint: that is vtool's own: take the tree as it was before it was merged" in capsys.readouterr().err


def test_a_property_that_would_be_replaced_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (HERE / "clean-beside.dts").read_text().split("\n", 1)[1]
    pool = 'pl061@9030000 { compatible = "x"; memory-region = <&gic>; };\n\tchosen {'
    base = tmp_path / "base.dts"
    base.write_text(text.replace("chosen {", pool).replace("/memreserve/ 0x5ffff000 0x1000;\n", ""))
    base.write_text(re.sub(r"\t\t(fw|linux,cma).*\n", "", base.read_text()))
    topology = ROOT / "tests" / "topologies" / "kvm-dma-pools.yaml"
    assert main(["dt", str(topology), "--base", str(base), "--domain", "host", "-o", str(tmp_path / "o.dtb")]) == 1
    said = capsys.readouterr().err
    assert "error[VT702]" in said and "`memory-region` of '/pl061@9030000' is another one" in said
    assert not (tmp_path / "o.dtb").exists()
