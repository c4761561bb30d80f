"""The lock file keeps every number that vtool chose, and says so when it cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vtool.cli.common import prepare
from vtool.diagnostics import VtoolError
from vtool.plan.lock import format_lock, lock_path

TOPOLOGIES = Path(__file__).resolve().parents[1] / "topologies"
FIRST = "regions:\n  aaa: {size: 6MiB, owner: fe0, borrowers: [be0], use: shared-memory}\n"


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    shutil.copytree(TOPOLOGIES, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "dom0less-shared.yaml"
    lock_path(path).write_text(format_lock(prepare(path).plan))
    return path


def numbers(path: Path, *, keep: bool) -> dict[str, int]:
    found: dict[str, int] = json.loads(format_lock(prepare(path, keep=keep).plan))["numbers"]
    return found


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def relock(path: Path, key: str, number: int) -> None:
    lock = json.loads(lock_path(path).read_text())
    assert key in lock["numbers"]
    lock["numbers"][key] = number
    lock_path(path).write_text(json.dumps(lock))


def test_what_comes_before_moves_nobody_once_locked(topology: Path) -> None:
    before = numbers(topology, keep=True)
    change(topology, "regions:\n", FIRST)
    change(topology, "event_channels:\n", "event_channels:\n  aaa: {between: [be0, dom0]}\n")
    kept, anew = numbers(topology, keep=True), numbers(topology, keep=False)
    assert {key: kept[key] for key in before} == before
    assert {key: anew[key] for key in before} != before
    assert set(kept) - set(before) == {
        *("board0/region aaa", "board0/domain fe0/region aaa", "board0/domain be0/region aaa"),
        *("board0/channel aaa/be0", "board0/channel aaa/dom0"),
    }


def test_what_is_gone_is_forgotten(topology: Path) -> None:
    change(topology, "  tick: {between: [dom0, be0]}\n", "")
    assert "board0/channel tick/be0" not in numbers(topology, keep=True)


@pytest.mark.parametrize(
    ("key", "number", "words"),
    [
        ("board0/region ring0", 0x4000_0000, "region 'ring0' at [0x40000000, 0x40400000)"),
        ("board0/domain fe0", 0x6000_0000, "memory of 'fe0' at [0x60000000, 0x70000000)"),
        ("board0/heap", 0x1_0000_0000, "the static heap at"),
        ("board0/domain fe0/region ring0", 0x4000_0000, "region 'ring0' in 'fe0' at"),
        ("board0/domain fe0/region ring0", 0x0300_0000, "region 'ring0' in 'fe0' at"),
        ("board0/channel bell/be0", 0, "port 0"),
        ("board0/channel bell/be0", 2, "port 2"),
    ],
)
def test_what_cannot_be_kept_is_an_error(topology: Path, key: str, number: int, words: str) -> None:
    relock(topology, key, number)
    with pytest.raises(VtoolError) as caught:
        prepare(topology)
    assert {found.code for found in caught.value.diagnostics} == {"VT411"}
    assert any(words in found.message for found in caught.value.diagnostics)
    assert all(found.span is not None for found in caught.value.diagnostics)
    prepare(topology, keep=False)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[" * 100_000, '{"format": 9, "numbers": {}}', '{"format": 1, "numbers": {"a": -1}}']
)
def test_a_damaged_lock_file_is_refused(topology: Path, text: str) -> None:
    lock_path(topology).write_text(text)
    with pytest.raises(VtoolError) as caught:
        prepare(topology)
    assert caught.value.diagnostics[0].code == "VT412"
