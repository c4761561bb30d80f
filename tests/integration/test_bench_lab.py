"""Cells spread over places of a real labgrid coordinator by tags: taken, measured on, switched, given back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from vtool.results.records import Void
from vtool.results.run_folder import read_run

from .lab import Console, Lab, board_behind, power_switch
from .machine import why_not
from .racks import MATRIX, Racks, boards, racks, running, until

pytest.importorskip("labgrid")
PLACES = {"rack1": ("board=fleet",), "rack2": ("board=fleet",), "rack3": ("board=rpi4",)}


class InLab:
    """Two machines behind a coordinator, which alone says where they are; a third place is another board's."""

    def __init__(self, found: Racks, stack: contextlib.ExitStack) -> None:
        self.racks, machines = found, found.fleet.machines
        groups = {
            name: board_behind(Console(stack).port, machine.port, power_switch(machine, stack), "root")
            for name, machine in machines.items()
        }
        folder = found.folder / "lab"
        folder.mkdir()
        self.lab = stack.enter_context(Lab(folder, groups, PLACES).open())
        known = found.folder / "known_hosts"
        known.write_text("".join(f"[127.0.0.1]:{one.port} {one.host_key}\n" for one in machines.values()))
        identity = found.folder / "authorized"
        keys = [one.identity.with_suffix(".pub") for one in machines.values()]
        identity.write_text("".join(key.read_text() for key in keys))
        for key in keys:  # a lab's boards know one key
            key.write_text(identity.read_text())
        said = json.loads((found.folder / "vtool.yaml").read_text())["boards"]["rack1"]
        entry = {
            "driver": "labgrid",
            "coordinator": self.lab.coordinator,
            "tags": {"board": "fleet"},
            "facts": said["facts"],
            "device_tree": said["device_tree"],
            "identity_file": said["identity_file"],
            "known_hosts_file": str(known),
            "stands_for": "board0",
        }
        (found.folder / "vtool.yaml").write_text(json.dumps({"version": 1, "boards": {"racks": entry}}))
        (found.folder / "m.yaml").write_text(json.dumps({**MATRIX, "repetitions": 1}))


@pytest.fixture(scope="module")
def there() -> Iterator[InLab]:
    if reason := why_not():
        pytest.skip(reason)
    with racks() as found, contextlib.ExitStack() as stack:
        yield InLab(found, stack)


def test_each_comparison_is_measured_at_one_place_and_all_are_given_back(there: InLab, tmp_path: Path) -> None:
    planned = there.racks.vtool("--plan")
    assert "on 2 boards side by side" in planned and "  racks-rack1: about" in planned and "rack3" not in planned
    there.racks.vtool("-o", tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert not run.missing() and sorted(map(sorted, boards(run))) == [["racks-rack1"], ["racks-rack2"]]
    assert {one.facts["board.driver"] for one in run.environments.values()} == {"labgrid"}
    first, second = ([one.started for one in run.deployments if one.board == f"racks-rack{n}"] for n in (1, 2))
    assert len(first) == len(second) == 2 and first[0] < second[-1] and second[0] < first[-1], "one after the other"
    assert [there.lab.holder(place) for place in PLACES] == [None] * 3


def test_a_place_that_somebody_else_has_is_not_planned_with(there: InLab) -> None:
    there.lab.client("-p", "rack2", "acquire", user="carol")
    try:
        planned = there.racks.vtool("--plan")
    finally:
        there.lab.client("-p", "rack2", "release", user="carol")
    assert "about 5 min: 4 repetitions" in planned and "boards side by side" not in planned


def test_a_board_that_dies_is_switched_off_and_on_by_the_lab(there: InLab, tmp_path: Path) -> None:
    found = there.racks
    for rack in ("rack1", "rack2"):
        found.flag(rack, "starting").unlink(missing_ok=True)
    found.flag("rack2", "slow").touch()
    with running(found, tmp_path / "run", 0) as process:
        until(lambda: found.flag("rack2", "starting").exists())
        found.cut("rack2")
        found.flag("rack2", "slow").unlink()
        said = process.communicate(timeout=120)[1]
    run = read_run(tmp_path / "run")
    assert process.returncode == 0 and not run.missing(), said
    assert sorted(map(sorted, boards(run))) == [["racks-rack1"], ["racks-rack2"]] and not run.moved, said
    lost = [one for one in run.repetitions if one.void is Void.BOARD_LOST]
    failed = [one for one in run.deployments if one.failure]
    assert len(lost) + len(failed) == 1 and found.fleet.machines["rack2"].is_on(), said
    assert [there.lab.holder(place) for place in PLACES] == [None] * 3
