"""docs/reference/failure-catalogue.md: every case that it names is there and is found, and its sums are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bases.test_bases import REFUSED
from tests.errors.test_errors import found_in
from tests.lint.test_lint import version_of
from vtool.board.dts import read_tree
from vtool.diagnostics.codes import every_code
from vtool.lint import lint

CODES = every_code()
ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "reference" / "failure-catalogue.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| what fails |")
]
TOPOLOGIES = sorted({case for row in ROWS for case in re.findall(r"`(VT\d{3}-[^`]+)`", row[1])})
TREES = sorted({case for row in ROWS for case in re.findall(r"`(VT\d{3}-[^`]+)`", row[2])})
ELSEWHERE = sorted({pair for row in ROWS for pair in re.findall(r"`(VT\d{3})` \((\w+\.py)\)", row[1])})


@pytest.mark.parametrize("case", TOPOLOGIES)
def test_the_topology_is_found(case: str) -> None:
    assert case[:5] in {found.code for found in found_in(ROOT / "tests" / "errors" / f"{case}.yaml")}


@pytest.mark.parametrize("case", TREES)
def test_the_tree_is_found(case: str) -> None:
    path = ROOT / "tests" / "lint" / f"{case}.dts"
    if not path.exists():
        assert ROOT / "tests" / "bases" / f"{case}.dts" in REFUSED  # which test_bases.py runs
        return
    assert case[:5] in {found.code for found in lint(read_tree(path), version_of(path))[1]}


def test_what_other_tests_find_is_in_them() -> None:
    assert all(code in (ROOT / "tests" / "errors" / name).read_text() for code, name in ELSEWHERE)


def test_every_row_has_a_case_or_a_reason_and_only_codes_that_exist() -> None:
    assert all(len(row) == 4 and (row[1] or row[2] or row[3]) for row in ROWS)
    assert set(re.findall(r"VT\d{3}", TEXT)) <= set(CODES)


def test_its_sums_are_right() -> None:
    found, trees = sum(bool(row[1]) for row in ROWS), sum(bool(row[2]) for row in ROWS)
    neither = sum(not row[1] and not row[2] for row in ROWS)
    assert f"{len(ROWS)} entries: {found} found in topologies, {trees} in device trees, {neither} in neither." in TEXT
