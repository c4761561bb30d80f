"""The models of what a request costs: known coefficients come back, and a fit that fails its check predicts nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.synthetic_runs import read, records, repetition, written
from vtool.base.units import KIB, MIB
from vtool.cli.main import main
from vtool.results.cost_model import Line, crossing, fitted
from vtool.results.explanation import ASSUMED, Explanation, Lower, Model, Way, explain, way_of
from vtool.results.records import RECORD, Run

SIZES = (4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB)
Cost = Callable[[str, int, int], float]
"""Of a data path, bytes and depth: seconds of a request."""


def linear(path: str, size: int, depth: int) -> float:
    """Copying costs little to begin with and a lot for each byte; mapping the other way round. Even at 50 KiB."""
    return {"pool": 20e-6 + 1e-9 * size, "viommu": 60e-6 + 0.2e-9 * size, "shared-ram": 15e-6 + 0.1e-9 * size}[path]


def explained(
    folder: Path, cost: Cost = linear, *, noise: float = 0.01, sizes: tuple[int, ...] = SIZES, seed: int = 0,
    paths: tuple[str, ...] = ("shared-ram", "pool", "viommu"), depths: tuple[int, ...] = (1,), repetitions: int = 5,
    exits: Callable[[int], float] = lambda depth: 4.0, clock: str = "real",
) -> Explanation:  # fmt: skip
    workloads = {f"d{size},{depth}": {"block_size": size, "depth": depth} for size in sizes for depth in depths}
    lines = records(lambda *_: ({"throughput": 1, "requests": 1}, {}), variants=paths, workloads=workloads, clock=clock)
    run, random = lines[0], np.random.default_rng(seed)
    assert isinstance(run, Run)
    kept: list[Any] = lines[:2]
    for number in range(1, repetitions + 1):
        for cell in run.cells:
            size, depth = map(int, cell.workload[1:].split(","))
            seconds = cost(cell.data_path, size, depth) * random.lognormal(0, noise)
            metrics = {"throughput": size / seconds, "requests": 1 / seconds, "latency_mean": seconds}
            requests = round(1 / seconds)
            costs = {"backend cpu": seconds * requests / 4, "vmm cpu": seconds * requests / 4}
            kept.append(repetition(cell.id, number, metrics, costs | {"hypervisor exits": exits(depth) * requests},
                                   clock))  # fmt: skip
    written(folder, kept)
    return explain(read(folder, kept))


def latency_of(found: Explanation, path: str) -> Model:
    return next(one for one in found.models if (one.data_path, one.measure.name) == (path, "latency_mean"))


def test_known_coefficients_come_back(tmp_path: Path) -> None:
    found = explained(tmp_path)
    pool = latency_of(found, "pool")
    request, byte = pool.terms
    assert (request.each, byte.each, pool.way, pool.failed) == ("request", "byte", Way.COPIES, "")
    assert request.low < 20e-6 < request.high and byte.low < 1e-9 < byte.high
    assert byte.high - byte.low < 0.1e-9 and request.high - request.low < 2e-6
    assert pool.assumed == ASSUMED[Way.COPIES] and pool.inseparable == ("exit",)
    total = next(one for one in found.models if (one.data_path, one.measure.name) == ("pool", "cpu_total"))
    assert total.terms[1].value == pytest.approx(0.5e-9, rel=0.05)
    point = pool.points[0]
    assert sum(point.parts.values()) == pytest.approx(point.measured * (1 + point.residual))


def test_intervals_hold_what_they_say() -> None:
    random, held = np.random.default_rng(3), []
    design = np.array([[1.0, size] for size in SIZES])
    truth = np.array([20e-6, 1e-9])
    for _ in range(400):
        seen = [cost * random.normal(1, 0.02, 5) for cost in design @ truth]
        fit = fitted(design, seen, ("request", "byte"))
        held += [low < true < high for true, (_, low, high) in zip(truth, map(fit.interval, np.eye(2)), strict=True)]
    assert 0.92 < np.mean(held) < 0.98


def test_a_term_of_less_than_nothing_fails_also_where_noise_would_allow_for_more() -> None:
    """As pages of messages by the IOMMU did: −166,000 instructions each, within −520,000 and 188,000."""
    design = np.array([[1.0, size] for size in SIZES])
    seen = [cost * np.array([0.5, 0.9, 1.1, 1.5]) for cost in (1.0, 1.0, 1.0, 0.9, 0.8)]
    fit = fitted(design, seen, ("request", "byte"))
    assert (
        fit.interval(np.array([0.0, 1.0]))[2] > 0 and fit.failed == "the cost of each byte would be less than nothing"
    )


def test_mapping_beats_copying_from_where_it_does(tmp_path: Path) -> None:
    latency, total = explained(tmp_path).crossovers
    assert (latency.copying, latency.mapping, latency.lower) == ("topology=pool", "topology=viommu", Lower.MAPPING_FROM)
    assert latency.low is not None and latency.high is not None and latency.payload_bytes is not None
    assert latency.low < 50_000 < latency.high and latency.high - latency.low < 20_000
    assert total.payload_bytes == pytest.approx(50_000, rel=0.2)


def test_the_interval_of_the_crossing_holds_what_it_says() -> None:
    random, held = np.random.default_rng(4), []
    design = np.array([[1.0, size] for size in SIZES])
    for _ in range(300):
        lines = []
        for truth in ((20e-6, 1e-9), (60e-6, 0.2e-9)):
            seen = [cost * random.normal(1, 0.02, 4) for cost in design @ truth]
            fit = fitted(design, seen, ("request", "byte"))
            lines.append(Line(fit.coefficients, fit.covariance, fit.degrees, SIZES[0], SIZES[-1]))
        found = crossing(*lines)
        assert found.low is not None and found.high is not None
        held.append(found.low < 50_000 < found.high)
    assert 0.92 < np.mean(held) < 0.99


@pytest.mark.parametrize(("factor", "lower"), [(3.0, Lower.COPYING), (0.1, Lower.MAPPING), (1.0, Lower.NOT_TOLD)])
def test_where_they_do_not_cross_no_payload_is_named(tmp_path: Path, factor: float, lower: Lower) -> None:
    def cost(path: str, size: int, depth: int) -> float:
        return linear("pool", size, depth) * (factor if path == "viommu" else 1)

    found = explained(tmp_path, cost).crossovers[0]
    assert (found.lower, found.payload_bytes) == (lower, None)


def test_a_crossing_beyond_what_was_measured_is_not_told(tmp_path: Path) -> None:
    found = explained(tmp_path, sizes=(4 * KIB, 8 * KIB, 12 * KIB, 16 * KIB), noise=0.001).crossovers[0]
    assert found.lower is Lower.COPYING
    lines = [Line(np.array(of), np.diag([16e-12, 4e-22]), 8, 40e3, 60e3) for of in ((20e-6, 1e-9), (60e-6, 0.2e-9))]
    found_of = crossing(*lines)
    assert found_of.payload == pytest.approx(50e3) and (found_of.low, found_of.high) == (None, None)


def test_a_fit_that_fails_its_check_predicts_nothing(tmp_path: Path) -> None:
    def steps(path: str, size: int, depth: int) -> float:
        return linear(path, size, depth) * (1.5 if path == "pool" and size == 64 * KIB else 1)

    found = explained(tmp_path, steps)
    pool = latency_of(found, "pool")
    assert "it is off by up to" in pool.failed and "which noise does not explain" in pool.failed
    assert pool.terms == () and all(point.parts == {} for point in pool.points) and not found.crossovers
    assert max(abs(point.residual) for point in pool.points) > 0.05, "what was measured stands there all the same"
    assert latency_of(found, "viommu").failed == ""


def test_noise_alone_fails_no_fit(tmp_path: Path) -> None:
    found = explained(tmp_path, noise=0.1, repetitions=4)
    assert [model.failed for model in found.models if model.failed] == []


def test_a_line_through_as_many_points_is_checked_by_nothing(tmp_path: Path) -> None:
    found = explained(tmp_path, sizes=(4 * KIB, 64 * KIB))
    assert {(one.failed, one.checked) for one in found.models} == {
        ("2 cells are too few to check it by: it has 2 terms", False)
    }
    assert not found.crossovers and all(model.terms == () for model in found.models)


def test_a_cost_below_nothing_fails() -> None:
    design = np.array([[1.0, size] for size in SIZES])
    seen = [cost * np.array([0.99, 1, 1.01]) for cost in design @ (50e-6, -30e-12)]
    assert fitted(design, seen, ("request", "byte")).failed == "the cost of each byte would be less than nothing"


def test_pages_and_bytes_are_told_apart_where_payloads_are_less_than_a_page(tmp_path: Path) -> None:
    def cost(path: str, size: int, depth: int) -> float:
        return 10e-6 + 2e-6 * -(-size // 4096) + 1e-9 * size

    found = latency_of(explained(tmp_path, cost), "viommu")
    assert [term.each for term in found.terms] == ["request", "page"] and found.inseparable == ("byte", "exit")
    sizes = (512, 1024, 2048, 4096, 6144, 16 * KIB, 64 * KIB)
    found = latency_of(explained(tmp_path, cost, sizes=sizes, noise=0.002), "viommu")
    assert [term.each for term in found.terms] == ["request", "page", "byte"]
    assert found.terms[1].value == pytest.approx(2e-6, rel=0.1) and found.terms[2].value == pytest.approx(1e-9, rel=0.2)


def test_exits_are_told_apart_where_requests_share_them(tmp_path: Path) -> None:
    """Only of processor time: the latency of a request that waits for others says nothing of it."""

    def cost(path: str, size: int, depth: int) -> float:
        return 10e-6 + 1e-9 * size + 5e-6 * (4 / depth)

    found = explained(tmp_path, cost, depths=(1, 4, 32), exits=lambda depth: 4 / depth)
    total = next(one for one in found.models if (one.data_path, one.measure.name) == ("pool", "cpu_total"))
    assert [term.each for term in total.terms] == ["request", "byte", "exit"] and len(total.points) == 15
    assert total.terms[2].low < 2.5e-6 < total.terms[2].high
    assert len(latency_of(found, "pool").points) == 5


def test_every_path_has_a_way() -> None:
    of = {
        "shared-ram": Way.NEITHER, "pool": Way.COPIES, "pool-in-ram": Way.COPIES, "ring": Way.COPIES,
        "grant": Way.MAPS, "viommu": Way.MAPS, "pv": Way.MAPS,
    }  # fmt: skip
    run = records(lambda *_: ({"throughput": 1, "requests": 1}, {}), variants=tuple(of))[0]
    assert isinstance(run, Run)
    assert {cell.data_path: way_of(cell) for cell in run.cells} == of
    (pv,) = (cell for cell in run.cells if cell.data_path == "pv")
    assert way_of(pv.model_copy(update={"program": "netback"})) is Way.COPIES


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(len(SIZES))), st.floats(0.1, 1000))
def test_the_order_of_cells_and_the_unit_change_nothing(order: list[int], unit: float) -> None:
    random = np.random.default_rng(5)
    design = np.array([[1.0, size] for size in SIZES])
    seen = [cost * random.normal(1, 0.01, 3) for cost in design @ (20e-6, 1e-9)]
    one = fitted(design, seen, ("request", "byte"))
    other = fitted(design[order], [seen[index] * unit for index in order], ("request", "byte"))
    assert np.allclose(other.coefficients, one.coefficients * unit) and other.columns == one.columns
    assert np.allclose(other.covariance, one.covariance * unit**2) and other.degrees == one.degrees


@pytest.mark.parametrize("style", ["text", "markdown", "json"])
def test_it_is_shown_beside_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str) -> None:
    explained(tmp_path, clock="instructions")
    assert main(["compare", str(tmp_path), "--explain", "--format", style]) == 0
    out = capsys.readouterr().out
    if style == "json":
        assert '"explained"' in out and '"payload_bytes"' in out
        return
    assert out.index("against topology=shared-ram") < out.index("what a request costs, by a model")
    assert "emulated: instructions. Not in it: caches" in out and "mapping from 4" in out
    headings = [line for line in out.splitlines() if "(pool: copies)" in line]
    assert len(headings) == 2 and all("(emulated: instructions)" in line for line in headings)
    assert main(["compare", str(tmp_path)]) == 0 and "by a model" not in capsys.readouterr().out
    explained(tmp_path / "two", sizes=(4096, 65536))
    assert main(["compare", str(tmp_path / "two"), "--explain"]) == 0
    assert "too few payloads to check a model by" in capsys.readouterr().out


def test_records_are_of_the_format(tmp_path: Path) -> None:
    explained(tmp_path)
    for line in (tmp_path / "run.jsonl").read_text().splitlines():
        RECORD.validate_json(line)
