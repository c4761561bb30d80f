"""What a killed vtool left is removed when the next one begins, and what a living one uses is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vtool.base.runtime import working_folder

USE = """
import sys
from pathlib import Path
from vtool.base.runtime import working_folder
with working_folder(Path(sys.argv[1]), "play-") as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", USE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_what_is_left_goes_and_what_is_used_stays(other: subprocess.Popen[str], tmp_path: Path) -> None:
    assert other.stdout is not None
    its = Path(other.stdout.readline().strip())
    (tmp_path / "staged-of-another-kind").mkdir()
    with working_folder(tmp_path, "play-") as folder:
        assert folder.name.startswith("play-") and (its / "file").exists()
        other.kill()
        other.wait()
        with working_folder(tmp_path, "play-") as second:
            assert {each.name for each in tmp_path.iterdir()} == {folder.name, second.name, "staged-of-another-kind"}
    assert [each.name for each in tmp_path.iterdir()] == ["staged-of-another-kind"]
