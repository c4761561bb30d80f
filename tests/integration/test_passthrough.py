"""A device of the emulated board in guests of Xen: its real-time clock, which dom0 then has not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import EXAMPLES, Bench

pytestmark = [pytest.mark.board, pytest.mark.long]
RTC = "/pl031@9010000"
SHOWN = {"'dom0' leaves it alone": "disabled, no driver", "a driver of 'fe0' has it": "rtc-pl031"}
STATE = "cat /proc/sys/kernel/random/boot_id; find /boot /var/lib/vtool 2>/dev/null | sort | sha256sum"


def shown(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["what"]: row["seen"] for row in rows if row["subject"] == f"device {RTC}" and row["proven"]}


@pytest.mark.parametrize("example", ["xen-passthrough", "dom0less-passthrough"])
def test_the_guest_drives_the_clock_and_dom0_does_not(example: str, bench: Bench) -> None:
    topology = EXAMPLES / f"{example}.yaml"
    report = bench.deploy(topology)
    assert shown(report["rows"]) == SHOWN
    assert "'intids': [34]" in str(report["plan"]), report["plan"]  # as the board's own tree says
    assert shown(bench.verify(topology)) == SHOWN
    assert bench.ssh("ls /sys/class/rtc") == ""


def test_a_disk_that_the_board_itself_needs_is_refused_before_anything_changes(bench: Bench, tmp_path: Path) -> None:
    bench.deploy(EXAMPLES / "xen-passthrough.yaml")
    before = bench.ssh(STATE)
    disk = bench.ssh("readlink -f /sys/block/vda/device/../of_node").strip().rpartition("/base")[2]
    topology = tmp_path / "case.yaml"
    topology.write_text((EXAMPLES / "xen-passthrough.yaml").read_text().replace(RTC, disk))
    report = bench.deploy(topology, code=3)
    assert "VT497" in str(report) and f"needs '{disk}' itself" in str(report), report
    assert bench.ssh(STATE) == before
