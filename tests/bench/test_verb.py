"""The verb: what it says, how it ends, and that it goes on in the folder that it wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.test_repetition import guest_text
from tests.bench.test_runner import FIO, FakeField
from vtool.bench import field
from vtool.bench.default_matrix import default_matrix
from vtool.bench.matrix import load_matrix
from vtool.cli.common import prepare_to_deploy
from vtool.cli.main import EPILOG, main
from vtool.diagnostics import ExitCode
from vtool.results.run_folder import read_run

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "topology" / "examples" / "kvm-pool.yaml"
MATRIX = {
    "version": 1,
    "name": "m",
    "axes": {"cpus": {"key": "domains.fe0.cpus", "values": [1, 2]}},
    "baseline": {"cpus": 1},
    "workloads": {"disk": {"tool": "fio", "pattern": "randread"}},
    "repetitions": 2,
}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "t.yaml").write_text(EXAMPLE.read_text())
    (tmp_path / "m.yaml").write_text(json.dumps(MATRIX))
    return ["bench", str(tmp_path / "t.yaml"), "--matrix", str(tmp_path / "m.yaml")]


def on(monkeypatch: pytest.MonkeyPatch, boards: FakeField) -> FakeField:
    monkeypatch.setattr(field, "Boards", lambda *_: boards)
    return boards


def test_it_measures_and_goes_on(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    on(monkeypatch, FakeField(lambda n: KeyboardInterrupt() if n == 2 else guest_text(FIO)))
    assert main([*words, "-o", str(folder)]) == 130
    said = capsys.readouterr()
    assert "measured 1 repetitions" in said.out and "3 are missing" in said.out
    assert (
        "vtool down" in said.err and "--set domains.fe0.cpus=2" in said.err and "goes on where it stopped" in said.err
    )
    on(monkeypatch, FakeField())
    assert main([*words, "-o", str(folder)]) == 0
    said = capsys.readouterr()
    assert "3 repetitions to measure" in said.err and "0 are missing" in said.out
    run = read_run(folder)
    assert (folder / run.run.called_from).resolve() == Path.cwd()
    assert len(run.sessions) == 2 and run.run.command[:2] == ("vtool", *run.run.command[1:2]) and not run.missing()
    boards = on(monkeypatch, FakeField())
    assert main([*words, "-o", str(folder)]) == 0 and boards.log == [], "nothing is left to measure"


def test_what_is_missing_at_the_end_is_3_and_said(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boards = on(monkeypatch, FakeField())
    boards.refuses = {"cpus=2"}
    assert main([*words, "-o", str(tmp_path / "run")]) == 3
    assert "does not count: cpus=2/disk@disk0: not-deployed: not proven" in capsys.readouterr().err


def test_a_topology_that_changed_is_refused_and_nothing_is_lost(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on(monkeypatch, FakeField())
    assert main([*words, "-o", str(tmp_path / "run")]) == 0
    before = (tmp_path / "run" / "run.jsonl").read_bytes()
    (tmp_path / "t.yaml").write_text(EXAMPLE.read_text().replace("64MiB", "32MiB"))
    capsys.readouterr()
    assert main([*words, "-o", str(tmp_path / "run")]) == 1
    assert "the topology of variant 'cpus=1' has changed since it began" in capsys.readouterr().err
    assert (tmp_path / "run" / "run.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "code", "words_said"),
    [
        ([], 2, "usage: vtool bench -o DIR"),
        (["--plan", "--seconds", "1"], 2, "of the default matrix"),
        (["--plan", "--at-most", "1"], 1, "VT944"),
        (["--plan", "-o", "/dev/null/x"], 0, ""),
    ],
)
def test_how_it_ends(
    words: list[str], capsys: pytest.CaptureFixture[str], more: list[str], code: int, words_said: str
) -> None:
    assert main([*words, *more]) == code
    assert words_said in capsys.readouterr().err


def test_the_plan_as_data_and_by_what_was_measured(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan() -> dict[str, Any]:
        capsys.readouterr()
        assert main([*words, "--plan", "--format", "json", "-o", str(tmp_path / "run")]) == 0
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    before = plan()
    assert before["repetitions"] == 4 and before["parts_measured"] == 0 and len(before["cells"]) == 2
    on(monkeypatch, FakeField(lambda n: KeyboardInterrupt() if n == 3 else guest_text(FIO)))
    assert main([*words, "-o", str(tmp_path / "run")]) == 130
    after = plan()
    assert after["repetitions"] == 2 and after["parts_measured"] == after["parts"] == 4
    assert after["estimated_seconds"] < before["estimated_seconds"]


PATHS = {
    "kvm-paths": {"shared-ram", "pool", "pool-in-ram", "viommu", "ring"},
    "kvm-payloads": {"shared-ram", "pool-in-ram", "viommu"},
    "kvm-queues": {"pool-in-ram"},
    "xen-payloads": {"shared-ram", "pool", "grant"},
    "xen-paths": {"shared-ram", "grant", "pv", "pool", "ring"},
}


@pytest.mark.parametrize("name", PATHS)
def test_the_matrices_that_come_along(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "topology" / "matrices" / f"{name}.yaml"
    assert main(["bench", "--plan", "--matrix", str(path), "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    measured = {cell["data_path"] for cell in said["cells"] if not cell["faults"]}
    assert measured == PATHS[name]
    assert not any(variant["faults"] for variant in said["variants"])


@pytest.mark.parametrize("verb", ["deploy", "validate", "plan", "verify"])
def test_other_verbs_import_none_of_it(verb: str) -> None:
    imports = f"import sys, vtool.cli.common, vtool.cli.{verb}_verb"
    code = f"{imports}; print([m for m in sys.modules if m.startswith(('vtool.bench', 'vtool.results'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_the_default_matrix_takes_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--seconds", "2", "--repetitions", "5", "--format", "json"]
    assert main(["bench", "--plan", str(EXAMPLE), *options]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["repetitions"] == 5 * len(said["cells"])
    assert {workload["parameters"]["seconds"] for workload in said["workloads"]} == {2}


@pytest.mark.parametrize("example", ["kvm-pool", "kvm-shared-ram", "xen-grant", "kvm-viommu"])
def test_the_default_matrix_is_printed_to_begin_with(
    example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Saved and named, it is the same matrix."""
    topology = ROOT / "topology" / "examples" / f"{example}.yaml"
    assert main(["bench", "--print-matrix", str(topology), "--seconds", "3"]) == 0
    printed = capsys.readouterr().out
    assert f"# {'    '}vtool bench --matrix FILE {topology} -o DIR" in printed
    (tmp_path / "matrix.yaml").write_text(printed)
    plans = []
    for words in (["--seconds", "3"], ["--matrix", str(tmp_path / "matrix.yaml")]):
        assert main(["bench", "--plan", str(topology), *words, "--format", "json"]) == 0
        plans.append(json.loads(capsys.readouterr().out))
    assert plans[0] == plans[1]
    ready = prepare_to_deploy(topology)
    default = default_matrix(topology, ready.topology, 3, 3)
    assert load_matrix(tmp_path / "matrix.yaml", (topology,)).digest == default.digest


