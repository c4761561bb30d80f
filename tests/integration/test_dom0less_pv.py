"""PV disks and networks of guests that Xen started: attached while they run, proven, lost, found to be lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import ROOT, Bench

pytestmark = [pytest.mark.board, pytest.mark.long]


def test_what_xl_attaches_is_used_by_its_guest(bench: Bench, tmp_path: Path) -> None:
    topology = tmp_path / "t.yaml"
    topology.write_text((ROOT / "tests" / "topologies" / "dom0less-pv.yaml").read_text())
    report = bench.deploy(topology)
    for row in report["rows"]:
        print(row["subject"], "|", row["what"], "|", row["seen"])
    assert not [row for row in report["rows"] if not (row["proven"] or row["noted"])]
    of = {row["subject"] for row in report["rows"] if row["proven"]}
    assert {"device disk0", "device net0", "device net1"} <= of
    # Behind vtool's back.
    bench.ssh("systemctl stop vtool-attach-net0.service")
    lost = {row["subject"] for row in bench.verify(topology, code=3) if not (row["proven"] or row["noted"])}
    assert "device net0" in lost and "device disk0" not in lost
    assert bench.deploy(topology)["proven"]
    bench.vtool("down", topology)
    assert bench.ssh("ls /var/lib/vtool 2>/dev/null; true") == ""
