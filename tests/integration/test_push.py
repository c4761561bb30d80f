"""A push to several sshds on loopback, on the machines of ``benchmarks.fleet``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fleet import MOUNTS, Fleet, Source, own_folders

from .machine import sshd_folder, why_no_board_folder, why_not

COUNTED = """
PYTHON=$(readlink -f /usr/bin/python3)
cp "$PYTHON" "$1/python"
printf '#!/bin/sh\\necho start >>%s/starts\\nexec %s/python "$@"\\n' "$1" "$1" >"$1/counted"
chmod 0755 "$1/counted"
mount --bind "$1/counted" "$PYTHON"
"""
"""Shell lines that count how often a machine starts Python."""


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    if reason := why_not() or why_no_board_folder():
        pytest.skip(reason)
    with sshd_folder() as (folder, stack):
        source = Source(folder, 2)
        source.write()
        yield Fleet(folder, source, stack, MOUNTS + COUNTED)


def push(fleet: Fleet) -> dict[str, dict[str, float]]:
    """Return the seconds of every board's phases."""
    folder = fleet.source.folder
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.push", folder / "topology.yaml", folder / "vtool.yaml"],
        env=os.environ | own_folders(folder),
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def vtool(fleet: Fleet, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    folder = fleet.source.folder
    files = (folder / "topology.yaml", "--inventory", folder / "vtool.yaml")
    return subprocess.run(
        [sys.executable, "-m", "vtool.cli.main", verb, *files, *words],
        env=os.environ | own_folders(folder),
        capture_output=True,
        text=True,
    )


def store(fleet: Fleet, board: str) -> dict[str, int]:
    folder = fleet.machines[board].folder / "lib" / "vtool" / "store"
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def starts(fleet: Fleet) -> list[int]:
    return [len((machine.folder / "starts").read_text().splitlines()) for machine in fleet.machines.values()]


def test_only_what_a_board_lacks_is_sent_to_it(fleet: Fleet) -> None:
    assert all("push" in phases for phases in push(fleet).values())
    fleet.check("vtool")
    first = store(fleet, "b0")
    assert starts(fleet) == [1, 1], "a deploy starts Python once"
    assert not any("push" in phases for phases in push(fleet).values()), "nothing is left to do"
    assert starts(fleet) == [2, 2]

    (fleet.arrived("b1", "vtool") / fleet.source.config("b1").removeprefix("generation/")).write_text("by hand")
    assert ["push" in phases for phases in push(fleet).values()] == [False, True]
    fleet.check("vtool")

    fleet.source.write(memory_mib=96)
    assert all("push" in phases for phases in push(fleet).values())
    fleet.check("vtool")
    second = store(fleet, "b0")
    assert 0 < len(second.keys() - first.keys()) < 4
    assert all(second[name] == first[name] for name in second.keys() & first.keys()), "what was there stayed"


def test_a_board_that_does_not_answer_hides_no_other(fleet: Fleet) -> None:
    fleet.machines["b0"].off()
    said = vtool(fleet, "status")
    assert said.returncode == 3 and "VT603" in said.stderr and "'b0'" in said.stderr and "'b1'" not in said.stderr
    assert [line.split() for line in said.stdout.splitlines() if "b0" in line] == [["board", "b0", "unknown"]]
    assert ["deployed", "b1", "nothing"] in [line.split() for line in said.stdout.splitlines()]
    data = json.loads(vtool(fleet, "generations", "--format", "json").stdout)
    assert data["b1"]["generations"] == [] and [failure["code"] for failure in data["b0"]["failure"]] == ["VT603"]


def test_a_difference_is_shown_of_all_boards_or_none(fleet: Fleet) -> None:
    both = vtool(fleet, "plan", "--against-board")
    assert both.returncode == 2 and both.stdout.index("board b0") < both.stdout.index("board b1"), both.stderr
    fleet.machines["b1"].off()
    said = vtool(fleet, "plan", "--against-board")
    assert said.returncode == 3 and "VT603" in said.stderr and "'b1'" in said.stderr and said.stdout == ""
