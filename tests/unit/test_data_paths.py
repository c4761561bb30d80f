"""The packages of data paths: their parts are found whoever comes first, and what is deployed has a proof."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vtool.cli.common import prepare
from vtool.data_paths import DataPath, modules
from vtool.deploy.proof import proofs
from vtool.deploy.proof.paths import PathProof
from vtool.model.combinations import Combination, combination_of, combinations
from vtool.model.lookup import Lookup
from vtool.plan.types import BoardPlan

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "topology/examples").glob("*.yaml"))
TOPOLOGIES = (*EXAMPLES, *(ROOT / f"tests/topologies/{name}.yaml" for name in ("dom0less-pool", "kvm-shared-region")))


def printed(program: str, vtool: Path = ROOT) -> str:
    """Run a program in a process that has imported nothing of the vtool in a folder."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=vtool).stdout


def test_rules_are_run_also_where_their_module_was_imported_first() -> None:
    program = """
import vtool.data_paths.ring.rules as rules
from vtool.check import layers
print(any(rules.ends_can_meet in layer for layer in layers()))
"""
    assert printed(program) == "True\n"


def test_a_kept_proof_finds_the_judges_of_a_path_that_nothing_imported() -> None:
    row = {"subject": "s", "what": "w", "steps": [], "judge": {"judge": "ring-maps", "step": "x", "expected": "y"}}
    program = f"""
import json
from vtool.deploy.proof.saved import from_json
proof, = from_json(json.dumps({{"format": 1, "steps": [], "rows": [{row!r}]}}))
print(type(proof.judge).__name__)
"""
    assert printed(program) == "RingMaps\n"


def test_validating_imports_no_proof() -> None:
    program = f"""
import sys
from vtool.cli.main import main
code = main(["validate", {str(EXAMPLES[0])!r}])
print(code, [name for name in sys.modules if "proof" in name and name.startswith("vtool.")])
"""
    assert printed(program).endswith("0 []\n")


def planned(topology: Path) -> tuple[dict[str, Combination], list[BoardPlan]]:
    """Return the devices of a topology that vtool deploys, and its boards."""
    prepared = prepare(topology)
    lookup, boards = Lookup(prepared.topology), prepared.topology.boards
    rows = {
        n: combination_of(boards[lookup.board_of[d.frontend]].hypervisor.kind, d)
        for n, d in prepared.topology.devices.items()
    }
    return {name: row for name, row in rows.items() if row is not None and row.deployed}, list(prepared.plan.boards)


def moved(boards: list[BoardPlan]) -> set[str]:
    """Return the devices of which a row takes bytes for proof."""
    found = [proof for board in boards for proof in proofs(board)]
    return {p.subject.removeprefix("device ") for p in found if "size_bytes" in type(p.judge).model_fields}


@pytest.fixture(scope="module")
def topologies() -> list[tuple[dict[str, Combination], list[BoardPlan]]]:
    return [planned(path) for path in TOPOLOGIES]


@pytest.mark.parametrize("path", DataPath, ids=lambda path: path.value)
def test_what_is_deployed_is_proven_by_the_package_of_its_path(
    path: DataPath,
    topologies: list[tuple[dict[str, Combination], list[BoardPlan]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An IOMMU has no data of its own: that it translates is shown of what is behind it."""
    wanted = {row for row in combinations() if row.deployed and row.data_path is path and row.type != "iommu"}
    with_it = [{devices[n] for n in moved(boards) if n in devices} for devices, boards in topologies]
    assert wanted and wanted <= set().union(*with_it)
    monkeypatch.setattr(modules("proof")[path.value], "PROOF", PathProof())
    without = [{devices[n] for n in moved(boards) if n in devices} for devices, boards in topologies]
    assert not wanted & set().union(*without)


def test_what_calls_itself_deployed_has_a_proof() -> None:
    said = {path for path in DataPath if any(s.deployed for s in (*path.traits.kvm, *path.traits.xen))}
    assert said == {path for path in DataPath if path.has_proof}


def test_a_path_without_a_proof_is_not_deployed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "vtool", tmp_path / "vtool", ignore=shutil.ignore_patterns("__pycache__"))
    program = f"""
from pathlib import Path
from vtool.check.deployable import not_deployable
from vtool.model.validate import validate
from vtool.reading.source import load
document = load(Path({str(ROOT / "topology/examples/kvm-ring.yaml")!r}))
for finding in not_deployable(document, validate(document)):
    print(finding.code, finding.message)
"""
    assert printed(program, tmp_path) == ""
    (tmp_path / "vtool/data_paths/ring/proof.py").unlink()
    by_ring = "with ring over shared-memory by vtool-ring) cannot be deployed yet"
    assert printed(program, tmp_path) == f"VT714 device 'disk0' (blk {by_ring}\nVT714 device 'net0' (net {by_ring}\n"
