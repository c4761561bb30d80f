"""The lock on a board: refused while its owner is there, waited for when only what the owner began is left."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

WORK_S = 2.0
HOLD = f"""
import json, sys, time
from pathlib import Path
from vtool.deploy.on_board import lock
from vtool.deploy.on_board.base import BoardError
lock.LOCK, lock.GONE = Path(sys.argv[1], "lock"), Path(sys.argv[1], "gone")
def answer(request, data):
    time.sleep({WORK_S})
    Path(sys.argv[1], "worked").touch()
    return {{}}
try:
    lock.keep({{"token": sys.argv[2], "who": sys.argv[2], "since": "now"}}, answer)
except BoardError as error:
    print(json.dumps(error.to_json()))
"""


class Holder(subprocess.Popen[str]):
    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(
            [sys.executable, "-c", HOLD, str(folder), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def says(self) -> dict[str, object]:
        assert self.stdout is not None
        said: dict[str, object] = json.loads(self.stdout.readline())
        return said

    def begins_to_work(self) -> None:
        assert self.stdin is not None
        self.stdin.write(json.dumps({"stdin": ""}) + "\n")
        self.stdin.flush()

    def goes(self) -> None:
        assert self.stdin is not None
        self.stdin.close()


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Holder]:
    with Holder(tmp_path, "first") as holder:
        assert holder.says() == {"held": True}
        yield holder
        holder.kill()


def test_who_comes_second_is_told_who_has_it(tmp_path: Path, first: Holder) -> None:
    first.begins_to_work()
    with Holder(tmp_path, "second") as second:
        said = second.says()
    assert said["code"] == "VT605" and "first, since now" in str(said["message"])
    assert not (tmp_path / "worked").exists(), "nobody waited"


def test_what_somebody_who_is_gone_began_is_waited_for(tmp_path: Path, first: Holder) -> None:
    first.begins_to_work()
    time.sleep(0.2)  # it has read the line by then; the moment decides nothing
    first.goes()
    with Holder(tmp_path, "second") as second:
        assert second.says() == {"held": True}
        assert (tmp_path / "worked").exists()
        with Holder(tmp_path, "third") as third:
            assert third.says()["code"] == "VT605", "the second is there"
        second.goes()
