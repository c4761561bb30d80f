"""Runs that the tests of reports share: of topologies that are there, with numbers of a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.planned_runs import synthetic

MATRICES = Path(__file__).resolve().parents[2] / "topology" / "matrices"


@pytest.fixture(scope="session")
def kvm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic(tmp_path_factory.mktemp("runs") / "kvm", MATRICES / "kvm-paths.yaml", repetitions=6)


@pytest.fixture(scope="session")
def xen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic(tmp_path_factory.mktemp("runs") / "xen", MATRICES / "xen-paths.yaml", repetitions=3, seed=1)


@pytest.fixture(scope="session")
def page_file(kvm: Path, xen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from vtool.cli.main import main

    file = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["report", str(kvm), str(xen), "-o", str(file)]) == 0
    return file
