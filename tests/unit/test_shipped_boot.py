"""The `boot` sections that vtool ships, against U-Boot's own environment of those boards, by release and file.

With a checkout of U-Boot as its argument it compares what is kept here of those with the checkout itself.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from vtool.cli.common import prepare
from vtool.model.board_facts import ASKED, UBoot
from vtool.model.load_windows import load_windows
from vtool.model.validate import known_facts, load_facts

CITED: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("u_boot_environments.yaml").read_text())
EMULATED = ("qemu-virt", "qemu-virt-efi", "qemu-virt-smmu")
"""vtool's own machines, whose U-Boot and disks it makes itself."""
TOPOLOGY = """
version: 1
name: shipped
boards: {board0: {facts: BOARD, hypervisor: {kind: KIND}}}
domains: {host: {role: control, MEMORY}}
"""


def address(cited: dict[str, Any], load: str) -> int:
    name, sign, more = re.fullmatch(r"(\w+)(?: ([+-]) (\w+))?", load).groups()  # type: ignore[union-attr]
    return int(cited["variables"][name]) + (int(f"{sign}{more}", 0) if sign else 0)


def test_every_shipped_board_can_be_deployed_to() -> None:
    without = [name for name in known_facts() if load_facts(name).facts.boot is None and name not in EMULATED]
    assert not without
    assert {*CITED["boards"]} == {name for name in known_facts() if name not in EMULATED}


@pytest.mark.parametrize("name", CITED["boards"])
def test_a_boot_section_is_what_the_boards_own_u_boot_says(name: str) -> None:
    cited, facts = CITED["boards"][name], load_facts(name).facts
    boot = facts.boot
    assert boot is not None and boot.source == f"U-Boot {CITED['release']} {cited['file']}"
    assert facts.stdout is not None
    assert (boot.console, boot.xen_console) == (facts.stdout.console, facts.stdout.path)
    assert {boot.partition_mount, boot.root_device, boot.root_filesystem} == {ASKED}
    if not isinstance(boot, UBoot):
        assert cited["variables"]["do_boot"].startswith("bootefi")
        return
    assert boot.load.model_dump() == {key: address(cited, load) for key, load in cited["loads"].items()}
    assert [word for word in cited["lacks"] if word != "exportenv"] == list(boot.lacks)
    assert (boot.state == "environment") == ("exportenv" in cited["lacks"])
    windows = load_windows(facts)
    if "bootm_size" in cited["variables"]:  # beyond that U-Boot moves nothing (boot/image-board.c)
        lowest = min(bank.base for bank in facts.ram) if name.startswith("imx") else 0
        assert all(window.base < lowest + cited["variables"]["bootm_size"] for window in windows.values())
    assert windows["kernel"].size_bytes >= 40 << 20, "Debian's kernel has 36 MiB"
    assert windows["ramdisk"].size_bytes >= 48 << 20


@pytest.mark.parametrize("kind", ["kvm", "xen"])
@pytest.mark.parametrize("name", CITED["boards"])
def test_a_topology_of_it_is_valid_and_has_no_root_device_of_somebody_elses(
    name: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.yaml"
    memory = ", memory: 512MiB" if kind == "xen" else ""
    path.write_text(TOPOLOGY.replace("BOARD", name).replace("KIND", kind).replace(", MEMORY", memory))
    (board,) = prepare(path).plan.boards
    assert "root=" not in board.control.bootargs and " rw rootwait" in board.control.bootargs


def main(checkout: Path) -> int:
    """Compare what is kept here with a checkout of U-Boot; return how much differs."""
    wrong = 0
    for name, cited in CITED["boards"].items():
        sources = [cited["file"], f"configs/{cited['defconfig']}_defconfig", "configs/renesas_rcar4.config"]
        text = "\n".join((checkout / file).read_text() for file in sources if (checkout / file).exists())
        for key, value in cited["variables"].items():
            found = re.search(rf"\b{key}(?:=|[ \t]+)\"?(0x[0-9a-f]+|bootefi \w+)", text)
            said = found[1] if found else None
            if said is None or (int(said, 0) != value if isinstance(value, int) else said != value):
                print(f"{name}: {key} is {said}, not {value}")
                wrong += 1
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]))))
