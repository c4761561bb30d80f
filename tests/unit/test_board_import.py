"""``vtool board import``, the facts that vtool ships, and boards whose facts do not say how they boot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vtool.base.units import GIB
from vtool.board.dts import read_tree
from vtool.board.qemu_process import Machine, dump_device_tree
from vtool.cli.common import prepare
from vtool.deploy.stage import stage
from vtool.model.board_facts import Source
from vtool.model.facts_import import import_facts
from vtool.model.validate import known_facts, load_facts, read_facts
from vtool.plan.types import BoardPlan
from vtool.render import render

ROOT = Path(__file__).resolve().parents[2]
TREE = """
/dts-v1/;
#include "cpus.dtsi"
/ {
    #address-cells = <2>; #size-cells = <2>; compatible = "maker,board"; model = "A Board";
    aliases { serial0 = "/serial@9000"; };
    chosen { stdout-path = "serial0:115200n8"; };
    memory@80000000 { device_type = "memory"; reg = <0 0x80000000 0 SIZE>; };
    reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
        firmware@80000000 { reg = <0 0x80000000 0 0x100000>; no-map; };
    };
    gic@1000 { compatible = "arm,gic-400"; interrupt-controller; #interrupt-cells = <3>; interrupts = <1 9 4>;
        reg = <0 0x1000 0 0x1000  0 0x2000 0 0x2000  0 0x4000 0 0x2000  0 0x6000 0 0x2000>; };
    serial@9000 { compatible = "arm,pl011"; reg = <0 0x9000 0 0x1000>; };
};
"""
CPUS = """/ { cpus { #address-cells = <1>; #size-cells = <0>;
    cpu@0 { device_type = "cpu"; compatible = CPU; reg = <0>; }; }; };
"""
TOPOLOGY = """
version: 1
name: imported
boards:
  board0:
    facts: FACTS
    hypervisor:
      kind: KIND
domains:
  host:
    role: control
MEMORY
regions:
  region0:
    size: 2MiB
    owner: host
    use: shared-memory
