"""A matrix: what it multiplies to, what cannot be and why, and where each fault stands."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vtool.bench.cells import Planned, plan_matrix
from vtool.bench.default_matrix import default_matrix
from vtool.bench.estimates import AROUND_S, DEPLOYMENT_S, estimate, in_words
from vtool.bench.groups import groups_of
from vtool.bench.lanes import Lane
from vtool.bench.matrix import LoadedMatrix, load_matrix, matrix_schema
from vtool.bench.plan_text import plan_lines, ways_without_a_cell
from vtool.bench.side_by_side import spread_over
from vtool.cli.common import prepare_to_deploy as prepare
from vtool.diagnostics import VtoolError, format_diagnostic
from vtool.model.combinations import combinations
from vtool.reading.source import load

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLES = ROOT / "topology" / "examples"
CASES = sorted((HERE / "errors").glob("*.yaml"))
ONE = Lane({"board0": "board0"})
VALIDATOR = Draft202012Validator(matrix_schema())


def write(folder: Path, said: dict[str, Any]) -> LoadedMatrix:
    path = folder / "matrix.yaml"
    whole = {"version": 1, "name": "m", "workloads": {"disk": {"tool": "fio", "pattern": "read"}}} | said
    path.write_text(json.dumps(whole, indent=1))
    return load_matrix(path, () if "topologies" in whole else (EXAMPLES / "kvm-pool.yaml",))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_found_where_the_comment_says(path: Path) -> None:
    with pytest.raises(VtoolError) as caught:
        plan_matrix(load_matrix(path), prepare)
    found = caught.value.diagnostics
    wanted = {
        (number, code)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for code in re.findall(r"# (VT\d{3})", line)
    }
    shown = "\n".join(map(format_diagnostic, found))
    assert {(d.span.line, d.code) for d in found if d.span and d.span.path == path} == wanted, shown
    assert len(found) == len({(d.span, d.code) for d in found}) and all(d.span for d in found), shown
    assert path.name[:5] in {code for _, code in wanted}


def test_the_place_of_a_setting_is_the_key_in_it() -> None:
    path = HERE / "errors" / "VT201-misspelt-setting.yaml"
    with pytest.raises(VtoolError) as caught:
        plan_matrix(load_matrix(path), prepare)
    (found,) = [d for d in caught.value.diagnostics if d.code == "VT201"]
    assert found.span is not None
    line = path.read_text().splitlines()[found.span.line - 1]
    assert line[found.span.column - 1 : found.span.end_column - 1] == "cpuz"


def test_the_schema_checked_in_is_the_models() -> None:
    checked_in = json.loads((ROOT / "topology" / "matrix-schema.json").read_text())
    assert checked_in == matrix_schema(), "run `vtool schema --of matrix -o topology/matrix-schema.json`"
    Draft202012Validator.check_schema(checked_in)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_schema_refuses_what_has_the_wrong_shape(path: Path) -> None:
    assert VALIDATOR.is_valid(load(path).value) is (path.stem != "VT203-shape")


# -- what a matrix comes to


def test_all_values_of_all_axes_are_combined(tmp_path: Path) -> None:
    axes = {
        "cpus": {"key": "domains.fe0.cpus", "values": [1, 2]},
        "pool": {"choices": {"large": {}, "small": {"set": ["regions.pool0.size=8MiB"]}}},
    }
    said = {
        "axes": axes,
        "baseline": {"pool": "large"},
        "workloads": {"d": {"tool": "fio", "pattern": ["read", "write"]}},
    }
    planned = plan_matrix(write(tmp_path, said), prepare)
    assert [v.id for v in planned.variants] == [f"cpus={n},pool={p}" for n in (1, 2) for p in ("large", "small")]
    assert len({v.digest for v in planned.variants}) == 4 and all(v.plans for v in planned.variants)
    baselines = {cell.id: cell.baseline for cell in planned.cells}
    assert baselines["cpus=2,pool=small/d,pattern=write@disk0"] == "cpus=2,pool=large/d,pattern=write@disk0"
    assert baselines["cpus=2,pool=large/d,pattern=write@disk0"] is None
    assert all(cell.data_path == "pool" and cell.hypervisor == "kvm" for cell in planned.cells)


def test_a_value_may_have_a_baseline_of_its_own(tmp_path: Path) -> None:
    """A baseline may be compared with another one, and what is compared stays on one board."""
    pool = {"small": {"set": ["regions.pool0.size=8MiB"], "baseline": {"pool": "middle"}},
            "middle": {"set": ["regions.pool0.size=12MiB"]}, "large": {}}  # fmt: skip
    said = {"axes": {"cpus": {"key": "domains.fe0.cpus", "values": [1, 2]}, "pool": {"choices": pool}},
            "baseline": {"pool": "large"}}  # fmt: skip
    planned = plan_matrix(write(tmp_path, said), prepare)
    against = {cell.variant: cell.baseline and cell.baseline.partition("/")[0] for cell in planned.cells}
    for cpus in ("cpus=1", "cpus=2"):
        assert against[f"{cpus},pool=small"] == f"{cpus},pool=middle"
        assert against[f"{cpus},pool=middle"] == f"{cpus},pool=large"
        assert against[f"{cpus},pool=large"] is None
    groups = [{cell.partition(",")[0] for cell in group.cells} for group in groups_of(planned.cells)]
    assert groups == [{"cpus=1"}, {"cpus=2"}]
    assert [len(group.cells) for group in groups_of(planned.cells)] == [3, 3]


def test_a_matrix_without_baselines_of_values_has_the_digest_that_it_had(tmp_path: Path) -> None:
    """Or a run that an earlier vtool began would not go on."""
    plain = write(tmp_path, {"axes": {"pool": {"choices": {"large": {}}}}}).plain
    assert plain["axes"]["pool"]["choices"]["large"] == {"overlays": [], "set": []}


def test_what_cannot_be_has_the_topologys_own_error(tmp_path: Path) -> None:
    said = {"axes": {"pool": {"key": "regions.pool0.size", "values": ["16MiB", "64KiB"]}}}
    planned = plan_matrix(write(tmp_path, said), prepare)
    assert [len(variant.faults) > 0 for variant in planned.variants] == [False, True]
    assert len(planned.possible) == 1 and planned.cells[1].faults[0].code.startswith("VT4")
    text = "\n".join(plan_lines(planned, spread_over(planned, [ONE], None)))
    assert f"cannot be: {planned.cells[1].faults[0].code}: " in text and "1 cell of 2" in text


def test_queues_pool_and_transport_are_axes_and_reach_the_plan() -> None:
    planned = plan_matrix(load_matrix(ROOT / "topology" / "matrices" / "kvm-queues.yaml"), prepare)
    assert len(planned.possible) == len(planned.cells) == 2 * 2**4
    seen = set()
    for variant in planned.variants:
        (guest,) = planned.ready[variant.id].plan.boards[0].kvm_guests
        disk = next(device for device in guest.devices if device.name == "disk0")
        axes = variant.axes
        assert (str(disk.queues.number), str(disk.queues.size)) == (axes["queues"], axes["queue-size"])
        assert (disk.setting("num-queues"), disk.setting("queue-size")) == (axes["queues"], axes["queue-size"])
        assert disk.transport.value == axes["transport"]
        assert disk.pool is not None and f"{disk.pool.range.size_bytes >> 20}MiB" == axes["pool"]
        seen.add(variant.plans["board0"])
    assert len(seen) == 2**4
    cell = "queues=2,queue-size=256,pool=32MiB,transport=pci/disk,jobs=2@disk0"
    baseline = "queues=1,queue-size=1024,pool=16MiB,transport=mmio/disk,jobs=2@disk0"
    assert {cell.id: cell.baseline for cell in planned.cells}[cell] == baseline


def test_queues_that_cannot_be_cost_their_cells_and_say_the_limit(tmp_path: Path) -> None:
    said = {"axes": {"queues": {"key": "devices.disk0.queue_size", "values": [1024, 100, 4096]}}}
    planned = plan_matrix(write(tmp_path, said), prepare)
    assert [[fault.code for fault in variant.faults] for variant in planned.variants] == [[], ["VT363"], ["VT363"]]
    assert "over mmio QEMU 10.0 offers 1024 always" in planned.variants[2].faults[0].message
    assert planned.variants[2].faults[0].place.startswith(f"{tmp_path / 'matrix.yaml'}:")


def test_topologies_are_an_axis_and_overlays_are_merged(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("regions: {pool0: {size: 8MiB}}\n")
    topologies = {name: {"file": str(EXAMPLES / f"kvm-{name}.yaml")} for name in ("pool", "shared-ram")}
    said = {"topologies": topologies, "workloads": {"d": {"tool": "fio", "pattern": "read", "device": "disk0"}}}
    planned = plan_matrix(write(tmp_path, said), prepare)
    assert [variant.id for variant in planned.variants] == ["topology=pool", "topology=shared-ram"]
    axes = {"size": {"choices": {"small": {"overlays": ["small.yaml"]}, "large": {}}}}
    planned = plan_matrix(write(tmp_path, {"axes": axes}), prepare)
    regions = [planned.ready[variant.id].topology.regions["pool0"].size for variant in planned.variants]
    assert regions == [8 << 20, 16 << 20]


def test_the_command_line_and_the_file_do_not_both_name_topologies() -> None:
    with pytest.raises(VtoolError, match="both name topologies"):
        load_matrix(HERE / "errors" / "VT943-no-cell-can-be.yaml", (EXAMPLES / "kvm-pool.yaml",))


@pytest.mark.parametrize(("at_most", "refused"), [(2, False), (1, True)])
def test_at_most(tmp_path: Path, at_most: int, *, refused: bool) -> None:
    loaded = write(tmp_path, {"axes": {"cpus": {"key": "domains.fe0.cpus", "values": [1, 2]}}})
    if not refused:
        assert len(plan_matrix(loaded, prepare, at_most).cells) == at_most
        return
    with pytest.raises(VtoolError, match="at least 2 cells, more than 1: axis 'cpus' 2"):
        plan_matrix(loaded, prepare, at_most)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True), st.integers(1, 3), st.integers(1, 3))
def test_cells_are_the_product(
    tmp_path_factory: pytest.TempPathFactory, cpus: list[int], depths: int, repetitions: int
) -> None:
    said = {
        "axes": {"cpus": {"key": "domains.fe0.cpus", "values": cpus}},
        "workloads": {"d": {"tool": "fio", "pattern": "read", "depth": [*range(1, depths + 1)]}, "m": {"tool": "mbw"}},
        "repetitions": repetitions,
    }
    planned = plan_matrix(write(tmp_path_factory.mktemp("m"), said), prepare)
    assert len(planned.cells) == len(cpus) * (depths + 1) == len({cell.id for cell in planned.cells})
    told = estimate(planned)
    assert told.repetitions == len(planned.cells) * repetitions and told.deployments == (
        len(cpus) * repetitions if len(cpus) > 1 else 1
    )
    assert told.seconds >= told.deployments * DEPLOYMENT_S + told.repetitions * AROUND_S


def test_the_digest_is_of_what_is_said_not_of_how(tmp_path: Path) -> None:
    first = write(tmp_path, {"repetitions": 3}).digest
    (tmp_path / "matrix.yaml").write_text(
        "# the same\nname: m\nversion: 1\nworkloads: {disk: {pattern: [read], tool: fio}}\nrepetitions: 3\n"
    )
    assert load_matrix(tmp_path / "matrix.yaml", (EXAMPLES / "kvm-pool.yaml",)).digest == first
    assert write(tmp_path, {"repetitions": 4}).digest != first


# -- the default


def default(example: str) -> Planned:
    path = EXAMPLES / f"{example}.yaml"
    return plan_matrix(default_matrix(path, prepare(path).topology, 10, 3), prepare)


@pytest.mark.parametrize(
    ("example", "paths"),
    [
        ("kvm-shared-ram", {"shared-ram", "pool", "pool-in-ram", "viommu"}),
        ("kvm-pool", {"shared-ram", "pool", "pool-in-ram", "viommu"}),
        ("kvm-pool-daemons", {"shared-ram", "pool", "pool-in-ram", "viommu"}),
        ("kvm-viommu", {"shared-ram", "pool", "pool-in-ram", "viommu"}),
        ("xen-grant", {"shared-ram", "grant", "pv", "pool", "ring"}),
        ("xen-foreign", {"shared-ram", "grant", "pv", "pool", "ring"}),
    ],
)
def test_the_default_matrix_has_every_deployed_path_that_can_be_measured(example: str, paths: set[str]) -> None:
    planned = default(example)
    assert {cell.data_path for cell in planned.possible} == paths
    assert all(cell.baseline for cell in planned.possible if cell.variant != "path=shared-ram")
    assert_compared_by_program(planned)
    # A guest that Xen builds at boot has no console: it takes commands from its network.
    at_boot = [spot.place for name, spot in planned.spots.items() if name.startswith(("path=pool", "path=ring"))]
    assert all(place.has_shell and ("xen" in example) is bool(place.commands_at) for place in at_boot)


@pytest.mark.parametrize("reached", [False, True])
def test_a_guest_that_xen_builds_at_boot_is_not_started_and_the_plan_says_why(tmp_path: Path, *, reached: bool) -> None:
    ramdisk = ["domains.fe0.ramdisk=vtool:bench-initramfs"] if reached else []
    said = {
        "topologies": {
            "at-boot": {"file": str(EXAMPLES / "xen-ring.yaml"), "set": ramdisk},
            "by-xl": {"file": str(EXAMPLES / "xen-pv.yaml")},
        },
        "workloads": {"start": {"tool": "start"}},
    }
    planned = plan_matrix(write(tmp_path, said), prepare)
    assert [cell.id for cell in planned.possible] == ["topology=by-xl/start@fe0"]
    (why,) = {fault.message for cell in planned.cells for fault in cell.faults}
    assert why == "'fe0' is built by Xen while the board boots: nothing starts it alone, and Xen's log has no times"
    assert any(why in line for line in plan_lines(planned, spread_over(planned, [Lane({"board0": "board0"})], None)))


@pytest.mark.parametrize("path", sorted((ROOT / "topology" / "matrices").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_variant_of_the_tree_s_matrices_can_be_deployed(path: Path) -> None:
    planned = plan_matrix(load_matrix(path), prepare)
    assert [variant.id for variant in planned.variants] == list(
        planned.ready
    ) and path.stem == planned.loaded.matrix.name


def assert_compared_by_program(planned: Planned) -> None:
    """A path is compared with shared RAM by the same program and transport, wherever that is deployed."""
    deployed = {
        (one.hypervisor, one.type, one.program.value, one.transport.value)
        for one in combinations()
        if one.deployed and one.data_path.value == "shared-ram"
    }
    by_id = {cell.id: cell for cell in planned.cells}
    for cell in planned.possible:
        if cell.data_path != "shared-ram" and (cell.hypervisor, cell.type, cell.program, cell.transport) in deployed:
            other = by_id[cell.baseline or ""]
            assert (other.data_path, other.program, other.transport) == ("shared-ram", cell.program, cell.transport)


@pytest.mark.parametrize("name", ["kvm-paths", "kvm-payloads", "xen-paths", "xen-payloads"])
def test_the_tree_s_matrices_compare_paths_not_programs(name: str) -> None:
    planned = plan_matrix(load_matrix(ROOT / "topology" / "matrices" / f"{name}.yaml"), prepare)
    assert_compared_by_program(planned)
    assert sum(cell.baseline is not None for cell in planned.possible) > len(planned.possible) / 2


@pytest.mark.parametrize("hypervisor", ["kvm", "xen"])
def test_the_paths_of_a_hypervisor_are_all_that_is_deployed(hypervisor: str) -> None:
    """Or `make bench-paths` is not of every deployed path; where one is of none, --plan says so."""
    matrix = load_matrix(ROOT / "topology" / "matrices" / f"{hypervisor}-paths.yaml")
    planned = plan_matrix(matrix, prepare)
    assert ways_without_a_cell(planned) == {(hypervisor, "blk"): [], (hypervisor, "net"): []}
    alone = planned_without(planned, "topology=pool")
    ((_, disks), (_, networks)) = ways_without_a_cell(alone).items()
    assert [one.data_path.value for one in (*disks, *networks)] == ["pool", "pool"]
    lines = [*plan_lines(alone, spread_over(alone, [Lane({"board0": "board0"})], None))]
    (line,) = (line for line in lines if line.startswith(f"{hypervisor}, blk: deployed, and of no cell: pool by "))
    assert "pool-in-ram" not in line


def planned_without(planned: Planned, variant: str) -> Planned:
    return replace(planned, cells=tuple(cell for cell in planned.cells if cell.variant != variant))


def test_a_guest_that_nobody_reaches_is_not_measured_and_says_why(tmp_path: Path) -> None:
    said = {
        "topologies": {
            "at-boot": {"file": str(EXAMPLES / "xen-pool.yaml")},
            "by-dom0": {"file": str(EXAMPLES / "xen-grant.yaml")},
        },
        "workloads": {"disk": {"tool": "fio", "pattern": "randread"}},
    }
    planned = plan_matrix(write(tmp_path, said), prepare)
    (why,) = {fault.message for cell in planned.cells for fault in cell.faults}
    assert "Xen built it at boot" in why and "vtool:bench-initramfs" in why


@pytest.mark.parametrize(
    ("seconds", "words"), [(3, "3 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (12000, "3 h 20 min")]
)
def test_durations_are_written_as_a_person_would(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_example_of_the_page_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "bench.md").read_text()
    (text,) = re.findall(r"```yaml\n(# yaml-language-server.*?)```", page, re.DOTALL)
    (tmp_path / "m.yaml").write_text(text.replace("../../topology", str(ROOT / "topology")))
    planned = plan_matrix(load_matrix(tmp_path / "m.yaml"), prepare)
    assert len(planned.possible) == len(planned.cells) == 16
    assert sum(cell.baseline is not None for cell in planned.cells) == 8


def test_memory_by_path_and_side() -> None:
    planned = default("kvm-pool")
    memory = {variant.axes["path"]: variant.memory["fe0"] for variant in planned.variants}
    mib = {path: (one.owns >> 20, one.borrows >> 20, one.exposed >> 20) for path, one in memory.items()}
    # The pool of the topology itself stays; the variant's own one comes beside it.
    assert mib["shared-ram"] == (256 + 16, 0, 256 + 16)
    assert mib["pool"] == (256 + 32, 0, 16) and mib["pool-in-ram"] == (256 + 32, 0, 256 + 32)
    assert mib["viommu"] == (256 + 16, 0, 0), "what is mapped now, and nothing else"
    assert {variant.memory["host"].borrows >> 20 for variant in planned.variants} == {16, 32}


@pytest.mark.parametrize(
    ("workload", "words", "hint"),
    [
        ({"tool": "sockperf"}, "it has no network", ""),
        (
            {"tool": "fio", "pattern": "read", "device": "disk9"},
            "it has no disk or share 'disk9'",
            "did you mean 'disk0'?",
        ),
        (
            {"tool": "fio", "pattern": "read", "device": "storage"},
            "it has no disk or share 'storage'",
            "there is disk0",
        ),
    ],
)
def test_what_a_workload_does_not_fit_is_said_in_words(
    tmp_path: Path, workload: dict[str, Any], words: str, hint: str
) -> None:
    with pytest.raises(VtoolError) as caught:
        plan_matrix(write(tmp_path, {"workloads": {"w": workload}}), prepare)
    (found,) = caught.value.diagnostics
    assert found.message.endswith(f": {words}") and (found.hints == (hint,) if hint else not found.hints)


def test_a_part_of_what_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    said = {"axes": {"pool": {"key": "regions.pool9.size", "values": ["8MiB"]}}}
    with pytest.raises(VtoolError) as caught:
        plan_matrix(write(tmp_path, said), prepare)
    (found,) = caught.value.diagnostics
    assert (found.code, found.hints) == ("VT972", ("did you mean 'pool0'?",))
    assert found.message == "'regions.pool9.size' is set, and the topology has no 'pool9' in 'regions'"


def test_lengths_of_messages_are_sizes(tmp_path: Path) -> None:
    """As all others: of every tool that has a payload."""
    for tool, key in (("sockperf", "length"), ("iperf3", "length"), ("fio", "block_size"), ("mbw", "size")):
        said = {"tool": tool, key: ["1MiB"] if tool == "mbw" else ["1KiB", 4096, "4 KiB"]}
        said |= {"pattern": "read"} if tool == "fio" else {}
        found = write(tmp_path, {"workloads": {"w": said}}).matrix.workloads["w"]
        assert set(getattr(found, key)) == ({1 << 20} if tool == "mbw" else {1024, 4096})
    with pytest.raises(VtoolError) as caught:
        write(tmp_path, {"workloads": {"w": {"tool": "sockperf", "length": ["64KiB"]}}})
    assert "65507" in caught.value.diagnostics[0].message
