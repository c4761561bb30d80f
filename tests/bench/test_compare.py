"""vtool compare: cells of two runs are matched, compared in one thing at a time, and what is not compared is said."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.bench.synthetic_runs import FACTS, constant, read, records, written
from vtool.cli.main import main
from vtool.diagnostics import VtoolError
from vtool.results.changes import Verdict
from vtool.results.comparison import compare, comparison_json, comparison_schema
from vtool.results.fingerprint import AXES, difference
from vtool.results.records import Repetition, Run, Void
from vtool.results.regressions import RunRegression, regressions

ROOT = Path(__file__).resolve().parents[2]
SAME = constant({"pool": 0.8}, drift=0)
SLOWER = constant({"shared-ram": 1.0, "pool": 0.6}, drift=0)
OTHER_KERNEL = {**FACTS, "kernel.release": "6.18.3"}


def against(tmp_path: Path, was: list[Any], now: list[Any], *across: str, **options: Any) -> RunRegression:
    return regressions(read(tmp_path / "was", was), read(tmp_path / "now", now), across, **options)


def whys(found: RunRegression) -> set[str]:
    return {one.why for one in found.not_compared}


def test_a_regression_between_kernels_is_found(tmp_path: Path) -> None:
    found = against(tmp_path, records(SAME), records(SLOWER, seed=1, facts=OTHER_KERNEL))
    baseline, pool = found.cells
    assert {change.verdict for change in baseline.changes} == {Verdict.NONE_SHOWN} and not found.not_compared
    throughput = next(change for change in pool.changes if change.measure.label == "throughput")
    assert throughput.verdict is Verdict.WORSE and throughput.change == pytest.approx(0.25, abs=0.03)
    assert pool.axes == ("kernel",) and pool.facts == {"kernel.release": ("6.12.117", "6.18.3")}


def test_fewer_than_four_are_too_few(tmp_path: Path) -> None:
    for repetitions, verdict in ((3, Verdict.TOO_FEW), (4, Verdict.WORSE)):
        found = against(tmp_path, records(SAME, repetitions=repetitions),
                        records(constant({"pool": 0.1}), repetitions=repetitions))  # fmt: skip
        assert found.cells[1].changes[0].verdict is verdict


def test_several_things_at_once_are_not_compared_unless_asked_for(tmp_path: Path) -> None:
    now = records(SLOWER, facts={**OTHER_KERNEL, "vmm.version": "QEMU 11"})
    found = against(tmp_path, records(SAME), now)
    assert not found.cells and whys(found) == {"it differs in several things: kernel, vmm"}
    found = against(tmp_path, records(SAME), now, "kernel", "vmm")
    assert len(found.cells) == 2 and not found.not_compared
    found = against(tmp_path, records(SAME), now, "kernel")
    assert whys(found) == {"it differs in other things than kernel: vmm"}


@pytest.mark.parametrize(
    ("was", "now", "axes"),
    [
        ({"hypervisor.kind": "kvm"}, {"hypervisor.kind": "xen"}, ("hypervisor",)),
        ({"vmm.version": "1", "vmm.arguments": "-m 1", "device.features": "01"},
         {"vmm.version": "2", "vmm.arguments": "-m 2", "device.features": "11"}, ("vmm",)),
        ({"vmm.arguments": "-m 1"}, {"vmm.arguments": "-m 2"}, ("arguments",)),
        ({"topology.digest": "1", "hypervisor.kind": "kvm"}, {"topology.digest": "2", "hypervisor.kind": "xen"},
         ("hypervisor",)),
        ({"topology.digest": "1", "guest.command_line": "a"}, {"topology.digest": "2", "guest.command_line": "b"},
         ("topology",)),
        ({"cpu.governor": "a", "harness.machine": "x86_64"}, {"harness.machine": "aarch64"}, ()),
        ({"board.model": "a", "cpu.model": "a", "kernel.release": "1"},
         {"board.model": "b", "cpu.model": "b", "kernel.release": "2"}, ("board", "kernel")),
    ],
)  # fmt: skip
def test_what_follows_from_something_is_no_axis_of_its_own(
    was: Mapping[str, str], now: Mapping[str, str], axes: tuple[str, ...]
) -> None:
    one, other = ({name: frozenset([value]) for name, value in of.items()} for of in (was, now))
    assert difference(one, other).axes == axes and difference(one, one).axes == ()


def test_every_fact_of_a_fingerprint_has_an_axis() -> None:
    """By the page that names them all; else one that differs would not be seen."""
    page = (ROOT / "docs/reference/bench-format.md").read_text().split("## Environment")[1]
    named = [word.strip("`,.;\n ") for word in page.split("`")[1::2]]
    facts = [name for name in named if "." in name or name == "clocksource"]
    assert len(facts) > 20
    without = [name for name in facts if not any(name.startswith(begins) for begins in AXES.values())]
    assert without == ["harness.machine"]


def test_boards_are_compared_by_what_their_cells_lose(tmp_path: Path) -> None:
    def faster(random: np.random.Generator, variant: str, number: int) -> Any:
        metrics, costs = SAME(random, variant, number)
        return {name: value * (0.1 if "latency" in name else 10) for name, value in metrics.items()}, costs

    board = {**FACTS, "board.name": "board1", "board.facts": "rpi5"}
    found = against(tmp_path, records(SAME), records(faster, seed=1, facts=board))
    (pool,) = found.cells
    assert pool.relative and pool.axes == ("board",)
    throughput = pool.changes[0]
    assert throughput.reference == pytest.approx(0.8, abs=0.02) == throughput.value
    assert throughput.verdict is Verdict.NONE_SHOWN
    assert whys(found) == {"it can only be compared by its baseline, which it has not in both runs"}
    worse = against(tmp_path, records(SAME), records(SLOWER, facts=board)).cells[0].changes[0]
    assert worse.verdict is Verdict.WORSE and worse.change == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"clock": "instructions"}, "the clocks differ: instructions, real"),
        ({"parameters": {"depth": 32}}, "it is another workload: depth 1, 32"),
        ({"parameters": {"requests": 500}}, "it is another workload: requests None, 500"),
        ({"parameters": {"requests": 0}}, ""),  # of a newer vtool
        ({"workloads": 2, "axes": {"topology": ["pool"]}}, ""),
    ],
)
def test_what_is_not_the_same_is_not_compared(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    found = against(tmp_path, records(SAME), records(SAME, **changes))
    assert whys(found) == ({why} if why else set())


def test_cells_are_matched_by_the_axes_that_both_runs_have(tmp_path: Path) -> None:
    """A run of one topology names no axis in its cells, nor does it need to."""
    one = records(SAME, variants=("pool",))
    text = [line.model_dump_json().replace("topology=pool", "pool") for line in one]
    (tmp_path / "one").mkdir()
    (tmp_path / "one/run.jsonl").write_text("".join(f"{line}\n" for line in text))
    from vtool.results.run_folder import read_run

    found = regressions(read(tmp_path / "both", records(SAME)), read_run(tmp_path / "one"))
    assert [(cell.reference.id, cell.cell.id) for cell in found.cells] == [
        ("topology=pool/disk0@disk0", "pool/disk0@disk0")
    ]
    assert whys(found) == {f"'{tmp_path / 'one'}' has no such cell"}


def test_an_axis_that_one_run_alone_varies_matches_nothing(tmp_path: Path) -> None:
    lines = records(SAME, variants=("pool",))
    run = lines[0]
    assert isinstance(run, Run)
    twice = [cell.model_copy(update={"id": f"size={size},{cell.id}", "variant": f"size={size}"})
             for size in (8, 16) for cell in run.cells]  # fmt: skip
    sized = [run.variants[0].model_copy(update={"id": f"size={size}", "axes": {"topology": "pool", "size": f"{size}"}})
             for size in (8, 16)]  # fmt: skip
    axes = {"topology": ("pool",), "size": ("8", "16")}
    other = [run.model_copy(update={"cells": tuple(twice), "variants": tuple(sized), "axes": axes})]
    found = against(tmp_path, lines, [*other])
    assert whys(found) == {f"2 cells of '{tmp_path / 'now'}' are the same by the axes of both runs"}


@settings(max_examples=15, deadline=None)
@given(st.permutations([0, 1, 2]))
def test_the_order_of_the_other_runs_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    where = tmp_path_factory.mktemp("runs")
    first = read(where / "first", records(SAME))
    others = [read(where / str(seed), records(SLOWER, seed=seed, facts=OTHER_KERNEL)) for seed in range(3)]
    straight = compare([first, *others], 0.05)
    shuffled = compare([first, *(others[index] for index in order)], 0.05)
    by_folder = {shuffled.runs[one.run].folder: one.regression for one in shuffled.against}
    assert {straight.runs[one.run].folder: one.regression for one in straight.against} == by_folder


# -- the verb


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    code = main(["compare", *map(str, words)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_exit_codes_and_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    was, now = written(tmp_path / "was", records(SAME)), written(tmp_path / "now", records(SLOWER, seed=1))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, out, err = said(capsys, was, now)
    assert code == 2 and "significant regressions beyond 5 %" in out and err == ""
    assert "nothing that is known of either differs" in out
    code, out, _ = said(capsys, was, now, "--threshold", "200%")
    assert code == 0 and "no significant regression beyond 200 %" in out
    assert said(capsys, was)[0] == 0 and said(capsys, was, "--threshold", "10")[0] == 2
    code, out, _ = said(capsys, was, "--format", "markdown")
    assert "| measure | baseline | here | change | 95 % interval |  |\n| --- |" in out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def served_by(programs: Mapping[str, str], transport: str = "mmio") -> list[Any]:
    """A run whose variants are served by these programs."""
    lines = records(SAME)
    run = lines[0]
    assert isinstance(run, Run)
    cells = [
        cell.model_copy(update={"program": programs[cell.data_path], "transport": transport}) for cell in run.cells
    ]
    return [run.model_copy(update={"cells": tuple(cells)}), *lines[1:]]


@pytest.mark.parametrize("style", ["text", "markdown"])
def test_a_path_is_not_taken_for_its_program(tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str) -> None:
    same = written(tmp_path / "same", served_by({"shared-ram": "qemu", "pool": "qemu"}))
    _, out, _ = said(capsys, same, "--format", style)
    assert "pool by qemu (mmio), against topology=shared-ram, shared-ram by qemu (mmio)" in out
    assert "another program" not in out
    other = written(tmp_path / "other", served_by({"shared-ram": "passt", "pool": "qemu"}))
    _, out, _ = said(capsys, other, "--format", style)
    assert "pool by qemu (mmio), against topology=shared-ram, shared-ram by passt (mmio)" in out
    assert "1 cell of another program than the baseline: what differs is of both" in out
    _, out, _ = said(capsys, same, other, "--format", style)
    assert "shared-ram by passt (mmio), before shared-ram by qemu (mmio)" in out


@pytest.mark.parametrize("style", ["text", "markdown"])
def test_every_table_says_what_its_seconds_are(tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str) -> None:
    counted = written(tmp_path / "c", records(SAME, clock="instructions", workloads=3, repetitions=3))
    _, out, _ = said(capsys, counted, "--format", style)
    tables = [block for block in out.split("\n\n") if "throughput" in block]
    headings = [line for line in out.splitlines() if "against topology=shared-ram" in line]
    assert len(tables) == len(headings) == 3 and all("(emulated: instructions; 3 rounds)" in one for one in headings)
    assert "100,0" not in out and "instr." in out and " s " not in out
    assert "cannot decide with 3 repetitions: needs at least 6, whatever the difference (3 cells)" in out
    assert "too few" in tables[0]
    guessed = written(tmp_path / "e", records(SAME, clock="emulated"))
    assert "emulated: its times mean nothing" in said(capsys, guessed)[1]


def test_every_table_of_the_outcome_says_so_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    was = written(tmp_path / "was", records(SAME, clock="instructions"))
    now = written(tmp_path / "now", records(SLOWER, clock="instructions", seed=1))
    _, out, _ = said(capsys, was, now, "--explain")
    tables = [block for block in out.split("\n\n") if "topology=" in block]
    assert len(tables) == 4, "two cells, and the models of each run that nothing checks"
    assert all("emulated: instructions" in table for table in tables)


def test_the_order_in_which_linux_finds_devices_is_no_difference(tmp_path: Path) -> None:
    """A guest that Xen builds at boot had its disk as virtio0 once, and as virtio1 the next time."""
    was, other, more = ({**FACTS, "device.features": bits} for bits in ("0110 1001", "1001 0110", "1001 0111"))
    assert against(tmp_path, records(SAME, facts=was), records(SLOWER, seed=1, facts=other)).cells[1].axes == ()
    found = against(tmp_path / "more", records(SAME, facts=was), records(SLOWER, seed=1, facts=more))
    assert found.cells[1].axes == ("features",)


def test_the_number_that_xen_gives_a_domain_is_no_difference(tmp_path: Path) -> None:
    """A guest whose start failed at first was domain 2, and QEMU was told so."""
    was, other, more = (
        {**FACTS, "vmm.arguments": f"qemu -xen-domid {words}"} for words in ("1 -m 1", "2 -m 1", "2 -m 2")
    )
    assert against(tmp_path, records(SAME, facts=was), records(SLOWER, seed=1, facts=other)).cells[1].axes == ()
    found = against(tmp_path / "more", records(SAME, facts=was), records(SLOWER, seed=1, facts=more))
    assert found.cells[1].axes == ("arguments",)


@pytest.mark.parametrize("words", [(), ("--all",), ("--format", "markdown")])
def test_each_regression_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str]) -> None:
    was, now = written(tmp_path / "was", records(SAME)), written(tmp_path / "now", records(SLOWER, seed=1))
    found = json.loads(said(capsys, was, now, "--format", "json")[1])["regressed"]
    _, out, _ = said(capsys, was, now, *words)
    told = [line.strip("| ").split("  ")[0].split(" |")[0] for line in out.splitlines() if "regression, p" in line]
    assert told == [one["measure"] for one in found] and len(told) > 2
    assert out.splitlines()[-1] == f"{len(found)} significant regressions beyond 5 %, in 1 cell"
    _, out, _ = said(capsys, was, "--threshold", "10")
    assert out.count("regression, p") == int(out.splitlines()[-1].split()[0]) > 0
    assert "regression, p" not in said(capsys, was)[1], "nothing is judged by a threshold"


def test_json_is_of_its_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checked_in = json.loads((ROOT / "docs/reference/comparison-format.schema.json").read_text())
    regenerate = "run `vtool schema --of comparison -o docs/reference/comparison-format.schema.json`"
    assert checked_in == json.loads(json.dumps(comparison_schema())), regenerate
    lines = records(SAME)
    was = written(tmp_path / "was", [*lines, lines[-1].model_copy(update={"void": Void.DISTURBED, "attempt": 2})])
    now = written(tmp_path / "now", records(SLOWER, workloads=2, facts=OTHER_KERNEL))
    code, out, _ = said(capsys, was, now, "--format", "json")
    data = json.loads(out)
    Draft202012Validator(checked_in).validate(data)
    assert code == 2 and (data["format"], data["version"]) == ("vtool-comparison", 1)
    assert data["regressed"][0]["run"] == 1 and data["runs"][0]["void"] == 1
    page = (ROOT / "docs/reference/compare.md").read_text()
    assert all(f"`{name}`" in page for name in data) and all(f"`{axis}`" in page for axis in AXES)
    assert all(f"`{verdict.value}`" in page for verdict in Verdict)


def test_bad_input_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = written(tmp_path / "run", records(SAME))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/run.jsonl").write_text('{"format": "vtool-bench", "version": 2}\n')
    for words, code in (
        ((tmp_path / "none",), "VT930"),
        ((run, tmp_path / "other"), "VT930"),
        ((run, run), "VT937"),
        ((run, written(tmp_path / "net", records(SAME, workloads=0))), "VT937"),
        ((written(tmp_path / "alone", records(SAME, variants=("pool",))),), "VT937"),
        ((written(tmp_path / "empty", records(SAME)[:2]),), "VT937"),
    ):
        exit_code, out, err = said(capsys, *words)
        assert (exit_code, out) == (1, "") and code in err and "Traceback" not in err, words
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(run), "--threshold", "much"])
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(run), "--across", "weather"])


def test_a_half_written_line_is_told_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = written(tmp_path / "run", records(SAME))
    whole = (run / "run.jsonl").read_bytes()
    (run / "run.jsonl").write_bytes(whole[:-40])
    code, out, err = said(capsys, run)
    assert code == 0 and "VT935" in err and "5 rounds" in out
    (run / "run.jsonl").write_bytes(whole.replace(b'"number":3', b'"number":"3"', 1))
    code, out, err = said(capsys, run)
    assert code == 1 and "VT932" in err and out == ""


def test_a_repetition_that_the_run_has_not_is_damage(tmp_path: Path) -> None:
    lines = records(SAME)
    last = lines[-1]
    assert isinstance(last, Repetition)
    with pytest.raises(VtoolError, match="it is repetition 1000000000 of 6"):
        read(tmp_path, [*lines, last.model_copy(update={"number": 10**9})])


def test_nothing_could_be_significant_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = written(tmp_path / "run", records(SAME, repetitions=3))
    why = "cannot decide with 3 repetitions: needs at least 6, whatever the difference"
    assert f"nothing could have been one: {why}" in said(capsys, run, "--threshold", "5")[1]
    of_one = {"run": 0, "against": None, "cells": 1, "repetitions": 3, "needed": 6, "why": why}
    assert json.loads(said(capsys, run, "--format", "json")[1])["undecided"] == [of_one]
    other = written(tmp_path / "other", records(SAME, repetitions=2))
    both = json.loads(said(capsys, run, other, "--format", "json")[1])["undecided"][-1]
    assert (both["run"], both["against"], both["cells"], both["repetitions"], both["needed"]) == (1, 0, 2, 2, 4)
    text = said(capsys, run, other)[1]
    assert "cannot decide with 2 repetitions: needs at least 4 in each run, whatever the difference (2 cells)" in text
    run = written(tmp_path / "more", records(SAME))
    assert "nothing could have been one" not in said(capsys, run, "--threshold", "50")[1]


def test_an_unfinished_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = records(SAME)
    whole, part = written(tmp_path / "whole", lines), written(tmp_path / "part", lines[:-3])
    assert "unfinished:" not in said(capsys, whole)[1]
    assert "6 repetitions of each cell; unfinished: 9 of 12 repetitions are there" in said(capsys, part)[1]
    first, second = json.loads(said(capsys, whole, part, "--format", "json")[1])["runs"]
    assert (first["done"], first["planned"], second["done"], second["planned"]) == (12, 12, 9, 12)


def test_of_long_facts_the_words_that_differ_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = "/usr/bin/qemu-system-aarch64 " + "-device virtio-blk-device " * 20
    was = written(tmp_path / "was", records(SAME, facts={**FACTS, "vmm.arguments": f"{common} -m 256M"}))
    now = written(tmp_path / "now", records(SAME, facts={**FACTS, "vmm.arguments": f"{common} -m 192M"}))
    out = said(capsys, was, now)[1]
    assert "they differ in: arguments" in out and "... 256M" in out and "... 192M" in out and "virtio-blk" not in out


def test_reasons_are_told_once_with_a_hint(tmp_path: Path) -> None:
    was = read(tmp_path / "was", records(SAME, workloads=5))
    now = read(tmp_path / "now", records(SAME, workloads=5, facts={**OTHER_KERNEL, "guest.kernel": "6.18.3"}))
    with pytest.raises(VtoolError) as caught:
        compare([was, now])
    (one,) = caught.value.diagnostics
    assert one.detail == ("10 cells: it differs in several things: kernel, guest",) and "--across" in one.hints[0]
    assert one.message == f"no cell of '{tmp_path / 'now'}' can be compared with one of '{tmp_path / 'was'}'"
    with pytest.raises(VtoolError) as caught:
        compare([read(tmp_path / "alone", records(SAME, variants=("pool",)))])
    (one,) = caught.value.diagnostics
    assert "its matrix has no `baseline`" in one.message and "vtool compare RUN RUN" in one.hints[0]


def test_what_was_measured_on_other_things_in_one_run_is_said(tmp_path: Path) -> None:
    lines = records(SAME)
    later = lines[1].model_copy(update={"id": "2" * 64, "facts": {**FACTS, "harness.vtool": "0.2.0"}})
    changed = [line.model_copy(update={"environment": "2" * 64}) if isinstance(line, Repetition) and line.number > 3
               else line for line in lines]  # fmt: skip
    with pytest.raises(VtoolError) as caught:
        compare([read(tmp_path, [changed[0], changed[1], later, *changed[2:]])])
    assert "changed between its repetitions: vtool" in caught.value.diagnostics[0].detail[0]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 1.1, 2e12, -1.0, 1e-300, 1e300, 5e-324]), min_size=12, max_size=12))
def test_no_numbers_are_too_odd(tmp_path_factory: pytest.TempPathFactory, odd: list[float]) -> None:
    """Zeros, numbers below 0, the ends of what a float holds: JSON comes out, and intervals are in order."""

    def values(random: np.random.Generator, variant: str, number: int) -> Any:
        mine = odd[2 * number - 2 :]
        return {"throughput": 1e8, "requests": 1e4, "lost": mine[variant == "pool"]}, {"backend cpu": mine[0]}

    where = tmp_path_factory.mktemp("runs")
    runs = [read(where / "a", records(values)), read(where / "b", records(SAME))]
    found = compare(runs, 0.05, explained=True)
    assert json.loads(comparison_json(found))
    for cell in (*found.runs[0].degradation.cells, *found.against[0].regression.cells):
        for change in cell.changes:
            assert change.low is None or change.high is None or change.low <= change.high
            assert change.p is None or 0 < change.p <= 1


def test_a_thousand_cells_take_seconds(tmp_path: Path) -> None:
    """500 and 500 cells of 5 repetitions with 36 measures each; the bound is for a busy machine."""

    def values(random: np.random.Generator, variant: str, number: int) -> Any:
        latencies = {f"latency_p{n}": random.lognormal(0, 0.01) for n in range(10)}
        return {"throughput": 1e8, "requests": 1e4, **latencies}, {f"backend c{n}": random.random() for n in range(12)}

    lines = records(values, workloads=500, repetitions=5)
    runs = [read(tmp_path / name, lines) for name in ("a", "b")]
    before = time.process_time()
    found = compare(runs, 0.05)
    assert len(found.runs[0].degradation.cells) == 500 and len(found.against[0].regression.cells) == 1000
    assert len(found.against[0].regression.cells[0].changes) == 36
    assert time.process_time() - before < 30
    assert len(comparison_json(found)) > 1_000_000
