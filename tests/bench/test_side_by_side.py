"""Several boards at once: what runs where, one writer, boards that are lost, Ctrl-C, and going on with other boards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench.test_matrix import write
from tests.bench.test_repetition import guest_text
from tests.bench.test_runner import FIO, FakeField, Quiet
from vtool.bench.cells import Planned, Ready, plan_matrix
from vtool.bench.estimates import Times
from vtool.bench.field import Deployed
from vtool.bench.groups import began_on, groups_of, spread
from vtool.bench.lanes import Lane, lanes_of
from vtool.bench.places import Spot
from vtool.bench.plan_text import plan_data, plan_lines
from vtool.bench.run_folder import open_run
from vtool.bench.runner import Outcome, run_of
from vtool.bench.side_by_side import measure, spread_over
from vtool.cli.common import prepare_to_deploy
from vtool.diagnostics import VtoolError, board_failed
from vtool.results.degradation import degradations
from vtool.results.records import Environment, Void
from vtool.results.run_folder import RunRead, read_run

SAID = {
    "axes": {"cpus": {"key": "domains.fe0.cpus", "values": [1, 2]}},
    "baseline": {"cpus": 1},
    "workloads": {"disk": {"tool": "fio", "pattern": ["randread", "randwrite", "read", "write"]}},
    "repetitions": 2,
}
LANES = [Lane({"board0": "rack1"}), Lane({"board0": "rack2"})]


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    return plan_matrix(write(tmp_path_factory.mktemp("matrix"), SAID), prepare_to_deploy)


class OnBoard(FakeField):
    """A field of one lane, in the lane's process: ``say`` gets the board's name and the number of the measurement."""

    def __init__(self, lane: Lane, say: Callable[[str, int], Any] = lambda *_: guest_text(FIO)) -> None:
        self.board = lane.stands["board0"]
        super().__init__(lambda number: say(self.board, number))

    def environment(self, spot: Spot) -> Environment:
        found = super().environment(spot)
        return found.model_copy(update={"id": self.board[-1] * 64, "board": self.board})

    def revive(self, ready: Ready, *, wait: bool) -> None:
        assert not wait, "others go on with what it leaves"
        raise board_failed("VT603", f"board '{self.board}' is lost, and nothing can switch it")


def go(
    planned: Planned,
    folder: Path,
    say: Callable[[str, int], Any] = lambda *_: guest_text(FIO),
    lanes: Sequence[Lane] = LANES,
) -> tuple[Outcome, RunRead]:
    with open_run(folder, run_of(planned, "0.1.0", ("vtool", "bench"))) as opened:
        outcome = measure(
            planned, opened, lanes, lambda lane, _: OnBoard(lane, say), Quiet(), "0.1.0", ("vtool", "bench")
        )
    return outcome, read_run(folder)


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def boards(run: RunRead) -> Mapping[str, set[str]]:
    """Return the boards of each group by what they have measured that counts."""
    return {group.name.partition("/")[2]: began_on(group, run) for group in groups_of(run.run.cells)}


def test_what_is_compared_is_one_group(planned: Planned) -> None:
    groups = groups_of(planned.cells)
    assert [len(group.cells) for group in groups] == [2] * 4
    for group in groups:
        assert {cell.partition("/")[2] for cell in group.cells} == {group.name.partition("/")[2]}


def test_groups_go_where_it_is_over_first_and_stay_where_they_began(planned: Planned) -> None:
    groups, times = groups_of(planned.cells), Times(planned)
    given = spread(groups, ["a", "b"], times, {})
    assert [len(mine) for mine in given.values()] == [2, 2]
    assert {group.name for mine in given.values() for group in mine} == {group.name for group in groups}
    fixed = {group.name: "b" for group in groups[:3]}
    given = spread(groups, ["a", "b"], times, fixed)
    assert given == {"a": [groups[3]], "b": groups[:3]}
    assert spread(groups, ["a"], times, {groups[0].name: "gone"}) == {"a": groups}


def test_a_lane_has_a_board_for_each_of_the_topology_and_none_is_in_two() -> None:
    def of(**standing: list[str]) -> list[Mapping[str, str]]:
        return [lane.stands for lane in lanes_of(standing, lambda name: standing[name])]

    assert of(board0=["board0"]) == [{"board0": "board0"}]
    assert of(board0=["a", "b", "c"]) == [{"board0": "a"}, {"board0": "b"}, {"board0": "c"}]
    assert of(x=["a", "b"], y=["b", "c", "d"]) == [{"x": "a", "y": "b"}]
    assert of(x=["a", "b"], y=["c"]) == [{"x": "a", "y": "c"}]
    assert of() == []


def test_several_boards_measure_at_once_and_one_comparison_is_on_one(planned: Planned, tmp_path: Path) -> None:
    outcome, run = go(planned, tmp_path)
    assert (outcome.measured, outcome.missing, outcome.void) == (16, 0, []) and not run.missing()
    assert sorted(map(sorted, boards(run).values())) == [["rack1"], ["rack1"], ["rack2"], ["rack2"]]
    assert outcome.running == {"rack1": "cpus=2", "rack2": "cpus=2"} == dict(run.ended[-1].boards)
    assert len(run.sessions) == len(run.ended) == 1 and run.ended[0].how == "complete" and not run.moved
    assert {one.board for one in run.deployments} == {"rack1", "rack2"} == {e.board for e in run.environments.values()}
    compared = degradations(run)
    assert len(compared.cells) == 4 and not compared.not_compared
    raw = [one.raw[0].path for one in run.repetitions]
    assert len(set(raw)) == 16 and all((tmp_path / path).exists() for path in raw)


def test_both_measure_at_the_same_time(planned: Planned, tmp_path: Path) -> None:
    def say(board: str, _: int) -> Any:
        (tmp_path / board).touch()
        until(lambda: all((tmp_path / lane.name).exists() for lane in LANES))
        return guest_text(FIO)

    assert go(planned, tmp_path / "run", say)[0].missing == 0


def test_a_board_that_is_lost_costs_its_groups_what_they_had_and_no_comparison_is_mixed(
    planned: Planned, tmp_path: Path
) -> None:
    def say(board: str, number: int) -> Any:
        return board_failed("VT603", "gone") if board == "rack2" and number > 3 else guest_text(FIO)

    outcome, run = go(planned, tmp_path, say)
    assert not outcome.missing and set(map(tuple, boards(run).values())) == {("rack1",)}
    (moved,) = {(one.before, one.after) for one in run.moved}
    assert moved == ("rack2", "rack1") and len(run.superseded) == 4 and all(run.superseded)
    assert [one.void for one in run.superseded].count(None) == 3 and "begin anew on rack1, not rack2" in outcome.told[0]
    assert all(len({one.number for one in run.sound(cell.id)}) == 2 for cell in run.run.cells)
    assert len(degradations(run).cells) == 4


def test_when_every_board_is_lost_what_was_measured_is_kept_and_the_run_goes_on_elsewhere(
    planned: Planned, tmp_path: Path
) -> None:
    def say(_: str, number: int) -> Any:
        return board_failed("VT603", "gone") if number > 1 else guest_text(FIO)

    with pytest.raises(VtoolError, match="nothing can switch it"):
        go(planned, tmp_path, say)
    before = read_run(tmp_path)
    assert before.ended[-1].how == "failed" and sum(one.void is None for one in before.repetitions) == 2
    outcome, run = go(planned, tmp_path, lanes=[Lane({"board0": "rack1"}), Lane({"board0": "rack3"})])
    assert not outcome.missing and {name for names in boards(run).values() for name in names} == {"rack1", "rack3"}
    assert [one.before for one in run.moved] == ["rack2"] and run.repetitions[0].session == 1


def test_a_board_that_is_somebody_elses_leaves_its_groups_to_the_others(planned: Planned, tmp_path: Path) -> None:
    class Taken(OnBoard):
        def deploy(self, ready: Ready) -> list[Deployed]:
            done = super().deploy(ready)
            taken = board_failed("VT605", "it is carol's") if self.board == "rack2" else None
            return [replace(one, failure=taken) for one in done]

    with open_run(tmp_path, run_of(planned, "0.1.0", ("vtool",))) as opened:
        outcome = measure(planned, opened, LANES, lambda lane, _: Taken(lane), Quiet(), "0.1.0", ("vtool",))
    assert not outcome.missing and set(map(tuple, boards(read_run(tmp_path)).values())) == {("rack1",)}


def test_a_run_goes_on_on_the_boards_where_it_began(planned: Planned, tmp_path: Path) -> None:
    def say(_: str, number: int) -> Any:
        return guest_text("fio: killed") if number == 4 else guest_text(FIO)

    go(planned, tmp_path, say)
    first = boards(read_run(tmp_path))
    other_way_round = [LANES[1], LANES[0], Lane({"board0": "rack3"})]
    outcome, run = go(planned, tmp_path, lanes=other_way_round)
    assert not outcome.missing and boards(run) == first and not run.moved


def test_one_board_alone_does_not_go_on_with_what_another_began(planned: Planned, tmp_path: Path) -> None:
    with pytest.raises(VtoolError, match="VT605"):
        go(planned, tmp_path, lambda _, n: board_failed("VT605", "taken") if n == 6 else guest_text(FIO), LANES[:1])
    outcome, run = go(planned, tmp_path, lanes=LANES[1:])
    assert not outcome.missing and set(map(tuple, boards(run).values())) == {("rack2",)}
    assert len(run.moved) == len(outcome.told) == 4 and run.attempts()[run.run.cells[0].id, 1] == 2


def test_ctrl_c_ends_every_board_and_keeps_what_was_measured(planned: Planned, tmp_path: Path) -> None:
    def say(board: str, number: int) -> Any:
        if number == 2:
            (tmp_path / board).touch()
            until(lambda: all((tmp_path / lane.name).exists() for lane in LANES))
            if board == "rack1":
                os.kill(os.getppid(), signal.SIGINT)
            time.sleep(30)
            raise AssertionError("nobody interrupted it")
        return guest_text(FIO)

    before = signal.getsignal(signal.SIGINT)  # a shell's background job ignores it
    outcome, run = go(planned, tmp_path / "run", say)
    assert outcome.interrupted and run.ended[-1].how == "interrupted" and outcome.missing == 14
    assert sorted(run.ended[-1].boards) == ["rack1", "rack2"]
    assert [one.void for one in run.repetitions].count(Void.INTERRUPTED) == 2
    assert signal.getsignal(signal.SIGINT) is before
    assert not go(planned, tmp_path / "run")[0].missing


def test_a_lane_that_is_killed_is_told_and_its_groups_go_on(planned: Planned, tmp_path: Path) -> None:
    def say(board: str, number: int) -> Any:
        if board == "rack2" and number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return guest_text(FIO)

    outcome, run = go(planned, tmp_path, say)
    assert not outcome.missing and set(map(tuple, boards(run).values())) == {("rack1",)}


def test_a_folder_that_cannot_be_written_ends_every_board(
    planned: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vtool.bench import run_folder
    from vtool.bench.run_folder import RunFolder, cannot_write

    appended = RunFolder.append
    written: list[int] = []

    def full(self: RunFolder, record: Any) -> None:
        appended(self, record)
        written.append(1)
        if len(written) == 8:
            cannot_write(self.folder, OSError(28, "No space left on device"))

    monkeypatch.setattr(run_folder.RunFolder, "append", full)
    with pytest.raises(VtoolError, match="VT933"):
        go(planned, tmp_path)
    assert read_run(tmp_path).repetitions


def test_the_plan_says_what_runs_where_and_how_long_it_takes_on_so_many_boards(planned: Planned) -> None:
    one, two = spread_over(planned, LANES[:1], None), spread_over(planned, LANES, None)
    text = "\n".join(plan_lines(planned, two))
    assert "on 2 boards side by side" in text and "  rack1: about " in text and "  rack2: about " in text
    assert text.count("and 1 cell compared with it") == 4
    assert two.whole.repetitions == one.whole.repetitions == 16
    assert one.whole.seconds * 0.5 < two.whole.seconds < one.whole.seconds
    assert "side by side" not in "\n".join(plan_lines(planned, one))
    said = plan_data(planned, two)
    assert [one["stands"] for one in said["boards"]] == [{"board0": "rack1"}, {"board0": "rack2"}]
    assert sorted(cell for one in said["boards"] for group in one["groups"] for cell in group) == sorted(
        cell.id for cell in planned.cells
    )


def test_nothing_is_left_behind_in_a_lane_without_a_writer(planned: Planned, tmp_path: Path) -> None:
    """A writer that was killed ends its lanes at the next record, and leaves the folder to the next one."""
    pid = os.fork()
    if pid == 0:

        def say(board: str, number: int) -> Any:
            (tmp_path / f"{board}.pid").write_text(str(os.getpid()))
            if number == 2:
                os.kill(os.getppid(), signal.SIGKILL)
            return guest_text(FIO)

        go(planned, tmp_path / "run", say)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    lanes = [Path("/proc") / file.read_text() for file in tmp_path.glob("*.pid")]
    assert lanes
    until(lambda: not any(lane.exists() for lane in lanes))
    assert not go(planned, tmp_path / "run")[0].missing
