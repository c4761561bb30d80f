"""Two sshds that stand for one board measure at once: vtool's own deploys and locks, a stand-in for their guest."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fleet import own_folders
from vtool.board.inventory import Inventory
from vtool.board.local_lock import local_lock
from vtool.results.run_folder import read_run

from .machine import why_not
from .racks import RACKS, Racks, boards, racks, running, until


@pytest.fixture(scope="module")
def lab() -> Iterator[Racks]:
    if reason := why_not():
        pytest.skip(reason)
    with racks() as found:
        yield found


def test_each_comparison_is_measured_on_one_of_two_boards(lab: Racks, tmp_path: Path) -> None:
    planned = lab.vtool("--plan")
    assert "on 2 boards side by side" in planned and "  rack1: about" in planned
    said = lab.vtool("-o", tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert not run.missing() and sorted(map(sorted, boards(run))) == [["rack1"], ["rack2"]]
    assert all(one.before and one.before.rows > 1 and not one.before.failed for one in run.repetitions)
    for rack in RACKS:
        assert f"board '{rack}' runs variant" in said and f"--use board0={rack}" in said
    spans = {rack: [one for one in run.deployments if one.board == rack] for rack in RACKS}
    first, second = (sorted(one.started for one in spans[rack]) for rack in RACKS)
    assert len(first) == len(second) == 4 and first[0] < second[-1] and second[0] < first[-1], "one after the other"


def test_a_board_that_dies_leaves_its_comparison_to_the_other(lab: Racks, tmp_path: Path) -> None:
    with running(lab, tmp_path / "run", 2) as process:
        lab.flag("rack2", "slow").touch()
        lab.flag("rack2", "starting").unlink()
        until(lambda: lab.flag("rack2", "starting").exists())  # it is asked for a start by the next repetition
        lab.cut("rack2")
        said = process.communicate(timeout=240)[1]
    lab.flag("rack2", "slow").unlink()
    lab.fleet.machines["rack2"].on()
    run = read_run(tmp_path / "run")
    assert process.returncode == 0 and not run.missing(), said
    assert boards(run) == [{"rack1"}, {"rack1"}]
    assert {one.board for one in run.deployments} == set(RACKS) and "lost     rack2: " in said
    assert not run.superseded or [(one.before, one.after) for one in run.moved] == [("rack2", "rack1")]


def test_ctrl_c_ends_both_lets_go_of_both_and_goes_on(lab: Racks, tmp_path: Path) -> None:
    with running(lab, tmp_path / "run", 1) as process:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and "interrupted" in said
    run = read_run(tmp_path / "run")
    assert run.ended[-1].how == "interrupted" and run.missing()
    lab.vtool("-o", tmp_path / "run")  # which nobody keeps from either board
    assert not read_run(tmp_path / "run").missing()


def test_a_board_that_another_vtool_works_on_is_left_to_it(
    lab: Racks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in own_folders(lab.folder).items():
        monkeypatch.setenv(name, value)
    with local_lock(Inventory(lab.folder / "vtool.yaml").stand_in("rack2")):
        said = lab.vtool("-o", tmp_path / "run")
    assert boards(read_run(tmp_path / "run")) == [{"rack1"}, {"rack1"}]
    assert "another vtool is working on board 'rack2'" in said
