"""A benchmark on a board: killed, cut off and gone on with, its numbers count and its path is proven."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vtool.results.records import Side, Void
from vtool.results.run_folder import RunRead, read_run

from .conftest import EXAMPLES, Bench

pytestmark = [pytest.mark.board, pytest.mark.long]
POOL = "regions.pool0={size: 16MiB, owner: fe0, borrowers: [host], use: restricted-dma-pool}"
MATRIX = {
    "version": 1,
    "name": "on-a-board",
    "topologies": {"base": {"file": str(EXAMPLES / "kvm-shared-ram.yaml")}},
    "axes": {
        "tools": {"choices": {"in-ramdisk": {"set": ["domains.fe0.ramdisk=vtool:bench-initramfs"]}}},
        "path": {
            "choices": {
                "shared-ram": {},
                "pool": {
                    "set": [POOL]
                    + [f"devices.{name}.data_path=pool" for name in ("disk0", "net0", "share0")]
                    + [f"devices.{name}.region=pool0" for name in ("disk0", "net0", "share0")]
                },
            }
        },
    },
    "baseline": {"path": "shared-ram"},
    "workloads": {
        "disk": {"tool": "fio", "device": "disk0", "pattern": "randwrite", "seconds": 1, "warmup_s": 1},
        "stream": {"tool": "iperf3", "seconds": 1, "warmup_s": 1},
        "ping": {"tool": "sockperf", "seconds": 1, "warmup_s": 1},
        "copy": {"tool": "mbw", "where": "board", "runs": 3},
    },
    "repetitions": 1,
}


@pytest.fixture
def deployed(bench: Bench) -> Iterator[Bench]:
    """The board, which a benchmark leaves with what it measured last; other tests want one as it came."""
    yield bench
    bench.vtool("board", "destroy")


def until(bench: Bench, words: list[str], measured: int, what: int | None) -> int:
    """Run a benchmark; after so many lines of what was measured kill it, or the board with ``what`` is None."""
    with subprocess.Popen(
        bench.command(*words), env=bench.environment, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            measured -= line.startswith("  measured")
            if measured == 0:
                pid = running.pid if what is not None else int((bench.board_folder / "qemu.pid").read_text())
                os.kill(pid, what if what is not None else signal.SIGKILL)
                measured = -1
        return running.wait(1800)


def test_a_run_that_is_killed_and_a_board_that_is_cut_off_cost_one_repetition_each(
    deployed: Bench, tmp_path: Path
) -> None:
    bench = deployed
    (tmp_path / "m.yaml").write_text(json.dumps(MATRIX))
    words = ["bench", "--matrix", str(tmp_path / "m.yaml"), "-o", str(tmp_path / "run")]
    assert until(bench, words, 1, signal.SIGKILL) == -signal.SIGKILL
    assert "logingracetime 0\n" in bench.ssh("sshd -T"), "a clock that runs ahead cuts nobody off who logs in"
    before = read_run(tmp_path / "run")
    assert len(before.repetitions) == 1 and not before.ended
    assert until(bench, words, 2, None) == 0
    run = read_run(tmp_path / "run")
    assert run.repetitions[:1] == before.repetitions and not run.missing() and not run.torn
    assert [one.void for one in run.repetitions].count(Void.BOARD_LOST) == 1
    _counts(run)


def _counts(run: RunRead) -> None:
    for cell in run.run.cells:
        (one,) = run.sound(cell.id)
        assert one.before and one.after and not one.before.failed and not one.after.failed and one.metrics
        costs = {(cost.side, cost.name): cost.value for cost in one.costs}
        assert all(value >= 0 for value in costs.values()), costs
        assert run.environments[one.environment or ""].facts["kernel.release"]
        if cell.type:
            assert costs[Side.BACKEND, "cpu"] > 0 and costs[Side.FRONTEND, "cpu"] > 0
            # A share of time, of a second here: `make bench-paths` says it of whole cells, in instructions.
            assert 0 <= one.conditions["harness_share"] <= 1, one.conditions
            assert costs[Side.HYPERVISOR, "exits"] > 0 and (one.work.bytes or 0) > 0
            assert ((Side.FRONTEND, "pool_high_water") in costs) is (cell.data_path == "pool")
