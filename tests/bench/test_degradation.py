"""Degradation against the baseline: a known effect is found, none is not, and few repetitions say that they are few."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.synthetic_runs import constant, read, records
from vtool.diagnostics import VtoolError
from vtool.results.changes import Change, Verdict
from vtool.results.degradation import RunDegradation, degradations
from vtool.results.failures import require_libraries
from vtool.results.records import Repetition, Void
from vtool.results.statistics import FEWEST_PAIRED, FEWEST_UNPAIRED, paired, unpaired


def found(folder: Path, *said: Any, **changes: Any) -> RunDegradation:
    return degradations(read(folder, records(*said, **changes)))


def rows(of: RunDegradation) -> dict[str, Change]:
    (cell,) = of.cells
    return {change.measure.label: change for change in cell.changes}


def test_a_known_effect_is_found(tmp_path: Path) -> None:
    seen = rows(found(tmp_path, constant({"pool": 0.8})))
    throughput, latency = seen["throughput"], seen["latency_p50"]
    assert throughput.change == pytest.approx(0.2, abs=0.02) and throughput.verdict is Verdict.WORSE
    assert throughput.low is not None and throughput.high is not None
    assert throughput.low < 0.2 < throughput.high < 0.25 and throughput.p == 2 / 64
    assert latency.change == pytest.approx(0.25, abs=0.03) and latency.verdict is Verdict.WORSE
    assert throughput.regressed(0.1) and not throughput.regressed(0.3)


def test_costs_are_for_each_request_and_mib(tmp_path: Path) -> None:
    seen = rows(found(tmp_path, constant({"pool": 0.5}, noise=0, drift=0)))
    each, mib = seen["backend cpu per request"], seen["backend cpu per MiB"]
    assert each.reference == pytest.approx(0.5 / 2e4) and each.value == pytest.approx(1 / 1e4)
    assert mib.reference == pytest.approx(0.5 / 1e8 * 2**20) and mib.measure.unit == "s"
    assert each.change == pytest.approx(3) and seen["hypervisor exits per request"].change == 0


def test_what_is_better_is_said_so(tmp_path: Path) -> None:
    seen = rows(found(tmp_path, constant({"pool": 1.5})))
    assert seen["throughput"].verdict is Verdict.BETTER and seen["throughput"].change == pytest.approx(-0.5, abs=0.05)


@pytest.mark.parametrize("repetitions", range(1, FEWEST_PAIRED))
def test_few_repetitions_are_too_few_however_large_the_effect(tmp_path: Path, repetitions: int) -> None:
    seen = rows(found(tmp_path, constant({"pool": 0.01}, noise=1e-9), repetitions=repetitions))["throughput"]
    assert seen.verdict is Verdict.TOO_FEW and (seen.low, seen.high, seen.p) == (None, None, None)
    assert seen.change == pytest.approx(0.99) and not seen.regressed(0)


def test_repetitions_that_agree_to_the_last_digit_are_judged(tmp_path: Path) -> None:
    seen = rows(found(tmp_path, constant({"pool": 0.9}, noise=0, drift=0)))
    assert seen["throughput"].verdict is Verdict.WORSE and seen["throughput"].low == pytest.approx(0.1)
    seen = rows(found(tmp_path, constant({"pool": 1.0}, noise=0, drift=0)))
    assert seen["throughput"].verdict is Verdict.NONE_SHOWN


def test_of_nothing_something_is_worse(tmp_path: Path) -> None:
    def values(random: np.random.Generator, variant: str, number: int) -> Any:
        lost = (0.01 if variant == "pool" else 0.0) * random.lognormal(0, 0.1)
        return {"throughput": 1e8, "requests": 1e4, "lost": lost}, {}

    seen = rows(found(tmp_path, values))["lost"]
    assert seen.verdict is Verdict.WORSE and (seen.change, seen.low) == (None, None) and seen.regressed(0.5)


def test_some_zeros_are_shares_of_the_mean(tmp_path: Path) -> None:
    def values(_: np.random.Generator, variant: str, number: int) -> Any:
        return {"throughput": 1e8, "requests": 1e4, "retransmits": (number % 2) * (3 if variant == "pool" else 1)}, {}

    assert rows(found(tmp_path, values))["retransmits"].change == pytest.approx(2)


def test_what_is_void_is_left_out_and_counted(tmp_path: Path) -> None:
    lines = records(constant({"pool": 0.8}), repetitions=7)
    last = next(line for line in reversed(lines) if isinstance(line, Repetition) and "pool" in line.cell)
    lines[lines.index(last)] = last.model_copy(update={"void": Void.THROTTLED})
    (cell,) = degradations(read(tmp_path, lines)).cells
    assert (cell.rounds, cell.void, cell.baseline_void) == (6, {Void.THROTTLED: 1}, {})
    assert {change.repetitions for change in cell.changes} == {6}


def test_times_of_an_emulated_board_mean_nothing(tmp_path: Path) -> None:
    seen = rows(found(tmp_path, constant({"pool": 0.5}), clock="emulated"))
    assert {change.verdict for change in seen.values()} == {Verdict.NO_TIMES}
    assert rows(found(tmp_path, constant({"pool": 0.5}), clock="instructions"))["throughput"].verdict is Verdict.WORSE


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    lines = records(constant({}), variants=("shared-ram", "pool", "ring"))
    of = {name: [line for line in lines if isinstance(line, Repetition) and name in line.cell]
          for name in ("shared-ram", "pool", "ring")}  # fmt: skip

    def why(*kept: Repetition) -> list[str]:
        return [one.why for one in degradations(read(tmp_path, [*lines[:2], *kept])).not_compared]

    assert why(*of["shared-ram"], *of["pool"]) == ["it has no repetition that counts"]
    no_baseline = "its baseline 'topology=shared-ram/disk0@disk0' has no repetition that counts"
    assert why(*of["pool"], *of["ring"]) == [no_baseline] * 2
    assert "no round has both" in why(*of["shared-ram"][:3], *of["pool"][3:], *of["ring"])[0]
    other = [line.model_copy(update={"clock": type(line.clock)("emulated")}) for line in of["pool"]]
    assert why(*of["shared-ram"], *other, *of["ring"]) == [
        "it and its baseline were measured by several clocks: emulated, real"
    ]


def test_chance_is_no_effect() -> None:
    """Of 300 seeded comparisons of 40 rows without an effect, hardly more than one in twenty says that there is one."""
    random, alarms = np.random.default_rng(7), 0
    for _ in range(300):
        noise = random.lognormal(0, 0.3, (2, 6, 40)) + random.lognormal(0, 0.2, (1, 6, 1))  # skewed, and in common
        alarms += bool(np.nanmin(paired(np.log(noise[0] / noise[1])).p) <= 0.05)
    assert 0 < alarms <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)


def test_chance_between_two_runs_is_no_effect() -> None:
    random, alarms = np.random.default_rng(8), 0
    for _ in range(300):
        noise = np.log(random.lognormal(0, 0.3, (2, 5, 40)) + random.lognormal(0, 0.2, (2, 5, 1)))
        alarms += bool(np.nanmin(unpaired(noise[0], noise[1]).p) <= 0.05)
    assert 0 < alarms <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)


@pytest.mark.parametrize("repetitions", [6, 10])
def test_intervals_hold_what_they_say(repetitions: int) -> None:
    random = np.random.default_rng(9)
    seen = paired(random.normal(0.1, 0.02, (repetitions, 4000)))
    held = np.mean((seen.low <= 0.1) & (seen.high >= 0.1))
    assert 0.91 < held < 0.985
    seen = unpaired(random.normal(0, 0.02, (repetitions, 4000)), random.normal(0.1, 0.02, (repetitions, 4000)))
    assert 0.91 < np.mean((seen.low <= 0.1) & (seen.high >= 0.1)) < 0.985


def test_fewest_is_what_can_be_significant() -> None:
    for count in range(2, 8):
        seen = paired(np.full((count, 1), 0.5) + np.arange(count)[:, None] * 1e-3)
        assert (seen.p[0] <= 0.05) == (count >= FEWEST_PAIRED)
        seen = unpaired(np.arange(count)[:, None] * 1e-3, 1 + np.arange(count)[:, None] * 1e-3)
        assert (seen.p[0] <= 0.05) == (count >= FEWEST_UNPAIRED)


@settings(max_examples=20, deadline=None)
@given(st.randoms())
def test_the_order_of_lines_and_of_rounds_changes_nothing(tmp_path_factory: pytest.TempPathFactory, order: Any) -> None:
    lines = records(constant({"pool": 0.9}), workloads=2)
    shuffled = lines[2:]
    order.shuffle(shuffled)
    where = tmp_path_factory.mktemp("run")
    assert degradations(read(where / "a", lines)) == degradations(read(where / "b", [*lines[:2], *shuffled]))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_libraries("numpy", "scipy")
    with pytest.raises(VtoolError) as caught:
        require_libraries("numpy", "no_such_library")
    (said,) = caught.value.diagnostics
    assert said.code == "VT936" and said.message == "not installed: no_such_library"
    assert "pip install 'vtool[bench]'" in said.hints[0]


def test_nothing_else_imports_the_libraries() -> None:
    """Also what a verb imports when it runs: the import contract does not see ``vtool.cli``."""
    code = (
        "import sys; from vtool.cli.main import main; t = 'topology/examples/kvm-pool.yaml'; "
        "codes = [main(words) for words in (['validate', t], ['plan', t], ['bench', '--plan', t], ['schema'])]; "
        "import vtool.cli.deploy_verb, vtool.deploy.deployment, vtool.bench.runner; "
        "print(codes, [name for name in ('numpy', 'scipy') if name in sys.modules], file=sys.stderr)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stderr.splitlines()[-1] == "[0, 0, 0, 0] []", done.stderr
