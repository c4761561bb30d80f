"""From a device tree to facts: small trees, each written for one rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.base.units import GIB, MIB, AddressRange
from vtool.board.dts import read_tree
from vtool.diagnostics import VtoolError
from vtool.model.board_facts import BoardFacts, Source
from vtool.model.facts_import import Imported, import_facts, name_from
from vtool.model.validate import read_facts
from vtool.report.facts_yaml import facts_yaml

CPUS = (
    "cpus { #address-cells = <1>; #size-cells = <0>; "
    'cpu@0 { device_type = "cpu"; compatible = "arm,cortex-a53"; reg = <0>; }; };'
)
GIC = (
    'interrupt-controller@1000 { compatible = "arm,gic-400"; interrupt-controller; '
    "#interrupt-cells = <3>; interrupts = <1 9 4>; reg = <%s>; };"
)
GIC_V3 = (
    'gic@1000 { compatible = "arm,gic-v3"; interrupt-controller; interrupts = <1 9 4>; '
    "#redistributor-regions = %s; reg = <0 0x1000 0 0x1000>; };"
)
MEMORY = 'memory@40000000 { device_type = "memory"; reg = <%s>; };'
CELLS = {
    (1, 1): ("0x40000000 0x10000000", "0x1000 0x1000 0x2000 0x2000 0x4000 0x2000 0x6000 0x2000"),
    (2, 1): ("0 0x40000000 0x10000000", "0 0x1000 0x1000 0 0x2000 0x2000 0 0x4000 0x2000 0 0x6000 0x2000"),
    (2, 2): (
        "0 0x40000000 0 0x10000000",
        "0 0x1000 0 0x1000 0 0x2000 0 0x2000 0 0x4000 0 0x2000 0 0x6000 0 0x2000",
    ),
}  # fmt: skip


def tree_of(
    folder: Path, body: str, *, cells: tuple[int, int] = (2, 2), ram: str | None = None, before: str = ""
) -> Path:
    memory, gic = CELLS[cells]
    path = folder / "board.dts"
    path.write_text(
        f"/dts-v1/;\n{before}\n/ {{\n#address-cells = <{cells[0]}>; #size-cells = <{cells[1]}>;\n"
        f'compatible = "maker,board", "maker,chip"; model = "A Board";\n'
        f"{CPUS if 'cpus {' not in body else ''}\n{GIC % gic if 'gic' not in body else ''}\n"
        f"{MEMORY % memory if ram is None else ram}\n{body}\n}};\n"
    )
    return path


def imported(path: Path, *memory: AddressRange) -> Imported:
    return import_facts(read_tree(path), "board", Source(tree="a test", file=path.name), memory=memory)


def facts_of(folder: Path, body: str = "", **more: object) -> BoardFacts:
    return imported(tree_of(folder, body, **more)).facts  # type: ignore[arg-type]


def codes_of(path: Path) -> list[str]:
    with pytest.raises(VtoolError) as caught:
        imported(path)
    assert all(finding.span and finding.span.path == path for finding in caught.value.diagnostics)
    return [finding.code for finding in caught.value.diagnostics]


def banks(facts: BoardFacts) -> list[tuple[int, int]]:
    return [(bank.base, bank.size) for bank in facts.ram]


@pytest.mark.parametrize("cells", CELLS)
def test_cell_widths(cells: tuple[int, int], tmp_path: Path) -> None:
    facts = facts_of(tmp_path, cells=cells)
    assert (facts.device_tree.address_cells, facts.device_tree.size_cells) == cells
    assert banks(facts) == [(0x4000_0000, 256 * MIB)]
    assert facts.gic.distributor and facts.gic.distributor.range == AddressRange(0x1000, 0x2000)
    assert facts.gic.cpu_interface and facts.gic.cpu_interface.range == AddressRange(0x2000, 0x4000)
    assert (facts.gic.version, facts.gic.path) == (2, "/interrupt-controller@1000")
    assert (facts.cpus, facts.cpu_nodes[0].path, facts.cpu_nodes[0].compatible) == (1, "/cpus/cpu@0", "arm,cortex-a53")
    assert facts.compatible == ("maker,board", "maker,chip") and facts.description == "A Board"
    assert not facts.device_tree.has_reserved_memory and facts.boot is None


def _memory(reg: str, more: str = "", name: str = "memory@0") -> str:
    return f'{name} {{ device_type = "memory"; reg = <{reg}>; {more} }};'


@pytest.mark.parametrize(
    ("ram", "wanted"),
    [
        # several entries, ascending whatever the order; above 4 GiB; sizes of more than 32 bits
        (_memory("8 0 1 0x40000000  0 0x40000000 0 0x1000"), [(0x4000_0000, 0x1000), (8 << 32, 5 * GIB)]),
        # several nodes, one of them with a name of its own and one whose unit address is not its reg
        (_memory("0 0x40000000 0 0x1000") + _memory("0 0x60000000 0 0x1000", name="ram@50"),
         [(0x4000_0000, 0x1000), (0x6000_0000, 0x1000)]),
        # empty entries, disabled nodes, and nodes elsewhere say nothing
        (_memory("0 0 0 0  0 0x40000000 0 0x1000") + _memory("1 0 0 0x1000", 'status = "disabled";', "memory@1")
         + f"soc {{ #address-cells = <2>; #size-cells = <2>; {_memory('2 0 0 0x1000')} }};", [(0x4000_0000, 0x1000)]),
        # what overlaps is one bank, what only touches is two
        (_memory("0 0x1000 0 0x2000  0 0x2000 0 0x2000  0 0x4000 0 0x1000"), [(0x1000, 0x3000), (0x4000, 0x1000)]),
        # a crash kernel's share, in the node and in /chosen
        (_memory("0 0 1 0", "linux,usable-memory = <0 0x8000 0 0x1000>;"), [(0x8000, 0x1000)]),
        (_memory("0 0 1 0") + "chosen { linux,usable-memory-range = <0 0x1000 0 0x2000  0 0xfffff000 0 0x2000>; };",
         [(0x1000, 0x2000), (0xFFFF_F000, 0x1000)]),
    ],
)  # fmt: skip
def test_ram(ram: str, wanted: list[tuple[int, int]], tmp_path: Path) -> None:
    assert banks(facts_of(tmp_path, ram=ram)) == wanted


def test_ram_has_a_numa_node_and_may_be_pluggable(tmp_path: Path) -> None:
    nodes = _memory("0 0 0 0x1000", "numa-node-id = <0>;") + _memory(
        "0 0x1000 0 0x1000", "numa-node-id = <1>; hotpluggable;", "memory@1000"
    )
    assert [(bank.numa_node, bank.hotpluggable) for bank in facts_of(tmp_path, ram=nodes).ram] == [
        (0, False),
        (1, True),
    ]


@pytest.mark.parametrize(
    ("ram", "why"),
    [
        (_memory("0 0x40000000 0 0"), "/memory@0 has a size of 0"),
        ("", 'no child of the root has device_type = "memory"'),
        ("memory@0 { reg = <0 0 0 0x1000>; };", '/memory@0 is disabled or has no device_type = "memory"'),
    ],
)
def test_ram_that_the_tree_does_not_state_is_asked_for(ram: str, why: str, tmp_path: Path) -> None:
    path = tree_of(tmp_path, "", ram=ram)
    with pytest.raises(VtoolError) as caught:
        imported(path)
    (finding,) = caught.value.diagnostics
    assert (finding.code, finding.message) == ("VT810", f"the tree states no RAM: {why}")
    given = AddressRange(0x8000_0000, 1 << 33)
    assert banks(imported(path, given).facts) == [(0x8000_0000, (1 << 33) - 0x8000_0000)]


RESERVED = """
reserved-memory {
    #address-cells = <2>; #size-cells = <2>; ranges;
    memory@50000000 { reg = <0 0x50000000 0 0x100000>; no-map; };
    memory@50200000 { reg = <0 0x50200000 0 0x1000  9 0 1 0>; };
    ramoops@51000000 { compatible = "ramoops"; reg = <0 0x51000000 0 0x20000>; };
    off@52000000 { reg = <0 0x52000000 0 0x1000>; status = "disabled"; };
    empty@0 { reg = <0 0 0 0>; };
    linux,cma { compatible = "shared-dma-pool"; reusable;
                size = <1 0>; alignment = <0 0x2000>; alloc-ranges = <0 0 1 0>; };
    4-secret { size = <0 0x1000>; no-map; };
};
"""


def test_reservations(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, RESERVED, before="/memreserve/ 0x0 0x1000;")
    assert [(c.name, c.base, c.size, c.no_map) for c in facts.carve_outs] == [
        ("memreserve-0", 0, 0x1000, False),
        ("memory-50000000", 0x5000_0000, 0x10_0000, True),
        ("memory-50200000", 0x5020_0000, 0x1000, False),
        ("ramoops", 0x5100_0000, 0x2_0000, False),
        ("memory-900000000", 9 << 32, 1 << 32, False),
    ]
    assert facts.carve_outs[3].reason == "/reserved-memory/ramoops@51000000 of the device tree, ramoops"
    cma, secret = facts.dynamic_reservations
    assert (cma.name, cma.size, cma.alignment, cma.no_map) == ("linux-cma", 1 << 32, 0x2000, False)
    assert [block.range for block in cma.alloc_ranges] == [AddressRange(0, 1 << 32)]
    assert (secret.name, secret.size, secret.alignment, secret.no_map) == ("r-4-secret", 0x1000, None, True)
    assert facts.device_tree.has_reserved_memory and facts.device_tree.region_cells == (2, 2)


def test_reserved_memory_that_linux_would_ignore_is_told(tmp_path: Path) -> None:
    for odd in ("#address-cells = <1>; #size-cells = <1>; ranges;", "#address-cells = <2>; #size-cells = <2>;"):
        body = f"reserved-memory {{ {odd} a@50000000 {{ no-map; reg = <0x50000000 0x1000 0 0x1000>; }}; }};"
        found = imported(tree_of(tmp_path, body))
        assert [warning.code for warning in found.warnings] == ["VT815"]
    body = "reserved-memory { #address-cells = <1>; #size-cells = <1>; ranges; "
    body += "a@50000000 { reg = <0x50000000 0x1000>; }; };"
    facts = facts_of(tmp_path, body)
    assert (facts.carve_outs[0].base, facts.device_tree.region_cells) == (0x5000_0000, (1, 1))


DEVICES = """
aliases { serial3 = &console; serial0 = "/soc/bus/serial@100"; };
chosen { stdout-path = "serial3:115200n8"; };
soc {
    compatible = "simple-bus"; #address-cells = <1>; #size-cells = <1>; ranges = <0 0x9 0xf0000000 0x100000>;
    bus {
        compatible = "simple-bus"; #address-cells = <1>; #size-cells = <1>; ranges = <0 0x2000 0x1000>;
        serial@100 { compatible = "arm,pl011", "arm,primecell"; reg = <0x100 0x10>; };
        console: port@200 { compatible = "maker,own", "snps,dw-apb-uart"; reg = <0x200 0x10  0x300 0x10>; };
        serial@2000 { compatible = "ns16550a"; reg = <0x2000 0x10>; };
        serial@300 { compatible = "ns16550a"; reg = <0x300 0x10>; status = "disabled"; };
    };
    off { compatible = "simple-bus"; status = "disabled"; #address-cells = <1>; #size-cells = <1>; ranges;
        serial@400 { compatible = "ns16550a"; reg = <0x400 0x10>; };
    };
    i2c { #address-cells = <1>; #size-cells = <0>; serial@4d { compatible = "nxp,sc16is740"; reg = <0x4d>; }; };
    iommu@500 { compatible = "arm,smmu-v3"; reg = <0x500 0x10>; #iommu-cells = <1>; };
    smmu@600 { compatible = "arm,mmu-500"; reg = <0x600 0x10>; #iommu-cells = <1>; status = "disabled"; };
};
"""


def test_devices_are_where_the_cpu_sees_them(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, DEVICES)
    found = [(uart.path, uart.alias, uart.address, uart.stdout) for uart in facts.uarts]
    assert found == [
        ("/soc/bus/serial@100", "serial0", 0x9_F000_2100, False),
        ("/soc/bus/port@200", "serial3", 0x9_F000_2200, True),
        ("/soc/bus/serial@2000", None, None, False),  # beyond the bus's ranges
        ("/soc/i2c/serial@4d", None, None, False),  # no ranges: not in the CPU's address space
    ]
    assert facts.stdout and (facts.stdout.compatible, facts.stdout.console) == ("maker,own", "ttyS3,115200n8")
    assert [(iommu.path, iommu.compatible, iommu.enabled) for iommu in facts.iommus] == [
        ("/soc/iommu@500", "arm,smmu-v3", True),
        ("/soc/smmu@600", "arm,mmu-500", False),
    ]


def test_a_gic_of_version_3_has_redistributors(tmp_path: Path) -> None:
    gic = (
        'gic@1000 { compatible = "arm,gic-v3"; interrupt-controller; #interrupt-cells = <3>; '
        "#redistributor-regions = <2>; interrupts = <1 9 4>; "
        "reg = <0 0x1000 0 0x1000  0 0x2000 0 0x1000  8 0 0 0x1000  0 0x9000 0 0x1000>; };"
    )
    facts = facts_of(tmp_path, gic)
    assert facts.gic.version == 3 and facts.gic.cpu_interface is None
    assert [block.base for block in facts.gic.redistributors] == [0x2000, 8 << 32]


def test_cpus_that_can_be_started_count(tmp_path: Path) -> None:
    cpu = 'cpu@{0} {{ device_type = "cpu"; compatible = "arm,cortex-a72"; reg = <{0}>; status = "{1}"; }};'
    cpus = "".join(cpu.format(n, status) for n, status in enumerate(["okay", "disabled", "fail-fused"]))
    body = f"cpus {{ #address-cells = <1>; #size-cells = <0>; cpu-map {{ }}; {cpus} }};"
    assert [node.path for node in facts_of(tmp_path, body).cpu_nodes] == ["/cpus/cpu@0", "/cpus/cpu@1"]


@pytest.mark.parametrize(
    ("code", "body", "ram"),
    [
        ("VT811", CPUS.replace("a53", "a7"), None),
        ("VT812", 'gic: intc@0 { compatible = "brcm,l1"; interrupt-controller; reg = <0 0 0 1>; };', None),
        ("VT812", GIC.replace("reg", 'status = "disabled"; reg') % "0 0 0 1" + "gic { };", None),
        ("VT813", "", _memory("0 0x40000000 0x1000")),
        ("VT813", "", _memory("0xffffffff 0xfffff000 0 0x2000")),
        ("VT813", "", _memory("0 0 0x20000000 0")),
        ("VT813", "reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; a { reg = <1 2 3>; }; };", None),
        ("VT813", "reserved-memory { #address-cells = <3>; #size-cells = <2>; ranges; };", None),
        ("VT814", "cpus { };", None),
        ("VT809", "gic@1 { interrupt-controller; compatible = 'arm,gic-400'; };".replace("'", '"'), None),
        ("VT809", GIC % "0 0x1000 0 0x1000" + "gic { };", None),
        ("VT809", GIC % "0 0x1000 0 0x1000  0 0x2000 0 0" + "gic { };", None),
        ("VT809", GIC_V3 % "<1>" + "gic { };", None),
        ("VT809", GIC_V3 % "<2>" + "gic { };", None),
    ],
)  # fmt: skip
def test_refused_with_a_reason_and_a_place(code: str, body: str, ram: str | None, tmp_path: Path) -> None:
    assert codes_of(tree_of(tmp_path, body, ram=ram)) == [code]


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    assert codes_of(tree_of(tmp_path, "cpus { }; gic { };", ram="")) == ["VT810", "VT814", "VT812"]


def test_an_empty_tree_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.dts"
    path.write_text("/dts-v1/; / { };")
    assert codes_of(path) == ["VT810", "VT814", "VT812"]


@pytest.mark.parametrize("body", [RESERVED, DEVICES, 'chosen { stdout-path = "\\x01:\\"# {"; };'])
def test_what_is_written_reads_back_the_same(body: str, tmp_path: Path) -> None:
    facts = facts_of(tmp_path, body)
    note = "word " * 40 + "a:b #c"
    for made in (facts, facts.model_copy(update={"source": Source(tree="'\"\\: no", file="true", note=note)})):
        (tmp_path / "facts.yaml").write_text(facts_yaml(made))
        assert read_facts(tmp_path / "facts.yaml").facts == made


def test_what_is_written_can_be_read_by_people(tmp_path: Path) -> None:
    text = facts_yaml(facts_of(tmp_path, RESERVED))
    for line in ("  - base: 0x4000_0000\n    size: 256MiB\n", "  - name: memory-900000000\n    base: 0x9_0000_0000\n",
                 "# RAM that is not vtool's to give away.\ncarve_outs:\n", "    no_map: true\n"):  # fmt: skip
        assert line in text
    assert max(map(len, text.splitlines())) <= 112


@pytest.mark.parametrize(
    ("text", "name"),
    [("bcm2711-rpi-4-b", "bcm2711-rpi-4-b"), ("zynqmp-zcu102-rev1.0", "zynqmp-zcu102-rev1-0"), ("4,X", "r-4-x"),
     ("", "board"), ("a" * 40, "a" * 31)],
)  # fmt: skip
def test_names_are_made_of_anything(text: str, name: str) -> None:
    assert name_from(text) == name
