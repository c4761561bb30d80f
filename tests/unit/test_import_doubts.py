"""What `vtool board import` says that a tree does not tell, and what in it a hypervisor stumbles over."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.errors.test_errors import found_in
from tests.unit.test_facts_import import GIC, GIC_V3, codes_of, facts_of, imported, tree_of
from vtool.base.units import AddressRange
from vtool.board.dts import read_blob_and_tree, read_tree
from vtool.board.live_tree import without_traces_of_a_boot
from vtool.diagnostics import Severity, VtoolError
from vtool.model.board_facts import Source
from vtool.model.facts_import import Imported, Observed, import_facts
from vtool.platform.devicetree import read_blob

ROOT = Path(__file__).resolve().parents[2]
ERRORS = ROOT / "tests" / "errors"
EXAMPLE = ROOT / "topology" / "examples" / "xen-pv.yaml"

UEFI = "chosen { linux,uefi-system-table = <0 1>; linux,uefi-mmap-start = <0 2>; };"
RESERVED = "reserved-memory { #address-cells = <2>; #size-cells = <%s>; ranges; %s };"
FOUR = "0 0x1000 0 0x1000  0 0x2000 0 0x2000  0 0x4000 0 0x2000  0 0x6000 0 0x2000"
RAM = 'memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x10000000>; };'
CPU = 'cpu@{0} {{ device_type = "cpu"; compatible = "arm,cortex-a72"; reg = <{0}>; {1} }};'


def said(found: Imported) -> list[tuple[str, str]]:
    assert all(warning.severity is Severity.WARNING for warning in found.warnings)
    return [(warning.code, warning.message) for warning in found.warnings]


def warned(folder: Path, body: str, **more: object) -> list[tuple[str, str]]:
    found = imported(tree_of(folder, body, **more))  # type: ignore[arg-type]
    assert all(warning.span for warning in found.warnings)
    return said(found)


def test_a_sound_tree_gives_no_cause(tmp_path: Path) -> None:
    assert warned(tmp_path, "") == []


def test_what_uefi_knows_is_not_known(tmp_path: Path) -> None:
    ((code, message),) = warned(tmp_path, UEFI)
    assert code == "VT802" and "UEFI's own map" in message
    with pytest.raises(VtoolError, match=r"states no RAM: UEFI's own map"):
        imported(tree_of(tmp_path, UEFI, ram=""))


def test_a_board_with_acpi_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "acpi.dts"
    path.write_text(f"/dts-v1/; / {{ #address-cells = <2>; #size-cells = <2>; {UEFI} }};")
    assert codes_of(path) == ["VT803"]


def test_the_tree_of_a_guest_is_not_the_boards(tmp_path: Path) -> None:
    body = 'hypervisor { compatible = "xen,xen-4.20", "xen,xen"; };'
    assert codes_of(tree_of(tmp_path, body)) == ["VT807"]
    other = 'hypervisor { compatible = "gunyah-hypervisor"; };'
    assert warned(tmp_path, other) == []


@pytest.mark.parametrize(
    ("gic", "why"),
    [
        (GIC % "0 0x1000 0 0x1000  0 0x2000 0 0x2000", ["neither KVM nor Xen runs on this board: its GICv2 "
         "'/interrupt-controller@1000' has no hypervisor interface (GICH) and no virtual CPU interface (GICV)"]),
        (GIC % "0 0x1000 0 0x1000  0 0x2000 0 0x2000  0 0x4000 0 0x2000", ["has no virtual CPU interface (GICV)"]),
        (GIC.replace("interrupts = <1 9 4>; ", "") % FOUR, ["has no maintenance interrupt (`interrupts`)"]),
        (GIC.replace("interrupts =", "interrupts-extended =") % FOUR, []),
        (GIC % FOUR.replace("0x2000 0 0x2000", "0x2000 0 0x1000"), []),  # which Xen takes for 8 KiB
        (GIC % FOUR.replace("0x6000 0 0x2000", "0x6000 0 0x1000"), ["Xen does not run on this board: its GICv2 "
         "'/interrupt-controller@1000' has a CPU interface of 8KiB and a virtual one of 4KiB"]),
        (GIC.replace("arm,gic-400", "qcom,msm-qgic2") % FOUR, ["is 'qcom,msm-qgic2', which Xen does not know"]),
        (GIC_V3.replace("gic@1000", "interrupt-controller@1000").replace("0 0x1000>", "0 0x1000  0 0x2000 0 0x1000>")
         .replace("interrupts", "x") % "<1>", ["has no maintenance interrupt (`interrupts`)"]),
    ],
)  # fmt: skip
def test_a_gic_that_a_hypervisor_cannot_use(gic: str, why: list[str], tmp_path: Path) -> None:
    found = warned(tmp_path, f"{gic} gic {{ }};")
    assert [code for code, _ in found] == ["VT804"] * len(why)
    assert all(message.endswith(end) for (_, message), end in zip(found, why, strict=True)), found


@pytest.mark.parametrize(
    ("ram", "said_of_it"),
    [
        ('ram@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x10000000>; };',
         [("VT912", "/ram@40000000: Xen 4.22 takes no node for RAM whose name is not 'memory' or 'memory@...'")]),
        (f"{RAM} memory@1 {{ reg = <0 1 0 1>; }};",
         [("VT912", '/memory@1: without device_type = "memory" neither Linux nor Xen takes this for RAM'),
          ("VT805", "Xen before 4.20 takes '/memory@1' for RAM, going by its name alone")]),
        (f"{RAM} memory@1 {{ reg = <0 1 0 1>; device_type = \"memory\"; status = \"disabled\"; }};",
         [("VT805", "Xen before 4.19 takes '/memory@1' for RAM, going by its name alone")]),
        (f"{RAM} soc {{ #address-cells = <1>; #size-cells = <1>; ranges; memory@2000 {{ reg = <0x2000 1>; }}; }};",
         [("VT805", "Xen before 4.20 takes '/soc/memory@2000' for RAM, going by its name alone")]),
        (f"{RAM} memory-controller@1 {{ reg = <0 1 0 1>; }};", []),
        (RAM + RESERVED % ("2", "memory@50000000 { reg = <0 0x50000000 0 0x1000>; };"), []),
    ],
)  # fmt: skip
def test_memory_that_xen_tells_otherwise(ram: str, said_of_it: list[tuple[str, str]], tmp_path: Path) -> None:
    assert warned(tmp_path, "", ram=ram) == said_of_it


def test_what_has_no_size_is_told(tmp_path: Path) -> None:
    banks = 'memory@0 { device_type = "memory"; reg = <0 0x40000000 0 0x1000  0 0x80000000 0 0>; };'
    assert warned(tmp_path, "", ram=banks) == [
        ("VT806", "'/memory@0' has a bank at 0x80000000 of size 0, which is left out")
    ]
    two = f'{RAM} memory@80000000 {{ device_type = "memory"; reg = <0 0x80000000 0 0>; }};'
    assert [code for code, _ in warned(tmp_path, "", ram=two)] == ["VT806"]
    empty = RESERVED % ("2", "nvram@0 { reg = <0 0 0 0>; no-map; };")
    assert warned(tmp_path, empty) == [
        ("VT806", "'/reserved-memory/nvram@0' reserves 0 bytes until a boot loader fills it in")
    ]


@pytest.mark.parametrize(
    ("cells", "node", "why"),
    [
        ((2, 2), "size = <0 0x1000>; alignment = <0 0x2000>;", None),
        ((2, 2), "size = <0x1000>;", "`size` has 4 bytes, in cells of the root it is 8"),
        ((2, 2), "size = <0 0x1000>; alignment = <0x2000>;", "`alignment` has 4 bytes, in cells of the root it is 8"),
        ((2, 1), "size = <0x1000>; alignment = <0 0x2000>;", None),
        ((2, 1), "size = <0x1000>; alignment = <0x2000>;", "`alignment` has 4 bytes, in cells of the root it is 8"),
        ((2, 1), "size = <0x1000>; alloc-ranges = <0 0 0x1000  0 1 2>;", None),
        ((2, 1), "size = <0x1000>; alloc-ranges = <0 0 0 0x1000>;",
         "`alloc-ranges` has 16 bytes, in cells of the root it is 12 for each range"),
    ],
)  # fmt: skip
def test_a_reservation_that_linux_skips(cells: tuple[int, int], node: str, why: str | None, tmp_path: Path) -> None:
    body = RESERVED % (cells[1], f"a {{ {node} }};")
    message = f"/reserved-memory/a: {why}: Linux skips the region, so nothing is reserved"
    assert warned(tmp_path, body, cells=cells) == ([("VT902", message)] if why else [])
    found = facts_of(tmp_path, body, cells=cells).dynamic_reservations
    assert [(item.size, item.alignment) for item in found] == (
        [] if why else [(0x1000, 0x2000 if "alignment" in node else None)]
    )


ZYNQMP = """
remoteproc@ffe00000 {
    compatible = "xlnx,zynqmp-r5fss"; status = "disabled"; #address-cells = <2>; #size-cells = <2>;
    ranges = <0 0 0 0xffe00000 0 0x10000>;
    r5f@0 { reg = <0 0 0 0x1000>; };
    r5f@1 { reg = <0 0 0 0x1000  1 0 0 0x1000>; };
};
"""


def test_an_address_that_xen_cannot_translate(tmp_path: Path) -> None:
    assert warned(tmp_path, ZYNQMP) == [
        ("VT911", "Xen panics while it builds dom0: it cannot translate address 1 of '/remoteproc@ffe00000/r5f@1'")
    ]
    # No address where nothing above says `ranges`, and none where sizes have no cells.
    assert warned(tmp_path, ZYNQMP.replace("ranges =", "x =")) == []
    i2c = "i2c { #address-cells = <1>; #size-cells = <0>; ranges; a@1 { reg = <1>; }; };"
    assert warned(tmp_path, i2c) == []
    below = (
        "bus@1 { reg = <0 1 0 1>; #address-cells = <2>; #size-cells = <2>; %s a { ranges; b { reg = <0 1 0 1>; }; }; };"
    )
    assert warned(tmp_path, below % "ranges;") == []
    assert [code for code, _ in warned(tmp_path, below % "")] == ["VT911"]


def test_what_a_running_board_has_reserved_is_a_carve_out(tmp_path: Path) -> None:
    gib = AddressRange.of_size(0x4000_0000, 1 << 30)
    memory = Observed((gib,), (AddressRange(0x5000_0000, 0x5001_0000),), (AddressRange(0x6000_0000, 0x6000_1000),))
    body = UEFI + RESERVED % ("2", "secure@50000000 { reg = <0 0x50000000 0 0x20000>; };")
    tree = read_tree(tree_of(tmp_path, body, ram=""))
    found = import_facts(tree, "board", Source(tree="a test", file="x"), observed=memory)
    assert said(found) == [] and [bank.range for bank in found.facts.ram] == [gib]
    assert [(carve.name, carve.base, carve.no_map) for carve in found.facts.carve_outs] == [
        ("secure", 0x5000_0000, False),
        ("iomem-60000000", 0x6000_0000, True),
    ]
    assert "/proc/iomem" in found.facts.carve_outs[1].reason


def test_what_xen_alone_minds_kvm_may_have(tmp_path: Path) -> None:
    for case in ("VT804-two-sizes", "VT804-unknown-to-xen"):
        text = (ERRORS / f"{case}.yaml").read_text().replace("./facts", str(ERRORS / "facts"))
        (tmp_path / "kvm.yaml").write_text(text.replace("kind: xen", "kind: kvm").replace("    memory: 1GiB\n", ""))
        shutil.copytree(ERRORS / "facts", tmp_path / "facts", dirs_exist_ok=True)
        assert found_in(tmp_path / "kvm.yaml") == []


@pytest.mark.parametrize("verb", ["lint", "board import -o out.yaml", f"dt {EXAMPLE} --base"])
def test_a_tree_as_a_folder_gets_the_command_that_makes_a_file_of_it(verb: str, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()

    def vtool() -> str:
        command = [sys.executable, "-m", "vtool.cli.main", *verb.split(), str(base)]
        where = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=where)
        assert done.returncode == 1 and "error[VT100]" in done.stderr and "Traceback" not in done.stderr
        return done.stderr

    assert "dtc" not in vtool()
    (base / "#address-cells").write_bytes(bytes(4))
    assert f"hint: dtc -I fs -O dtb -o board.dtb {base}" in vtool()


def test_the_base_tree_of_a_board_keeps_nothing_of_one_boot(tmp_path: Path) -> None:
    path = tree_of(tmp_path, UEFI.replace("chosen {", 'chosen { stdout-path = "x"; bootargs = "quiet";'))
    chosen = read_blob(without_traces_of_a_boot(read_blob_and_tree(path)[0])).root.children["chosen"]
    assert list(chosen.values) == ["stdout-path"]


def test_cpus_that_linux_and_xen_count_otherwise(tmp_path: Path) -> None:
    nodes = "".join(CPU.format(n, more) for n, more in enumerate(["", 'status = "fail";', 'status = "fail-sss";']))
    nodes += CPU.format(3, 'status = "disabled";') + CPU.format(4, "").replace('device_type = "cpu";', "")
    body = f"cpus {{ #address-cells = <1>; #size-cells = <0>; {nodes} }};"
    assert [code for code, _ in warned(tmp_path, body)] == ["VT858"] * 3
    assert warned(tmp_path, body)[0][1] == (
        "'/cpus/cpu@1' has failed (status = \"fail\"): Linux leaves it out, Xen tries to start it; "
        "their numbers of CPUs may differ"
    )
    assert [node.path for node in facts_of(tmp_path, body).cpu_nodes] == ["/cpus/cpu@0", "/cpus/cpu@3", "/cpus/cpu@4"]