@pytest.mark.parametrize("option", ["--plan", "--print-matrix"])
@pytest.mark.parametrize(
    ("file", "detail", "hint"),
    [
        ("examples/dom0less", "it has no devices", "give a guest a disk or a network"),
        ("examples/dom0less-static", "", "give a guest a disk or a network"),
        ("examples/dom0less-passthrough", "passed through: no backend", "give a guest a disk or a network"),
        ("examples/kvm-bar", "'window0': 'ivshmem' is no disk, network or share", "{tool: mbw}"),
        ("examples/kvm-passthrough", "passed through: no backend", "{tool: mbw}"),
        ("examples/xen-passthrough", "passed through: no backend", "{tool: mbw}"),
        ("../tests/topologies/kvm-networks", "'lan0': it has no `backend_address` to send to", "{tool: mbw}"),
    ],
)
def test_what_the_default_matrix_does_not_measure_is_said(
    file: str, detail: str, hint: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By topology and device, and with what can be measured; never by a place in a file that nobody has."""
    path = ROOT / "topology" / f"{file}.yaml"
    assert main(["bench", option, str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and f"error[VT971]: '{path}' has nothing that the default matrix measures" in err
    assert detail in err and hint in err and "<default matrix>" not in err


def test_what_the_hint_says_can_be_measured_can_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {"version": 1, "name": "guests", "workloads": {"memory": {"tool": "mbw"}, "start": {"tool": "start"}}}
    (tmp_path / "matrix.yaml").write_text(json.dumps(said))
    for example in ("kvm-bar", "kvm-passthrough", "xen-passthrough"):
        words = ["bench", "--plan", "--matrix", str(tmp_path / "matrix.yaml")]
        assert main([*words, str(ROOT / "topology" / "examples" / f"{example}.yaml")]) == 0
        assert "memory@fe0" in capsys.readouterr().out


def test_places_in_the_default_matrix_are_those_that_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variant that cannot be names a line; --print-matrix prints it."""
    topology = str(ROOT / "topology" / "examples" / "xen-pv.yaml")
    assert main(["bench", "--plan", topology]) == 0
    out = capsys.readouterr().out
    places = re.findall(r"at <default matrix>:(\d+):(\d+)", out)
    assert places and f"<default matrix> is what `vtool bench --print-matrix {topology}` prints" in out
    assert main(["bench", "--print-matrix", topology]) == 0
    printed = capsys.readouterr().out.splitlines()
    for line, column in places:
        named = printed[int(line) - 1]
        assert named.lstrip("- '").startswith(("devices.", "domains.", "regions.")) and int(column) <= len(named)
    assert main(["bench", "--plan", topology, "--at-most", "1"]) == 1
    err = capsys.readouterr().err
    assert "VT944" in err and f"vtool bench --print-matrix {topology} prints it" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", "--plan", "x.yaml", "--seconds", "0"], "argument --seconds: 0 is not from 1 to 3600"),
        (["bench", "--plan", "x.yaml", "--seconds", "3601"], "argument --seconds: 3601 is not from 1 to 3600"),
        (["bench", "--plan", "x.yaml", "--repetitions", "0"], "argument --repetitions: 0 is not from 1 to 1000"),
        (["bench", "--plan", "x.yaml", "--at-most", "0"], "argument --at-most: 0 is not 1 or more"),
        (["bench", "--plan", "x.yaml", "--at-most", "many"], "argument --at-most: 'many' is no whole number"),
        (["report", "run", "--most-plots", "-1"], "argument --most-plots: -1 is not 0 or more"),
        (["logs", "x.yaml", "fe0", "--lines", "-1"], "argument -n/--lines: -1 is not 0 or more"),
        (["exec", "--timeout", "0", "x.yaml", "fe0", "--", "true"], "argument --timeout: '0' is no number of seconds"),
    ],
)
def test_numbers_have_bounds(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("repetitions", "warned"), [("3", True), ("5", True), ("6", False)])
def test_the_plan_warns_of_too_few_repetitions(
    repetitions: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--plan", str(EXAMPLE), "--repetitions", repetitions]) == 0
    words = f"vtool compare cannot decide with {repetitions} repetitions: needs at least 6, whatever the difference"
    assert (words in capsys.readouterr().out) is warned


def test_exit_codes_are_said_alike_wherever_they_are_said() -> None:
    """--help, README.md and the page of them: each code, and which verbs have 2 for what they looked for."""
    readme = (ROOT / "README.md").read_text().replace("\n", " ")
    page = (ROOT / "docs/reference/exit-codes.md").read_text()
    of_help = EPILOG.splitlines()[0] + " " + EPILOG.splitlines()[1]
    assert of_help.removeprefix("exit codes: ") in readme
    for code in ExitCode:
        assert re.search(rf"\b{code.value} ", of_help) and f"| {code.value} |" in page, code
    assert "`vtool compare`: a regression; `vtool plan --against-board`: something to do" in page


def test_bench_without_anything_to_measure_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--plan"]) == 2
    assert capsys.readouterr().err == (
        "usage: vtool bench TOPOLOGY, or vtool bench --matrix FILE: what is to be measured\n"
    )
    assert main(["bench", "--plan", str(EXAMPLE), str(EXAMPLE)]) == 2
    assert "the default matrix is of one topology, and 2 are named" in capsys.readouterr().err
