"""Device trees that vtool renders, judged by dt-schema: nothing is new beside the base tree but what is named here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vtool.board.qemu_process import Machine, dump_device_tree
from vtool.cli.common import prepare
from vtool.deploy.merged_tree import complete
from vtool.platform.devicetree import read_blob
from vtool.render import render

ROOT = Path(__file__).resolve().parents[2]
TOPOLOGIES = sorted([*(ROOT / "topology/examples").glob("*.yaml"), *(ROOT / "tests/topologies").glob("*.yaml")])
KERNEL = Path("/usr/src/linux-source-6.12.tar.xz")
BINDINGS = ("virtio/mmio.yaml", "virtio/virtio-device.yaml", "virtio/pci-iommu.yaml")
EXCEPTIONS = (
    # Linux has no schema for what Xen reads; Xen's own words are in its docs/misc/arm/device-tree/booting.txt.
    r"^chosen: ('[^']+'(, )?)+ do(es)? not match any of the regexes",
    r"^chosen: (xen|vtool),",
    r"^domain-\w+ \(xen,domain\): ",
    r"^shm(-heap)?@\w+ \(xen,domain-shared-memory-v1\): ",
    r"^evtchn-\w+ \(xen,evtchn-v1\): ",
    r"^vcpu\d+ \(xen,vcpu\): ",
    r"^cpupool-\w+ \(xen,cpupool\): ",
    # The binding does not list it, the kernel takes it of any device (of_dma_configure).
    r"^virtio_mmio@\w+ \(virtio,mmio\): memory-region: .* is not of type 'object'$",
)


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bindings")
    for name in BINDINGS:
        member = f"linux-source-6.12/Documentation/devicetree/bindings/{name}"
        command = ["tar", "xf", str(KERNEL), "-C", str(folder), "--strip-components=5", "--occurrence=1", member]
        subprocess.run(command, check=True)
    return folder


def complaints(tree: Path, schemas: Path) -> set[str]:
    validate = Path(sys.executable).with_name("dt-validate")
    done = subprocess.run([validate, "-s", schemas, tree], capture_output=True, text=True, check=False)
    lines = [line.partition(": ")[2] for line in done.stderr.splitlines() if line.startswith(f"{tree}: ")]
    assert lines or done.returncode == 0, done.stderr
    return set(lines)


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda path: path.stem)
def test_nothing_is_new_but_what_is_named(topology: Path, schemas: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.dtb"
    dump_device_tree(Machine(2, 3 << 30), base)
    before = complaints(base, schemas)
    board = prepare(topology).plan.boards[0]
    for artifact in render(board).artifacts:
        if not artifact.name.endswith(".dts"):
            continue
        overlay, merged = tmp_path / "overlay.dtbo", tmp_path / "merged.dtb"
        subprocess.run(["dtc", "-q", "-@", "-o", overlay], input=artifact.content.encode(), check=True)
        subprocess.run(["fdtoverlay", "-i", base, "-o", merged, overlay], check=True)
        if artifact.name == "board.dts":
            merged.write_bytes(complete(merged.read_bytes(), board, read_blob(merged.read_bytes())))
        new = complaints(merged, schemas) - before
        assert [line for line in new if not any(re.match(known, line) for known in EXCEPTIONS)] == []


def test_a_mistake_is_found(schemas: Path, tmp_path: Path) -> None:
    base, merged = tmp_path / "base.dtb", tmp_path / "merged.dtb"
    dump_device_tree(Machine(2, 3 << 30), base)
    text = next(
        a
        for a in render(prepare(ROOT / "topology/examples/kvm-pool.yaml").plan.boards[0]).artifacts
        if a.name.endswith("fe0.dts")
    ).content
    wrong = text.replace('"restricted-dma-pool";', '"restricted-dma-pool";\n\t\t\treusable;\n\t\t\tno-map;')
    assert wrong != text
    subprocess.run(["dtc", "-q", "-@", "-o", tmp_path / "o.dtbo"], input=wrong.encode(), check=True)
    subprocess.run(["fdtoverlay", "-i", base, "-o", merged, tmp_path / "o.dtbo"], check=True)
    assert any(
        "reusable" in line or "no-map" in line for line in complaints(merged, schemas) - complaints(base, schemas)
    )
