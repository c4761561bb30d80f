"""The runner: interleaved rounds, what does not count, boards that die, Ctrl-C, and going on where it stopped."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.bench.test_matrix import write
from tests.bench.test_repetition import around, counters, guest_text
from vtool.bench.cells import Planned, Ready, plan_matrix
from vtool.bench.field import Deployed
from vtool.bench.places import Spot
from vtool.bench.run_folder import open_run
from vtool.bench.runner import MOST_ATTEMPTS, MOST_LOSSES, Outcome, Runner, run_of
from vtool.cli.common import prepare_to_deploy
from vtool.deploy.proof.steps import Row, Step
from vtool.diagnostics import VtoolError, board_failed
from vtool.results.records import Clock, Environment, Void
from vtool.results.run_folder import RunRead, read_run

RECORDED = Path(__file__).parent / "recorded"
FIO = (RECORDED / "fio-3.33-randread.json").read_text()
PROVEN = [Row("domain fe0", "its shell answers", "alive", "alive", True)]
UNPROVEN = [Row("domain fe0", "its shell answers", "alive", "nothing", False)]
A, B = "cpus=1", "cpus=2"


class Quiet:
    def start(self, task: str) -> None: ...
    def update(self, task: str, detail: str) -> None: ...
    def waits(self, what: str) -> None: ...
    def finish(self, task: str, outcome: str, seconds: float) -> None: ...


class FakeField:
    """A field whose boards say what a test has them say. ``log`` is what was done, in order."""

    def __init__(self, say: Callable[[int], Any] = lambda _: guest_text(FIO)) -> None:
        self.log: list[str] = []
        self.say, self.measured = say, 0
        self.rows: Callable[[int], list[Row]] = lambda _: PROVEN
        self.proofs = 0
        self.refuses: set[str] = set()
        self.stops = True

    def deploy(self, ready: Ready) -> list[Deployed]:
        cpus = f"cpus={ready.topology.domains['fe0'].cpus}"
        self.log.append(f"deploy {cpus}")
        failure = board_failed("VT801", "not proven") if cpus in self.refuses else None
        return [Deployed("board0", "g1", False, failure, tuple(PROVEN))]

    @contextlib.contextmanager
    def bench(self, ready: Ready) -> Iterator[FakeField]:
        yield self

    def revive(self, ready: Ready, *, wait: bool) -> None:
        self.log.append("revive")

    def stop(self, board: str) -> bool:
        self.log.append("stop")
        return self.stops

    def clock(self, board: str) -> Clock:
        return Clock.REAL

    def environment(self, spot: Spot) -> Environment:
        return Environment(id="a" * 64, board=spot.board, clock=Clock.REAL, facts={"kernel.release": "6.12"})

    def proven(self, board: str) -> list[Row]:
        self.proofs += 1
        return self.rows(self.proofs)

    def observe(self, board: str, steps: Sequence[Step]) -> Mapping[str, Any]:
        self.measured += 1
        self.log.append("measure")
        said = self.say(self.measured)
        if isinstance(said, BaseException):
            raise said
        return {
            "prepare": {"code": 0, "output": ""},
            "client": around(counters(20)),
            "fetch": {"code": 0, "output": said},
        } | (said if isinstance(said, dict) else {})


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    said = {
        "axes": {"cpus": {"key": "domains.fe0.cpus", "values": [1, 2]}},
        "baseline": {"cpus": 1},
        "workloads": {"disk": {"tool": "fio", "pattern": "randread"}},
        "repetitions": 2,
    }
    return plan_matrix(write(tmp_path_factory.mktemp("matrix"), said), prepare_to_deploy)


def go(planned: Planned, folder: Path, field: FakeField) -> tuple[Outcome, RunRead]:
    with open_run(folder, run_of(planned, "0.1.0", ("vtool", "bench"))) as opened:
        outcome = Runner(planned, opened, field, Quiet()).run("0.1.0", ("vtool", "bench"))
    return outcome, read_run(folder)


def test_variants_are_interleaved(planned: Planned, tmp_path: Path) -> None:
    field = FakeField()
    outcome, run = go(planned, tmp_path, field)
    assert field.log == [f"deploy {A}", "measure", f"deploy {B}", "measure"] * 2
    assert [(one.cell.split("/")[0], one.number) for one in run.repetitions] == [(A, 1), (B, 1), (A, 2), (B, 2)]
    assert outcome.measured == 4 and not outcome.missing and not outcome.void and outcome.running == {"board0": B}
    assert [ended.how for ended in run.ended] == ["complete"] and len(run.environments) == 1
    assert all(one.before and one.after and one.before.failed == () and one.metrics for one in run.repetitions)
    assert [one.variant for one in run.deployments] == [A, B, A, B]
    assert [(row.what, row.seen, row.proven) for row in run.deployments[0].rows] == [
        ("its shell answers", "alive", True)
    ]
    (raw,) = run.repetitions[0].raw
    assert json.loads((tmp_path / raw.path).read_text())["jobs"]


def test_a_killed_run_goes_on_where_it_stopped(planned: Planned, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    with pytest.raises(Killed):
        go(planned, tmp_path, FakeField(lambda n: Killed() if n == 3 else guest_text(FIO)))
    (tmp_path / "run.jsonl").write_bytes((tmp_path / "run.jsonl").read_bytes() + b'{"record": "repet')
    before = read_run(tmp_path)
    assert len(before.repetitions) == 2 and before.torn
    field = FakeField()
    outcome, run = go(planned, tmp_path, field)
    assert field.log == [f"deploy {A}", "measure", f"deploy {B}", "measure"] and outcome.measured == 2
    assert run.repetitions[:2] == before.repetitions and run.sessions[1].set_aside
    assert [one.session for one in run.repetitions] == [1, 1, 2, 2] and not run.missing()


def test_ctrl_c_keeps_what_is_measured_and_says_what_runs(planned: Planned, tmp_path: Path) -> None:
    outcome, run = go(planned, tmp_path, FakeField(lambda n: KeyboardInterrupt() if n == 2 else guest_text(FIO)))
    assert outcome.interrupted and outcome.missing == 3 and outcome.running == {"board0": B}
    assert [one.void for one in run.repetitions] == [None, Void.INTERRUPTED]
    assert run.ended[-1].how == "interrupted" and run.ended[-1].boards == {"board0": B}
    assert go(planned, tmp_path, FakeField())[0].measured == 3


def test_a_board_that_dies_costs_an_attempt_and_the_run_goes_on(planned: Planned, tmp_path: Path) -> None:
    field = FakeField(lambda n: board_failed("VT603", "board 'board0' does not answer") if n == 1 else guest_text(FIO))
    outcome, run = go(planned, tmp_path, field)
    assert field.log[:5] == [f"deploy {A}", "measure", "revive", f"deploy {A}", "measure"]
    assert [one.void for one in run.repetitions][:2] == [Void.BOARD_LOST, None] and not outcome.missing
    assert run.repetitions[0].why == "board 'board0' does not answer" and run.repetitions[1].attempt == 2


def test_a_board_that_always_dies_costs_the_cell(planned: Planned, tmp_path: Path) -> None:
    field = FakeField(lambda _: board_failed("VT603", "gone"))
    outcome, run = go(planned, tmp_path, field)
    assert outcome.missing == 4 and len(run.repetitions) == 2 * MOST_ATTEMPTS, "a cell, not each of its repetitions"
    assert {one.void for one in run.repetitions} == {Void.BOARD_LOST}


SILENT = "domain 'fe0' did not answer 'sh /tmp/vtool-bench.sh' in time"


def test_a_guest_that_falls_silent_costs_a_repetition_and_is_deployed_anew(planned: Planned, tmp_path: Path) -> None:
    field = FakeField(lambda n: board_failed("VT710", SILENT) if n == 2 else guest_text(FIO))
    outcome, run = go(planned, tmp_path, field)
    assert field.log[:7] == [f"deploy {A}", "measure", f"deploy {B}", "measure", "stop", f"deploy {B}", "measure"]
    assert [one.void for one in run.repetitions][:3] == [None, Void.GUEST_SILENT, None] and not outcome.missing
    assert run.repetitions[1].why == SILENT and "revive" not in field.log


@pytest.mark.parametrize("when", ["fingerprint", "proof"])
def test_a_guest_that_is_silent_before_anything_is_measured(planned: Planned, tmp_path: Path, when: str) -> None:
    field, asked = FakeField(), list[str]()

    def silent_once(usual: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def ask(of: Any) -> Any:
            asked.append(when)
            if len(asked) == 1:
                raise board_failed("VT710", SILENT)
            return usual(of)

        return ask

    name = {"fingerprint": "environment", "proof": "proven"}[when]
    setattr(field, name, silent_once(getattr(field, name)))
    outcome, run = go(planned, tmp_path, field)
    assert field.log[:4] == [f"deploy {A}", "stop", f"deploy {A}", "measure"] and not outcome.missing
    assert run.repetitions[0].void is Void.GUEST_SILENT and run.repetitions[0].environment is None


def test_a_silent_guest_that_cannot_be_stopped_costs_a_boot(planned: Planned, tmp_path: Path) -> None:
    def unreachable(_: str) -> bool:
        raise board_failed("VT603", "it does not answer either")

    for stop in (lambda _: False, unreachable):
        field = FakeField(lambda n: board_failed("VT710", SILENT) if n == 1 else guest_text(FIO))
        field.stop = stop  # type: ignore[method-assign, assignment]
        outcome, run = go(planned, tmp_path / stop.__name__.strip("<>"), field)
        assert field.log[:4] == [f"deploy {A}", "measure", "revive", f"deploy {A}"] and not outcome.missing
        assert run.repetitions[0].void is Void.GUEST_SILENT


def test_a_variant_of_which_no_guest_ever_answers_ends_after_some(tmp_path: Path) -> None:
    said = {"workloads": {"disk": {"tool": "fio", "pattern": ["read", "write", "randread", "randwrite"]}}}
    loaded = write(tmp_path, {**said, "repetitions": 3})
    field = FakeField(lambda _: board_failed("VT710", SILENT))
    outcome, run = go(plan_matrix(loaded, prepare_to_deploy), tmp_path / "run", field)
    assert len(run.repetitions) == field.log.count(f"deploy {A}") == MOST_LOSSES and outcome.missing == 12
    assert run.ended[-1].how == "complete"


def test_a_board_that_does_not_answer_while_it_is_deployed_to_is_started_again(
    planned: Planned, tmp_path: Path
) -> None:
    field, usual, asked = FakeField(), FakeField.deploy, list[str]()

    def deploy(ready: Ready) -> list[Deployed]:
        done = usual(field, ready)
        asked.append("deploy")
        return [Deployed("board0", "", False, board_failed("VT603", "gone"))] if len(asked) == 1 else done

    field.deploy = deploy  # type: ignore[method-assign]
    outcome, run = go(planned, tmp_path, field)
    assert field.log[:4] == [f"deploy {A}", "revive", f"deploy {A}", "measure"] and not outcome.missing
    assert [bool(one.failure) for one in run.deployments] == [True, False, False, False, False]


def test_a_board_that_nobody_can_switch_ends_the_run_with_everything_kept(planned: Planned, tmp_path: Path) -> None:
    field = FakeField(lambda n: board_failed("VT603", "gone") if n == 2 else guest_text(FIO))

    def revive(_: Ready, *, wait: bool) -> None:
        raise board_failed("VT603", "nothing can switch it")

    field.revive = revive  # type: ignore[method-assign]
    with pytest.raises(VtoolError, match="nothing can switch it"):
        go(planned, tmp_path, field)
    run = read_run(tmp_path)
    assert [one.void for one in run.repetitions] == [None, Void.BOARD_LOST] and run.ended[-1].how == "failed"


def test_what_may_pass_is_measured_again(planned: Planned, tmp_path: Path) -> None:
    disturbed = {"client": around(counters(20, busy_s=19.0)), "fetch": {"code": 0, "output": guest_text(FIO)}}
    outcome, run = go(planned, tmp_path, FakeField(lambda n: disturbed if n == 1 else guest_text(FIO)))
    assert [(one.number, one.attempt, one.void) for one in run.repetitions][:2] == [
        (1, 1, Void.DISTURBED),
        (1, 2, None),
    ]
    assert not outcome.missing and len(outcome.void) == 1


def test_what_never_counts_is_given_up_for_now(planned: Planned, tmp_path: Path) -> None:
    field = FakeField(lambda _: guest_text("fio: no such file"))
    outcome, run = go(planned, tmp_path, field)
    assert len(run.repetitions) == 4 * MOST_ATTEMPTS and outcome.missing == 4
    assert all(one.raw for one in run.repetitions), "what it printed is kept"


def test_a_missing_tool_is_said_once_a_cell(planned: Planned, tmp_path: Path) -> None:
    missing = {"prepare": {"code": 127, "output": "@@vtool missing fio\n"}, "client": {"output": ""}}
    outcome, run = go(planned, tmp_path, FakeField(lambda _: missing))
    assert [one.void for one in run.repetitions] == [Void.TOOL_MISSING] * 2 and outcome.missing == 4
    assert "'fio' is not on the path of 'fe0'" in run.repetitions[0].why


@pytest.mark.parametrize(("failing", "void"), [(1, Void.NOT_PROVEN_BEFORE), (2, Void.NOT_PROVEN_AFTER)])
def test_a_number_counts_only_when_the_path_is_proven(
    planned: Planned, tmp_path: Path, failing: int, void: Void
) -> None:
    field = FakeField()
    field.rows = lambda n: UNPROVEN if n == failing else PROVEN
    _, run = go(planned, tmp_path, field)
    assert run.repetitions[0].void is void and "its shell answers: nothing" in run.repetitions[0].why
    assert bool(run.repetitions[0].metrics) is (void is Void.NOT_PROVEN_AFTER)


def test_what_cannot_be_deployed_costs_its_cells_and_no_others(planned: Planned, tmp_path: Path) -> None:
    field = FakeField()
    field.refuses = {B}
    outcome, run = go(planned, tmp_path, field)
    assert field.log == [f"deploy {A}", "measure", f"deploy {B}", f"deploy {A}", "measure"]
    assert outcome.missing == 2 and [bool(one.failure) for one in run.deployments] == [False, True, False]


@pytest.mark.parametrize("code", ["VT604", "VT605", "VT626"])
def test_a_board_that_is_somebody_elses_is_never_switched(planned: Planned, tmp_path: Path, code: str) -> None:
    for says_so in ("bench", "observe"):
        field = FakeField(lambda n: board_failed(code, "not ours"))
        if says_so == "bench":
            field.bench = lambda _: (_ for _ in ()).throw(board_failed(code, "not ours"))  # type: ignore[assignment]
        with pytest.raises(VtoolError, match=f"{code}: not ours"):
            go(planned, tmp_path / says_so, field)
        assert "revive" not in field.log and read_run(tmp_path / says_so).ended[-1].how == "failed"


def test_a_board_that_does_not_answer_any_more_when_it_is_to_be_held_is_started_again(
    planned: Planned, tmp_path: Path
) -> None:
    field = FakeField()
    answers = iter([False, True, True, True, True])

    @contextlib.contextmanager
    def bench(_: Ready) -> Iterator[FakeField]:
        if not next(answers):
            raise board_failed("VT603", "it does not answer")
        yield field

    field.bench = bench  # type: ignore[assignment]
    outcome, run = go(planned, tmp_path, field)
    assert field.log[:4] == [f"deploy {A}", "revive", f"deploy {A}", "measure"] and not outcome.missing
    assert run.repetitions[0].void is Void.BOARD_LOST


def test_a_variant_that_is_alone_is_deployed_once(tmp_path: Path) -> None:
    said = {"workloads": {"disk": {"tool": "fio", "pattern": "randread"}}, "repetitions": 3}
    alone = plan_matrix(write(tmp_path, said), prepare_to_deploy)
    field = FakeField(lambda n: board_failed("VT603", "gone") if n == 2 else guest_text(FIO))
    outcome, _ = go(alone, tmp_path / "run", field)
    assert field.log == [f"deploy {A}", "measure", "measure", "revive", f"deploy {A}", "measure", "measure"]
    assert outcome.measured == 3


def test_what_is_said_to_be_measured_is_on_the_disk(planned: Planned, tmp_path: Path) -> None:
    seen: list[int] = []

    class Watching(Quiet):
        def finish(self, task: str, outcome: str, seconds: float) -> None:
            if outcome == "measured":
                seen.append(len(read_run(tmp_path).repetitions))

    with open_run(tmp_path, run_of(planned, "0.1.0", ("vtool",))) as opened:
        Runner(planned, opened, FakeField(), Watching()).run("0.1.0", ("vtool",))
    assert seen == [1, 2, 3, 4]
