"""Files that take another's place: whole or not at all, whoever writes at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vtool.files.replacing import replacing, write_whole


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_written_with_its_folders_and_not_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    write_whole(path, b"one")
    before = path.stat().st_ino
    assert path.stat().st_mode & 0o77 == 0
    write_whole(path, b"one")
    assert path.stat().st_ino == before
    write_whole(path, b"two")
    assert path.read_bytes() == b"two" and path.stat().st_ino != before and names(path.parent) == ["b"]


def test_several_write_one_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "known"
    texts = [bytes([n]) * 100_000 for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_whole(path, text), texts * 4))
    assert path.read_bytes() in texts and names(tmp_path) == ["known"]


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as new:
        new.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and names(tmp_path) == ["kept"]
