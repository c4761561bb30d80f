"""A sample of ``make paths``: what is deployed through a pool is proven, by data and by what the backends can reach."""

from __future__ import annotations

import json

import pytest

from tests.paths.__main__ import run
from vtool.data_paths import HYPERVISORS, rows
from vtool.model.combinations import combinations
from vtool.report.paths import BACKEND, GUEST, PROVEN, choices_of, deployed

from .conftest import EXAMPLES, Bench


@pytest.mark.board
def test_daemons_behind_a_pool_are_proven(bench: Bench) -> None:
    found = list(run(bench, EXAMPLES / "kvm-pool-daemons.yaml"))
    assert [(line[0], line[-1]) for line, _ in found] == [("pool", "proven")] * 3
    for _, entry in found:
        assert entry["bytes_checked"] == 2 << 20 and entry["reach"].startswith("region pool0 (16MiB): secret not found")


def test_what_is_said_to_be_deployed_is_recorded_as_proven() -> None:
    recorded = json.loads(PROVEN.read_text())
    choices = [choices_of(c) for c in combinations() if c.deployed and c.type != "iommu"]
    by_a_guest = [
        {**choices_of(c), BACKEND: GUEST}
        for row in rows()
        for hypervisor in HYPERVISORS
        for c in deployed(row, hypervisor)
        if row.by_a_guest
    ]
    of_others = [entry for entry in recorded if BACKEND not in entry]
    assert all(any(entry.items() >= choice.items() for entry in of_others) for choice in choices)
    assert len(of_others) == len(choices)
    # What a guest serves has entries of its own, once `make paths` recorded them.
    assert all(any(entry.items() >= choice.items() for choice in by_a_guest) for entry in recorded if BACKEND in entry)
