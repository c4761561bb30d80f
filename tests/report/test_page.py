"""The page as text: what is on it, that it is the same each time, and that no name becomes markup."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.planned_runs import synthetic
from tests.report.conftest import matrix
from vtool.cli.main import main
from vtool.report.measured.page import page
from vtool.results.records import RECORD, Clock, Environment, Record
from vtool.results.run_folder import read_run

ROOT = Path(__file__).resolve().parents[2]
NASTY = (
    "<script>alert(1)</script>\"><img src=x onerror=alert(2)>'{{ 7*7 }}{% x %}$\\alpha$]]>&amp;"
    "\x07\x1b[31m</svg></style>"
)


class Elements(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def text(page_file: Path) -> str:
    return page_file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def elements(text: str) -> Elements:
    return Elements(text)


def test_everything_that_a_report_has_to_say_is_there(elements: Elements) -> None:
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids)), "an id is there once"
    assert {"costs", "plots", "reach", "topologies", "fingerprint", "again", "not"} <= set(ids)
    said = elements.text
    for words in (
        "What does it cost when a backend reaches less of a guest’s memory?",
        "region pool0 (16MiB)", "granted pages",  # as observed
        "19 % worse", "too few repetitions (3)",
        "vtool bench --matrix", "caches, TLBs, IOMMUs, the bandwidth of memory, and DMA",
        "does not count, tool-failed", "nobody reaches its shell",
    ):  # fmt: skip
        assert words in said, words
    assert "\ufffd" not in said
    assert len([a for a in elements.of("svg") if a.get("class") == "plot"]) == 30
    assert len([a for a in elements.of("svg") if a.get("class") == "vtool-map"]) >= 20


def test_every_table_and_plot_of_numbers_says_what_its_seconds_are(text: str) -> None:
    figures = re.findall(r"<figure>.*?</figure>", text, re.DOTALL)
    lacks = ("emulated: instructions, without caches, TLBs,", "IOMMUs, the bandwidth of memory, and DMA")
    assert len(figures) == 30
    assert all(figure.count(words) == 2 for figure in figures for words in lacks), "seen, and told"
    captions = re.findall(r'<p class="caption"[^>]*>(.*?)</p>', text, re.DOTALL)
    of_numbers = [one for one in captions if one.startswith(("Mean", "Every cell", "Each data path", "What was seen"))]
    assert len(of_numbers) > 10 and all("emulated: instructions" in one for one in of_numbers)
    assert all("It leaves out caches, TLBs" in one for one in of_numbers if not one.startswith("What"))


def test_no_two_words_of_a_plot_lie_on_each_other(text: str) -> None:
    for plot in re.findall(r'<svg viewBox="[^"]*" class="plot".*?</svg>', text, re.DOTALL):
        places = [tuple(re.findall(r' (?:x|y|transform)="([^"]*)"', word)) for word in re.findall(r"<text[^>]*>", plot)]
        assert len(places) > 5 and len(set(places)) == len(places)


def test_the_page_asks_the_network_for_nothing(elements: Elements, text: str) -> None:
    (policy,) = [a["content"] for a in elements.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy and policy.startswith("default-src 'none'; ") and "unsafe-inline'; script-src 'sha256-" in policy
    assert not elements.of("link") and not elements.of("img") and not elements.of("iframe")
    links = [a.get("href") for tag, a in elements.found if "href" in a]
    assert links and all(link and link.startswith("#") for link in links)
    assert not re.search(r"url\((?!#)", text)


def test_the_same_runs_make_the_same_bytes(kvm: Path, xen: Path, page_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.html"
    command = [sys.executable, "-m", "vtool.cli.main", "report", str(kvm), str(xen), "-o", str(other)]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    assert other.read_bytes() == page_file.read_bytes()


def nasty(record: Record) -> Record:
    """Put markup into every text of a record that its shape leaves free."""
    plain = record.model_dump(mode="json")
    names = {"name", "workload", "why", "subject", "what", "expected", "seen", "vtool", "device", "data_path", "source",
             "type", "hypervisor", "board", "frontend", "baseline", "tool"}  # fmt: skip

    def changed(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: changed(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [changed(one, key) for one in value]
        is_metric = key == "name" and value in METRICS
        return f"{value}{NASTY}" if isinstance(value, str) and key in names and not is_metric else value

    plain = changed(plain)
    for workload in plain.get("workloads", []):
        workload["id"] += NASTY
        workload["parameters"]["pattern"] = NASTY
    for cell in plain.get("cells", []):
        cell["baseline"] = cell["baseline"] and cell["baseline"].removesuffix(NASTY)
    if "facts" in plain:
        plain["facts"] = {f"{key}{NASTY}": f"{value}{NASTY}" for key, value in plain["facts"].items()}
    return RECORD.validate_python(plain, strict=False)


METRICS = {
    *("throughput", "requests", "cpu", "cpu_user", "cpu_system", "memory", "exits", "interrupts", "pool_full"),
    *("pool_high_water", "cpu_of_domain"),
    *(f"latency_{what}" for what in ("mean", "p50", "p90", "p95", "p99", "p99.9", "max")),
}


def test_no_name_becomes_markup(tmp_path: Path, kvm: Path, matrices: dict[str, Path]) -> None:
    run = read_run(synthetic(tmp_path / "run", matrices["kvm"], repetitions=6, change=nasty))
    file = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "run"), "-o", str(file)]) == 0
    found, plain = Elements(file.read_text(encoding="utf-8")), Elements(page([read_run(kvm)], []))
    assert len(found.of("script")) == 1 and not found.of("img")
    assert not [name for _, attributes in found.found for name in attributes if name.startswith("on")]
    assert {tag for tag, _ in found.found} <= {tag for tag, _ in plain.found} | {
        "polygon",
        "ellipse",
        "polyline",
        "line",
    }
    assert (
        "\x07" not in found.text and "\x1b" not in found.text and "{{ 7*7 }}" in found.text and "49" not in run.run.name
    )


def test_topologies_that_changed_or_are_gone_are_not_shown(tmp_path: Path, matrices: dict[str, Path]) -> None:
    def elsewhere(record: Record) -> Record:
        if record.record != "run":
            return record
        first, second, *others = record.variants
        gone = first.model_copy(update={"topology": "/nowhere/pair.yaml"})
        changed = second.model_copy(update={"digest": "1" * 64})
        return record.model_copy(update={"variants": (gone, changed, *others)})

    synthetic(tmp_path / "run", matrices["kvm"], repetitions=1, change=elsewhere)
    assert main(["report", str(tmp_path / "run"), "-o", str(tmp_path / "r.html")]) == 0
    said = Elements((tmp_path / "r.html").read_text()).text
    assert "Its file is not here: /nowhere/pair.yaml." in said
    assert "Its files are not those that were measured any more." in said


def test_without_graphviz_the_page_says_so(kvm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["report", str(kvm), "-o", str(tmp_path / "r.html")]) == 0
    assert "There is no graph: 'dot' is not installed" in (tmp_path / "r.html").read_text().replace("&#39;", "'")


def test_what_there_is_no_room_for_is_said(kvm: Path) -> None:
    said = page([read_run(kvm)], [], most_plots=5)
    assert said.count('class="plot"') == 5 and "1 of 5 workloads are drawn" in said
    assert said.count("<summary>The numbers as a table</summary>") == 5, "all are tables"


def test_a_run_without_repetitions_is_a_page(tmp_path: Path, kvm: Path) -> None:
    (tmp_path / "run.jsonl").write_bytes((kvm / "run.jsonl").read_bytes().split(b"\n")[0] + b"\n")
    said = page([read_run(tmp_path)], [])
    assert "nothing was measured" in said and "not measured yet: 6 of 6 repetitions" in said


def test_boards_are_those_that_measured_not_those_that_they_stood_for(
    tmp_path: Path, matrices: dict[str, Path]
) -> None:
    def elsewhere(record: Record) -> Record:
        return record.model_copy(update={"board": "rack7"}) if isinstance(record, Environment) else record

    run = read_run(synthetic(tmp_path, matrices["kvm"], repetitions=1, change=elsewhere))
    assert "rack7, KVM" in Elements(page([run], [])).text


@pytest.mark.parametrize("clock", [Clock.REAL, Clock.EMULATED])
def test_other_clocks(tmp_path: Path, matrices: dict[str, Path], clock: Clock) -> None:
    said = page([read_run(synthetic(tmp_path, matrices["kvm"], clock=clock, repetitions=6))], [])
    assert ("emulated" in Elements(said).text.partition("Measured on")[0]) is (clock is Clock.EMULATED)
    assert ("% worse" in said) is (clock is Clock.REAL), "times that mean nothing are not compared"
    assert "MiB/s" in said


def test_a_model_is_shown_where_there_is_one(tmp_path: Path, kvm: Path) -> None:
    assert "There is none: a model is fitted" in page([read_run(kvm)], [])
    sizes = ["4KiB", "16KiB", "64KiB", "256KiB", "1MiB"]
    disk = {"tool": "fio", "device": "disk0", "pattern": "randread", "block_size": sizes}
    said = page([read_run(synthetic(tmp_path, matrix(tmp_path, "kvm", {"disk": disk}), repetitions=6))], [])
    part = said.partition('<section id="model"')[2].partition("</section>")[0]
    assert part.count('class="plot"') == 2 and "KVM, disk0: fio pattern=randread" in part
    assert re.search(r"mapping from \d+\.\d+ KiB on <small>95 % interval", part), "a pool copies, a vIOMMU maps"
    assert re.search(
        r"pool, 64 KiB: [\d.]+ k instructions measured, [\d.]+ by the model: \d+ % by request, \d+ % by byte", part
    )
    assert "emulated: instructions" in part and "Whether a model holds for payloads that were not measured" in said


def test_two_clocks_never_share_a_table(tmp_path: Path, matrices: dict[str, Path], kvm: Path) -> None:
    real = synthetic(tmp_path, matrices["xen"], clock=Clock.REAL, repetitions=6, seed=3)
    said = page([read_run(kvm), read_run(real)], [])
    tables = re.findall(r'<p class="caption" id="(?:paths|cells)\d-caption">.*?</table>', said, re.DOTALL)
    assert len(tables) == 4
    assert [("emulated" in one, ">Xen<" in one, ">KVM<" in one) for one in tables] == [
        (False, True, False), (False, True, False), (True, False, True), (True, False, True),
    ]  # fmt: skip


@pytest.mark.parametrize("value", [0.0, -3.5, 1e-300, 1.7e308, 5e-324])
@pytest.mark.parametrize("payload", [4096, 0, -1, "many", 4096.5])
def test_no_number_is_too_odd(
    tmp_path: Path, matrices: dict[str, Path], value: float, payload: int | str | float
) -> None:
    """What a run folder may hold by its schema is shown, however little sense it makes."""

    def odd(record: Record) -> Record:
        if record.record == "run":
            told = [
                one.model_copy(update={"parameters": {**one.parameters, "block_size": payload, "length": payload}})
                for one in record.workloads
            ]
            return record.model_copy(update={"workloads": tuple(told)})
        if record.record == "repetition" and record.number % 2:
            metrics = tuple(replace(metric, value=value) for metric in record.metrics)
            costs = tuple(replace(cost, value=value) for cost in record.costs)
            return record.model_copy(update={"metrics": metrics, "costs": costs})
        return record

    run = read_run(synthetic(tmp_path, matrices["xen"], repetitions=6, change=odd))
    said = page([run], [])
    assert (
        "\ufffd" not in said
        and "What each path costs" in said
        and "nan" not in said.partition("<script>")[0].replace("finance", "")
    )


def test_every_row_says_by_what_its_path_is_served_and_what_it_is_compared_with(text: str) -> None:
    """The synthetic runs compare paths that QEMU serves with shared RAM by daemons: of two programs."""
    paths = re.search(r'<table id="paths1".*?</table>', text, re.DOTALL)
    assert paths
    headings = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", paths[0])
    assert headings[:2] == ["Data path", "Served by"] and "Against" in headings
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in paths[0].split("<tr>")[2:]]
    of = {(row[0].split(" <small")[0], row[3]): dict(zip(headings, row, strict=True)) for row in rows if "KVM" in row}
    assert of["viommu", "networks"]["Served by"] == "qemu <small>pci</small>"
    assert of["viommu", "networks"]["Against"] == "shared-ram <small>by passt: another program</small>"
    assert of["pool", "disks"]["Against"] == "shared-ram" and of["shared-ram", "disks"]["Against"] == "–"
    assert "cells are served by another program than their baseline" in text
    cells = re.search(r'<table id="cells1".*?</table>', text, re.DOTALL)
    assert cells and "Served by" in cells[0] and "another program" in cells[0]


def test_a_run_that_is_not_finished_or_cannot_decide_says_so_at_its_head(kvm: Path, xen: Path, text: str) -> None:
    assert "its differences: cannot decide with 3 repetitions: needs at least 6" in text.lower()
    run = read_run(kvm)
    whole = page([run], [])
    assert "unfinished<" not in whole and f"all {run.planned} repetitions count" in whole
    part = page([replace(run, repetitions=run.repetitions[:-7])], [])
    assert f"<strong>unfinished</strong>: {run.planned - 7} of {run.planned} repetitions are there" in part


def test_a_baseline_that_has_one_is_compared_with_it(kvm: Path) -> None:
    """Not shown as the baseline, which would hide what its program costs."""
    run = read_run(kvm)
    cells = run.run.cells
    of_pool = {cell.workload: cell.id for cell in cells if cell.variant == "topology=pool"}
    chained = tuple(
        cell.model_copy(update={"baseline": of_pool[cell.workload]}) if cell.variant == "topology=viommu" else cell
        for cell in cells
    )
    said = page([replace(run, run=run.run.model_copy(update={"cells": chained}))], [])
    table = re.search(r'<table id="paths1".*?</table>', said, re.DOTALL)
    assert table
    pool = next(row for row in table[0].split("<tr>") if ">pool <small" in row and "disks" in row)
    assert "the baseline" not in pool and "worse" in pool
    assert "<dd>topology shared-ram; by path: shared-ram, pool</dd>" in said
    assert "<dd>topology shared-ram</dd>" in page([run], [])
