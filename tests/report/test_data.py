"""The data: a row for each number, the same in CSV and Parquet, with the columns that the page of the format names."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from pyarrow import parquet

from vtool.cli.main import main
from vtool.report.measured.data import COLUMNS
from vtool.results.run_folder import read_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rows(kvm: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    file = tmp_path_factory.mktemp("csv") / "data.csv"
    assert main(["report", str(kvm), "--csv", str(file)]) == 0
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_there_is_a_row_for_each_number(rows: list[dict[str, str]], kvm: Path) -> None:
    run = read_run(kvm)
    wanted = [
        (one.cell, str(one.number), kind, number.name, number.unit, number.value)
        for one in run.repetitions
        for kind, numbers in (("metric", one.metrics), ("cost", one.costs))
        for number in numbers
    ]
    told = [(r["cell"], r["number"], r["kind"], r["name"], r["unit"], float(r["value"])) for r in rows if r["kind"]]
    assert told == wanted, "to the last digit"
    (void, *_) = [row for row in rows if not row["kind"]]
    assert void["void"] == "tool-failed" and void["why"] and void["value"] == ""
    assert all(row["emulated"] == "emulated: instructions" and row["clock"] == "instructions" for row in rows)


def test_parquet_has_the_same_rows(rows: list[dict[str, str]], kvm: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert main(["report", str(kvm), "--parquet", str(tmp_path / name)]) == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    table = parquet.read_table(tmp_path / "one")
    assert table.column_names == list(COLUMNS) == list(rows[0])
    told = [{key: "" if value is None else str(value) for key, value in row.items()} for row in table.to_pylist()]
    assert told == rows


def test_the_page_names_every_column() -> None:
    page = (ROOT / "docs/reference/bench-format.md").read_text().partition("## The data as a table")[2]
    assert re.findall(r"^\| `(\w+)`", page, re.MULTILINE) == list(COLUMNS)


def test_no_text_is_a_formula(kvm: Path, tmp_path: Path) -> None:
    text = (kvm / "run.jsonl").read_text().replace("vtool-backend.service cpu.stat", "=HYPERLINK(1)")
    (tmp_path / "run.jsonl").write_text(text)
    assert main(["report", str(tmp_path), "--csv", str(tmp_path / "data.csv")]) == 0
    said = (tmp_path / "data.csv").read_text()
    assert ",'=HYPERLINK(1)" in said and ",=HYPERLINK" not in said