"""


def vtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vtool.cli.main", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def source(folder: Path, size: str = "0x40000000") -> Path:
    (folder / "parts").mkdir(exist_ok=True)
    (folder / "parts" / "cpus.dtsi").write_text('#define CPU "arm,cortex-a53"\n' + CPUS)
    (folder / "board.dts").write_text(TREE.replace("SIZE", size))
    return folder / "board.dts"


def topology(folder: Path, facts: str, kind: str = "kvm") -> Path:
    path = folder / "topology.yaml"
    memory = "    memory: 512MiB\n" if kind == "xen" else ""
    path.write_text(TOPOLOGY.replace("FACTS", facts).replace("KIND", kind).replace("MEMORY\n", memory))
    return path


def test_import_writes_facts_that_a_topology_can_use(tmp_path: Path) -> None:
    facts = tmp_path / "my-board.yaml"
    words = ("board", "import", source(tmp_path), "-o", facts)
    assert vtool(*words).returncode == 1  # cpus.dtsi is elsewhere
    done = vtool(*words, "-I", tmp_path / "parts", "--source", "Linux 6.12")
    assert (done.returncode, done.stderr) == (0, "")
    assert "ram       [0x80000000, 0xc0000000) 1GiB" in done.stdout
    read = read_facts(facts).facts
    assert (read.name, read.description) == ("my-board", "A Board")
    assert read.source == Source(tree="Linux 6.12", file="board.dts")
    data = json.loads(vtool(*words, "-I", tmp_path / "parts", "--format", "json").stdout)
    assert data["carve_outs"][0]["no_map"] is True

    path = topology(tmp_path, "./my-board.yaml")
    assert vtool("validate", path).returncode == 0
    board = prepare(path).plan.boards[0]
    assert board.host_regions[0].range.base == 0x8200_0000  # after what is left to firmware that no source tree knows
    assert board.control.bootargs == "console=ttyAMA0,115200n8 panic=10"
    assert vtool("render", path, "-o", tmp_path / "out").returncode == 0
    written = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {"board.dts", "manifest.json"} <= written and not any(name.endswith(".cmd") for name in written)


def test_xen_gets_the_uart_that_is_known(tmp_path: Path) -> None:
    facts = tmp_path / "b.yaml"
    assert vtool("board", "import", source(tmp_path), "-I", tmp_path / "parts", "-o", facts).returncode == 0
    board = prepare(topology(tmp_path, "b.yaml", "xen")).plan.boards[0]
    assert board.xen_bootargs and board.xen_bootargs.startswith("console=dtuart dtuart=/serial@9000 dom0_mem=512M")
    assert board.control.bootargs == "console=hvc0 panic=10"
    lines = facts.read_text().splitlines()
    silent = [line for line in lines if not line.startswith(("    stdout:", "    console:"))]
    assert len(silent) == len(lines) - 2
    facts.write_text("\n".join(silent))
    board = prepare(tmp_path / "topology.yaml").plan.boards[0]
    assert board.xen_bootargs and board.xen_bootargs.startswith("dom0_mem=512M")


def test_ram_that_the_boot_loader_fills_in(tmp_path: Path) -> None:
    facts = tmp_path / "b.yaml"
    words = ("board", "import", source(tmp_path, size="0"), "-I", tmp_path / "parts", "-o", facts)
    done = vtool(*words)
    assert done.returncode == 1 and not facts.exists()
    assert f"{tmp_path}/board.dts:" in done.stderr and "error[VT810]" in done.stderr
    assert vtool(*words, "--memory", "0x8000_0000:1GiB", "--memory", "0x1_0000_0000:4GiB").returncode == 0
    banks = [(bank.base, bank.size) for bank in read_facts(facts).facts.ram]
    assert banks == [(0x8000_0000, GIB), (1 << 32, 4 * GIB)]


@pytest.mark.parametrize("memory", ["0x1000", "x:1GiB", "0:1GB", "0:0", "-1:1GiB", "0:2097152TiB"])
def test_memory_that_is_none_is_a_usage_error(memory: str, tmp_path: Path) -> None:
    done = vtool("board", "import", source(tmp_path), "-o", tmp_path / "b.yaml", f"--memory={memory}")
    assert done.returncode == 2 and "BASE:SIZE" in done.stderr


def test_deploying_without_boot_is_refused_at_once(tmp_path: Path) -> None:
    facts = tmp_path / "b.yaml"
    assert vtool("board", "import", source(tmp_path), "-I", tmp_path / "parts", "-o", facts).returncode == 0
    done = vtool("deploy", topology(tmp_path, "b.yaml"))
    assert done.returncode == 1 and done.stdout == ""
    assert f"{tmp_path}/topology.yaml:6:12: error[VT409]: board 'board0' cannot be deployed to" in done.stderr
    assert "b.yaml:3:1: `boot` is missing in" in done.stderr


def test_a_facts_file_with_a_fault_is_pointed_into(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("version: 1\nname: B\n")
    done = vtool("validate", topology(tmp_path, "./b.yaml"))
    assert done.returncode == 1 and f"{tmp_path}/b.yaml:2:7: error[VT203]" in done.stderr


@pytest.mark.parametrize("name", known_facts())
def test_shipped_facts_can_be_planned_with(name: str, tmp_path: Path) -> None:
    facts = load_facts(name).facts
    for kind in ("kvm", "xen"):
        board = prepare(topology(tmp_path, name, kind)).plan.boards[0]
        (region,) = board.host_regions
        assert any(bank.range.contains(region.range) for bank in facts.ram)
        assert not any(carve.range.overlaps(region.range) for carve in facts.carve_outs)
        assert render(board).get("board.dts").content.count(region.node_name) == 1
    assert name.startswith("qemu-virt") or (
        facts.source and facts.stdout and facts.gic.distributor and facts.device_tree
    )


@pytest.mark.parametrize(
    ("more", "booted"),
    [
        ("", False),
        ('bootargs = "quiet"; linux,initrd-start = <0x10000000>;', False),
        ("kaslr-seed = <0 0>;", False),
        ("kaslr-seed = <1 2>;", True),
        ('u-boot,version = "2026.10";', True),
        ("linux,uefi-system-table = <0 0x1000>;", True),
    ],
)
def test_a_tree_that_passed_a_boot_loader_knows_firmware(more: str, booted: bool, tmp_path: Path) -> None:
    path = source(tmp_path)
    path.write_text(f"{path.read_text()}\n/ {{ chosen {{ {more} }}; }};\n")
    vtool("board", "import", path, "-I", tmp_path / "parts", "-o", tmp_path / "b.yaml")
    facts = read_facts(tmp_path / "b.yaml").facts
    assert facts.source and facts.source.booted is booted and facts.firmware_unknown is not booted
    told = vtool("plan", topology(tmp_path, "./b.yaml")).stdout
    assert ("do not know firmware: 32MiB at each end of RAM stay free" in told) is not booted
    (region,) = prepare(topology(tmp_path, "./b.yaml")).plan.boards[0].host_regions
    assert region.range.base == (0x8020_0000 if booted else 0x8200_0000)


def test_a_region_joins_reserved_memory(tmp_path: Path) -> None:
    path = source(tmp_path)
    vtool("board", "import", path, "-I", tmp_path / "parts", "-o", tmp_path / "b.yaml")
    board = prepare(topology(tmp_path, "./b.yaml")).plan.boards[0]
    merged = _merged(board, path, tmp_path)
    tree = read_tree(merged)
    firmware, region = (tree.node(f"/reserved-memory/{n}") for n in ("firmware@80000000", "vtool-region0@82000000"))
    assert firmware and region
    assert (firmware.reg(), region.reg()) == ([(0x8000_0000, 0x10_0000)], [(0x8200_0000, 0x20_0000)])


def _merged(board: BoardPlan, path: Path, folder: Path) -> Path:
    """Stage for a tree, with the real fdtoverlay, and return the merged one."""
    base = folder / "base.dtb"
    include = ["-i", str(folder / "parts")]
    text = subprocess.run(["cpp", "-nostdinc", "-undef", "-P", "-xassembler-with-cpp", "-I", str(folder / "parts"),
                           str(path)], capture_output=True, check=True).stdout  # fmt: skip
    subprocess.run(["dtc", "-q", *include, "-O", "dtb", "-o", str(base), "-"], input=text, check=True)
    image = folder / "image"
    image.write_bytes(b"image")
    (folder / "work").mkdir()
    staged = stage("t", board, render(board), base.read_bytes(), lambda _: image, folder / "work")
    return next(file.path for file in staged.files if file.name == "board.dtb")


def test_the_emulated_boards_facts_are_what_its_own_tree_says(tmp_path: Path) -> None:
    shipped = load_facts("qemu-virt").facts
    (tmp_path / "virt.dtb").write_bytes(dump_device_tree(Machine(shipped.cpus, 3 * GIB), tmp_path / "base.dtb"))
    tree = read_tree(tmp_path / "virt.dtb")
    facts = import_facts(tree, "qemu-virt", Source(tree="QEMU", file="virt.dtb")).facts
    assert facts.stdout and shipped.boot and shipped.boot.xen_console == facts.stdout.path
    assert facts.stdout.compatible == "arm,pl011"
    assert (facts.cpus, facts.ram, facts.gic.version) == (shipped.cpus, shipped.ram, shipped.gic.version)
    assert facts.device_tree == shipped.device_tree
