"""A device of the emulated board in guests of Xen: its real-time clock, which dom0 then has not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import EXAMPLES, Bench

pytestmark = [pytest.mark.board, pytest.mark.long]
RTC = "/pl031@9010000"
SHOWN = {"'dom0' leaves it alone": "disabled, no driver", "a driver of 'fe0' has it": "rtc-pl031"}
OTHER = """/dts-v1/;
/ { #address-cells = <2>; #size-cells = <2>;
    passthrough { compatible = "simple-bus"; ranges; #address-cells = <2>; #size-cells = <2>;
        gpio@9030000 { compatible = "arm,pl061"; reg = <0 0x9030000 0 0x1000>; xen,path = "/pl061@9030000"; };
    };
};
"""
OF_BOARD = ["9010000.pl031", "rtc-pl031"]
WHOSE = "D=/sys/class/rtc/rtc0/device; basename -a $(readlink -f $D $D/driver)"
STATE = "cat /proc/sys/kernel/random/boot_id; find /boot /var/lib/vtool 2>/dev/null | sort | sha256sum"


def shown(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["what"]: row["seen"] for row in rows if row["subject"] == f"device {RTC}" and row["proven"]}


@pytest.mark.parametrize("example", ["xen-passthrough", "dom0less-passthrough"])
def test_the_guest_drives_the_clock_and_dom0_does_not(example: str, bench: Bench, tmp_path: Path) -> None:
    topology = EXAMPLES / f"{example}.yaml"
    report = bench.deploy(topology)
    assert shown(report["rows"]) == SHOWN
    assert "'intids': [34]" in str(report["plan"]), report["plan"]  # as the board's own tree says
    assert shown(bench.verify(topology)) == SHOWN
    assert bench.ssh("ls /sys/class/rtc") == ""
    # Whoever drives the board next has it again: dom0 without that guest, or what the board came with.
    if example == "xen-passthrough":
        bench.deploy(without_device(topology, tmp_path))
    else:
        bench.vtool("down", topology)
    kind = bench.ssh("cat /sys/hypervisor/type 2>/dev/null || echo none").strip()
    assert kind == ("xen" if example == "xen-passthrough" else "none")
    assert bench.ssh(WHOSE).split() == OF_BOARD
    assert bench.ssh(f"cat /proc/device-tree{RTC}/status 2>/dev/null || echo okay") == "okay\n"


def without_device(topology: Path, folder: Path) -> Path:
    lines = topology.read_text().splitlines(keepends=True)
    path = folder / topology.name
    path.write_text("".join(line for line in lines if RTC not in line and line != "    xen:\n"))
    return path


def test_what_cannot_be_passed_through_is_refused_before_anything_changes(bench: Bench, tmp_path: Path) -> None:
    example = EXAMPLES / "xen-passthrough.yaml"
    bench.deploy(example)
    before = bench.ssh(STATE)
    disk = bench.ssh("readlink -f /sys/block/vda/device/../of_node").strip().rpartition("/base")[2]
    (tmp_path / "other.dtb").write_bytes(compiled(OTHER))
    other = f"    device_tree: other.dtb\n    passthrough: [{RTC}]"
    cases = (
        ("VT497", f"needs '{disk}' itself", RTC, disk),
        ("VT417", "has no node '/pl031@9019000'", RTC, "/pl031@9019000"),
        ("VT496", f"where '{RTC}' is", f"    passthrough: [{RTC}]", other),
    )
    topology = tmp_path / "case.yaml"
    for code, words, written, instead in cases:
        topology.write_text(example.read_text().replace(written, instead))
        report = bench.deploy(topology, code=3)
        assert code in str(report) and words in str(report), report
        assert bench.ssh(STATE) == before


def compiled(source: str) -> bytes:
    return subprocess.run(["dtc", "-q", "-O", "dtb"], input=source.encode(), capture_output=True, check=True).stdout
