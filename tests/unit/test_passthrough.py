"""What the board's own tree says of devices for guests, and what guests are then given; read back by dtc's libfdt."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.running_system import Running
from vtool.board.qemu_process import Machine, dump_device_tree
from vtool.cli.common import prepare
from vtool.deploy.needed_devices import not_to_be_had
from vtool.deploy.proof import Proof, saved
from vtool.deploy.stage import Staged, stage_on
from vtool.diagnostics import VtoolError
from vtool.lint import Kind, lint
from vtool.platform.devicetree import Tree, read_blob

TOPOLOGY = """
version: 1
name: case
boards:
  board0:
    facts: qemu-virt
    hypervisor: {kind: xen, image: vtool:xen}
domains:
  dom0: {role: control, memory: 1GiB}
  fe0:
    memory: 256MiB
    ramdisk: vtool:guest-initramfs
    passthrough:
      - /pl031@9010000
    xen: {force_assign_without_iommu: [/pl031@9010000]}
"""
RTC = "/pl031@9010000"

SOC = """
/dts-v1/;
/plugin/;
&{/} {
    osc: osc { compatible = "fixed-clock"; #clock-cells = <0>; clock-frequency = <24000000>; };
    half: half {
        compatible = "fixed-factor-clock"; #clock-cells = <0>; clocks = <&osc>; clock-mult = <1>; clock-div = <2>;
    };
    soc@0 {
        compatible = "simple-bus"; #address-cells = <1>; #size-cells = <1>; ranges = <0 0x1 0x10000000 0x1000000>;
        cmu: clock-controller@0 { reg = <0x0 0x1000>; #clock-cells = <1>; #reset-cells = <1>; };
        gpio: gpio@1000 {
            reg = <0x1000 0x1000>; gpio-controller; #gpio-cells = <2>; interrupt-controller; #interrupt-cells = <2>;
            interrupts = <0 9 4>;
        };
        smmu: iommu@2000 { compatible = "arm,mmu-500"; reg = <0x2000 0x1000>; #iommu-cells = <1>; };
        ethernet@20000 {
            compatible = "acme,eth"; reg = <0x20000 0x1000>, <0x20800 0x100>, <0x30010 0x20>;
            interrupts = <0 100 4>, <0 101 1>; clocks = <&osc>, <&half>; clock-names = "bus", "phy";
            resets = <&cmu 3>; iommus = <&smmu 7>; status = "disabled"; phy-handle = <&phy>; dma-coherent;
            local-mac-address = [02 00 00 00 00 01];
            mdio {
                #address-cells = <1>; #size-cells = <0>;
                phy: phy@c { reg = <0xc>; reset-gpios = <&gpio 1 0>; interrupts-extended = <&gpio 3 1>; };
            };
        };
        uart@40000 { reg = <0x40000 0x1000>; interrupts = <0 50 4>; clocks = <&cmu 5>; clock-names = "baud"; };
        sensor@50000 { reg = <0x50000 0x100>; interrupt-parent = <&gpio>; interrupts = <1 2>; };
        one@60000 { reg = <0x60000 0x100>; interrupts = <0 60 4>; };
        two@60100 { reg = <0x60100 0x100>; };
        three@70000 { reg = <0x70000 0x1000>; interrupts = <0 60 4>; };
        wrapper@80000 {
            reg = <0x80000 0x1000>; #address-cells = <1>; #size-cells = <1>; ranges;
            usb@90000 { reg = <0x90000 0x1000>; };
        };
        low@0 { };
    };
};
"""
"""Devices as on a board, beside those of QEMU's machine."""


@pytest.fixture(scope="module")
def virt(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return dump_device_tree(Machine(2, 3 << 30), tmp_path_factory.mktemp("tree") / "base.dtb")


@pytest.fixture(scope="module")
def soc(virt: bytes, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("soc")
    (folder / "virt.dtb").write_bytes(virt)
    subprocess.run(["dtc", "-q", "-@", "-o", folder / "soc.dtbo"], input=SOC.encode(), check=True)
    merge = ["fdtoverlay", "-i", folder / "virt.dtb", "-o", folder / "soc.dtb", folder / "soc.dtbo"]
    subprocess.run(merge, check=True)
    return (folder / "soc.dtb").read_bytes()


def staged(folder: Path, text: str, base: bytes) -> Staged:
    (folder / "case.yaml").write_text(text)
    board = prepare(folder / "case.yaml").plan.boards[0]
    (folder / "image").write_bytes(b"image")
    work = folder / "work"
    work.mkdir()
    return stage_on("case", board, base, lambda _: folder / "image", work)


def of(nodes: str) -> str:
    names = re.findall(r"/[\w@/-]+", nodes)
    forced = f"{{force_assign_without_iommu: [{', '.join(names)}]}}"
    return TOPOLOGY.replace(f"\n      - {RTC}", f" [{nodes}]").replace(
        f"{{force_assign_without_iommu: [{RTC}]}}", forced
    )


def file_of(made: Staged, name: str) -> bytes:
    return next(file.path for file in made.files if file.name == name).read_bytes()


def partial_of(made: Staged, name: str = "domains/fe0/partial.dtb") -> Tree:
    tree = read_blob(file_of(made, name))
    kind, found = lint(tree)
    assert (kind, found) == (Kind.PARTIAL, [])
    return tree


def test_xl_gets_registers_interrupts_and_a_tree(virt: bytes, tmp_path: Path) -> None:
    made = staged(tmp_path, TOPOLOGY, virt)
    config = file_of(made, "domains/fe0/fe0.cfg").decode()
    assert 'iomem = [\n    "0x9010,0x1@0x9010",\n]\nirqs = [ 34 ]\n' in config
    assert 'device_tree = "/var/lib/vtool/current/domains/fe0/partial.dtb"' in config
    assert "dtdev" not in config  # which starts no guest without an IOMMU
    node = partial_of(made).node("/passthrough/pl031@9010000")
    assert node is not None
    assert node.compatible == ("arm,pl031", "arm,primecell")
    assert (node.cells("reg"), node.cells("interrupts")) == ((0, 0x901_0000, 0, 0x1000), (0, 2, 4))
    assert not [name for name in node.values if name.startswith("xen,")]
    board = read_blob(file_of(made, "board.dtb")).node(RTC)
    assert board is not None and "xen,passthrough" in board.values


def test_a_guest_that_xen_starts_gets_the_same_from_its_tree(virt: bytes, tmp_path: Path) -> None:
    made = staged(tmp_path, TOPOLOGY.replace("  fe0:\n", "  fe0:\n    start: dom0less\n"), virt)
    node = partial_of(made, "fe0.dtb").node("/passthrough/pl031@9010000")
    assert node is not None
    assert node.string("xen,path") == RTC and "xen,force-assign-without-iommu" in node.values
    assert node.properties["xen,reg"].tuples(2, 2, 2) == [(0x901_0000, 0x1000, 0x901_0000)]


def test_a_node_is_made_of_the_boards_with_the_addresses_of_the_guest(soc: bytes, tmp_path: Path) -> None:
    text = TOPOLOGY.replace(RTC, "/soc@0/ethernet@20000", 1)
    text = re.sub(r"    xen: .*\n", "", text).replace("facts: qemu-virt", "facts: facts.yaml")
    facts = Path(__file__).parents[2] / "topology" / "boards" / "qemu-virt.yaml"
    iommu = "iommus:\n  - {path: /soc@0/iommu@2000, compatible: 'arm,mmu-500'}\n"
    (tmp_path / "facts.yaml").write_text(facts.read_text() + iommu)
    built = Path(__file__).parents[1] / "errors" / "everything-4.22.config"
    text = text.replace("image: vtool:xen", f"config: {built}")
    made = staged(tmp_path, text, soc)
    config = file_of(made, "domains/fe0/fe0.cfg").decode()
    # 0x1_1002_0000 is in the layout's window for PCI, and the second page is one with other registers.
    assert '"0x110020,0x1@0x50000",\n    "0x110030,0x1@0x50001",' in config
    assert "irqs = [ 132, 133 ]" in config and '"/soc@0/ethernet@20000"' in config.partition("dtdev")[2]
    tree = partial_of(made)
    node = tree.node("/passthrough/ethernet@50000000")
    assert node is not None
    reg = node.properties["reg"].tuples(2, 2)
    assert reg == [(0x5000_0000, 0x1000), (0x5000_0800, 0x100), (0x5000_1010, 0x20)]
    rates = [tree.by_phandle()[handle].number("clock-frequency") for handle in node.cells("clocks")]
    assert rates == [24_000_000, 12_000_000]
    assert node.values["local-mac-address"].hex() == "020000000001"
    gone = {"resets", "iommus", "status"} & node.values.keys()
    assert not gone and "dma-coherent" in node.values
    phy = tree.by_phandle()[node.cells("phy-handle")[0]]
    assert phy.path.endswith("/mdio/phy@c") and set(phy.values) == {"reg", "phandle"}


SAID = [
    ("VT490", "/soc@0/wrapper@80000", "its own child '/soc@0/wrapper@80000/usb@90000'"),
    ("VT490", "/soc@0/low@0", "has no registers"),
    ("VT491", "/soc@0/one@60000", "shares a page with '/soc@0/two@60100' [0x110060100, 0x110060200)"),
    ("VT492", "/soc@0/sensor@50000", "goes to '/soc@0/gpio@1000', not to the board's GIC"),
    ("VT492", "/soc@0/three@70000", "intid 92 of '/soc@0/three@70000' is that of '/soc@0/one@60000', too"),
    ("VT493", "{node: /soc@0/two@60100, address: 0x4000_0000}", "cannot see the registers of '/soc@0/two@60100' at"),
    ("VT493", "{node: /soc@0/uart@40000, address: 0x4800, clocks: [5]}", "0x4800 is not the address of a page"),
    ("VT494", "/soc@0/uart@40000", "needs the rate of clock 'baud', of '/soc@0/clock-controller@0'"),
    ("VT494", "{node: /soc@0/uart@40000, clocks: [1, 2]}", "has 1 clocks, and 2 rates are given"),
]


@pytest.mark.parametrize(("code", "nodes", "words"), SAID)
def test_what_cannot_be_passed_through_is_said_of_its_place(
    code: str, nodes: str, words: str, soc: bytes, tmp_path: Path
) -> None:
    with pytest.raises(VtoolError) as caught:
        staged(tmp_path, of(nodes), soc)
    found = [each for each in caught.value.diagnostics if each.code == code]
    assert found and words in found[0].message, caught.value.diagnostics
    assert found[0].span is not None and found[0].span.line == 13


def test_what_shares_a_page_or_an_interrupt_goes_to_one_guest(soc: bytes, tmp_path: Path) -> None:
    made = staged(tmp_path, of("/soc@0/one@60000, /soc@0/two@60100, /soc@0/three@70000"), soc)
    assert "irqs = [ 92 ]" in file_of(made, "domains/fe0/fe0.cfg").decode()


def test_an_address_and_rates_are_as_written(soc: bytes, tmp_path: Path) -> None:
    made = staged(tmp_path, of("{node: /soc@0/uart@40000, address: 0x4000, clocks: [1843200]}"), soc)
    assert '"0x110040,0x1@0x4"' in file_of(made, "domains/fe0/fe0.cfg").decode()
    tree = partial_of(made)
    node = tree.node("/passthrough/uart@4000")
    assert node is not None
    assert tree.by_phandle()[node.cells("clocks")[0]].number("clock-frequency") == 1_843_200


def test_an_interrupt_that_a_virtio_device_or_the_uart_has_is_not_the_devices(virt: bytes, tmp_path: Path) -> None:
    uart = TOPOLOGY.replace("{force_assign", "{spis: 1, force_assign")
    with pytest.raises(VtoolError, match="beyond the 1 SPIs of 'fe0'"):
        staged(tmp_path, uart, virt)


def test_without_the_boards_tree_it_is_said_what_is_missing(tmp_path: Path) -> None:
    from vtool.render import render
    from vtool.report.summary import plan_lines

    (tmp_path / "case.yaml").write_text(TOPOLOGY)
    plan = prepare(tmp_path / "case.yaml").plan
    assert any(RTC in line and "not at hand" in line for line in plan_lines(plan))
    config = render(plan.boards[0]).get("domains/fe0/fe0.cfg").content
    assert f"# iomem and irqs of {RTC} are those of the board's own device tree" in config and "irqs =" not in config


# -- a partial tree of the user's own


def own_tree(folder: Path, nodes: str) -> None:
    text = '/dts-v1/; / { #address-cells = <2>; #size-cells = <2>; passthrough { compatible = "simple-bus"; ranges; '
    text += f"#address-cells = <2>; #size-cells = <2>; {nodes} }}; }};"
    subprocess.run(["dtc", "-q", "-o", folder / "own.dtb"], input=text.encode(), check=True)


def with_own_tree(folder: Path, text: str, base: bytes) -> Staged:
    (folder / "case.yaml").write_text(text.replace("    passthrough:", "    device_tree: own.dtb\n    passthrough:"))
    board = prepare(folder / "case.yaml").plan.boards[0]
    (folder / "image").write_bytes(b"image")
    (folder / "work").mkdir()
    return stage_on(
        "case", board, base, lambda name: folder / (name if name == "own.dtb" else "image"), folder / "work"
    )


DOM0LESS = TOPOLOGY.replace("  fe0:\n", "  fe0:\n    start: dom0less\n")
REGISTERS = "xen,reg = <0 0x9010000 0 0x1000 0 0x9010000>; xen,force-assign-without-iommu;"


def test_a_tree_of_the_users_own_is_taken_as_it_is(virt: bytes, tmp_path: Path) -> None:
    own_tree(tmp_path, f'rtc@9010000 {{ reg = <0 0x9010000 0 0x1000>; xen,path = "{RTC}"; {REGISTERS} }};')
    made = with_own_tree(tmp_path, DOM0LESS, virt)
    assert file_of(made, "fe0.dtb") == (tmp_path / "own.dtb").read_bytes()


@pytest.mark.parametrize(
    ("text", "nodes", "words"),
    [
        (DOM0LESS, f'a@1 {{ xen,path = "/pl061@9030000"; {REGISTERS} }};', f"no `xen,path` of '{RTC}', but '/pl061@"),
        (DOM0LESS, "a@1 { };", f"no `xen,path` of '{RTC}'"),
        (
            DOM0LESS,
            f'a@1 {{ xen,path = "{RTC}"; {REGISTERS} }}; b@2 {{ xen,path = "/pl061@9030000"; {REGISTERS} }};',
            "has '/pl061@9030000' (`xen,path`), which dom0 is not kept from",
        ),
        (TOPOLOGY, "rtc@9020000 { reg = <0 0x9020000 0 0x1000>; };", "has nothing at [0x9010000, 0x9011000)"),
    ],
)
def test_a_tree_of_other_devices_is_refused(text: str, nodes: str, words: str, virt: bytes, tmp_path: Path) -> None:
    own_tree(tmp_path, nodes)
    with pytest.raises(VtoolError) as caught:
        with_own_tree(tmp_path, text, virt)
    (found,) = caught.value.diagnostics
    assert found.code == "VT496" and words in found.message and found.span is not None


# -- what has to be shown


@pytest.mark.parametrize("text", [TOPOLOGY, DOM0LESS], ids=["xl", "dom0less"])
def test_a_driver_of_the_guest_has_the_device_and_none_of_dom0(text: str, virt: bytes, tmp_path: Path) -> None:
    left, driven = (proof for proof in staged(tmp_path, text, virt).proofs if proof.subject == f"device {RTC}")

    def row(proof: Proof, said: str) -> bool:
        return proof.read({proof.steps[0]["id"]: {"code": 0, "output": said}}).proven

    assert row(left, "disabled, no driver\n") and not row(left, "okay, rtc-pl031\n")
    assert not row(left, "disabled, rtc-pl031\n")
    assert row(driven, "rtc-pl031\n") and not row(driven, "\n")
    assert saved.from_json(saved.to_json([left, driven])) == [left, driven]


def test_drivers_are_looked_for_by_the_devices_nodes(virt: bytes, tmp_path: Path) -> None:
    (driven,) = (p for p in staged(tmp_path, TOPOLOGY, virt).proofs if p.what == "a driver of 'fe0' has it")
    device = tmp_path / "sys/bus/amba/devices/9010000.pl031"
    node = tmp_path / "sys/firmware/devicetree/base/passthrough/pl031@9010000"
    for folder in (device, node, tmp_path / "sys/drivers/rtc-pl031"):
        folder.mkdir(parents=True)
    (device / "of_node").symlink_to(node)
    command = driven.steps[0]["command"].replace("/sys/", f"{tmp_path}/sys/")

    def seen() -> str:
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout

    assert seen() == ""
    (device / "driver").symlink_to(tmp_path / "sys/drivers/rtc-pl031")
    assert seen() == "rtc-pl031\n"


# -- what the control domain itself needs


def sysfs(folder: Path) -> None:
    """Make a root on a partition behind a mapping, and an interface in a bridge."""
    soc = folder / "sys/devices/platform/soc"
    disk, card = soc / "mmc@1000/mmc_host/mmc0/block/mmcblk0/mmcblk0p2", soc / "eth@2000/net/eth0"
    mapped, bridge = folder / "sys/devices/virtual/block/dm-0", folder / "sys/devices/virtual/net/br0"
    for made in (disk, card / "brport", mapped / "slaves", bridge / "brif", folder / "sys/dev/block"):
        made.mkdir(parents=True)
    base = folder / "sys/firmware/devicetree/base/soc"
    for node in ("mmc@1000", "eth@2000"):
        (base / node).mkdir(parents=True)
        (soc / node / "of_node").symlink_to(base / node)
    (soc / "of_node").symlink_to(base)
    (mapped / "slaves/mmcblk0p2").symlink_to(disk)
    (folder / "sys/dev/block/254:0").symlink_to(mapped)
    (folder / "sys/class/net").mkdir(parents=True)
    (folder / "sys/class/net/br0").symlink_to(bridge)
    (bridge / "brif/eth0").symlink_to(card / "brport")
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/mountinfo").write_text("20 1 254:0 / / rw - ext4 /dev/mapper/root rw\n")


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ("/soc/mmc@1000", "the file system on / hangs on it"),
        ("/soc/eth@2000", "the network interface br0 hangs on it"),
        ("/soc/eth@3000", ""),
        ("/soc/eth@200", ""),
    ],
)
def test_what_the_running_board_hangs_on_stays(node: str, words: str, tmp_path: Path) -> None:
    sysfs(tmp_path)
    (tmp_path / "case.yaml").write_text(of(node))
    found = not_to_be_had(prepare(tmp_path / "case.yaml").plan.boards[0], None, Running(tmp_path))  # type: ignore[arg-type]
    assert [(each.code, words in each.message) for each in found] == ([("VT497", True)] if words else [])


def test_an_address_in_the_windows_of_pci_is_free_for_who_wishes_it(virt: bytes, tmp_path: Path) -> None:
    """Xen's own docs/misc/arm/passthrough.txt puts a device at 0x10000000; unasked, nothing is put there."""
    text = TOPOLOGY.replace(f"- {RTC}", f"- {{node: {RTC}, address: 0x1000_0000}}")
    config = file_of(staged(tmp_path, text, virt), "domains/fe0/fe0.cfg").decode()
    assert '"0x9010,0x1@0x10000"' in config
