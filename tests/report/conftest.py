"""Runs that the tests of reports share: of topologies that are there, with numbers of a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.planned_runs import synthetic
from vtool.cli.main import main

EXAMPLES = Path(__file__).resolve().parents[2] / "topology" / "examples"
WORKLOADS = {
    "disk": {"tool": "fio", "device": "disk0", "pattern": ["randread", "randwrite"], "block_size": ["4KiB", "64KiB"]},
    "net-stream": {"tool": "iperf3", "device": "net0", "direction": ["send", "receive"]},
    "net-ping": {"tool": "sockperf", "device": "net0", "length": [64, 4096]},
}
PATHS = {
    "kvm": {
        "shared-ram": "kvm-shared-ram", "pool": "kvm-pool-daemons", "pool-in-ram": "kvm-pool-in-ram",
        "viommu": "kvm-viommu", "ring": "kvm-ring",
    },
    # Nobody reaches the shell of a guest that Xen builds at boot, as that of the pool.
    "xen": {"shared-ram": "xen-foreign", "grant": "xen-grant", "pv": "xen-pv", "pool": "xen-pool"},
}  # fmt: skip


def matrix(folder: Path, hypervisor: str, workloads: Any = WORKLOADS) -> Path:
    """Write a matrix of a hypervisor's paths."""
    topologies = {name: {"file": str(EXAMPLES / f"{file}.yaml")} for name, file in PATHS[hypervisor].items()}
    said = {"version": 1, "name": f"{hypervisor}-paths", "topologies": topologies, "workloads": workloads}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "matrix.yaml"
    path.write_text(json.dumps(said | {"baseline": {"topology": "shared-ram"}}))
    return path


@pytest.fixture(scope="session")
def matrices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: matrix(tmp_path_factory.mktemp(name), name) for name in PATHS}


@pytest.fixture(scope="session")
def kvm(tmp_path_factory: pytest.TempPathFactory, matrices: dict[str, Path]) -> Path:
    return synthetic(tmp_path_factory.mktemp("runs") / "kvm", matrices["kvm"], repetitions=6)


@pytest.fixture(scope="session")
def xen(tmp_path_factory: pytest.TempPathFactory, matrices: dict[str, Path]) -> Path:
    return synthetic(tmp_path_factory.mktemp("runs") / "xen", matrices["xen"], repetitions=3, seed=1)


@pytest.fixture(scope="session")
def page_file(kvm: Path, xen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["report", str(kvm), str(xen), "-o", str(file)]) == 0
    return file
