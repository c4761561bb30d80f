"""dtc and fdtoverlay end in many ways; what is said of it is true and never empty. The tools are scripts here."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtool.board.dts import read_tree
from vtool.deploy.merge import run_tool
from vtool.diagnostics import VtoolError

ENDS = (
    ("kill -SEGV $$", "was ended by signal 11 on {} and gave no reason"),
    ("echo no room >&2; kill -ABRT $$", "was ended by signal 6 on {}"),
    ("exit 1", "refuses {} and gives no reason"),
    ("echo no room >&2; exit 1", "refuses {}"),
)


def tool(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("script", "words"), ENDS)
def test_a_tool_that_merges(tmp_path: Path, script: str, words: str) -> None:
    path = tool(tmp_path, "fdtoverlay", script)
    with pytest.raises(VtoolError) as caught:
        run_tool([str(path), "board0.dtbo"])
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == ("VT701", f"'{path}' {words.format('board0.dtbo')}")
    assert ("no room" in "".join(found.detail)) == ("no room" in script)


@pytest.mark.parametrize(("script", "words"), ENDS)
def test_a_tool_that_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str) -> None:
    tool(tmp_path, "dtc", script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    source = tmp_path / "board.dts"
    source.write_text("/dts-v1/;\n/ { };\n")
    with pytest.raises(VtoolError) as caught:
        read_tree(source)
    (found,) = caught.value.diagnostics
    message = f"'{source}' cannot be read as a device tree: 'dtc' {words.format('it')}"
    assert (found.code, found.message) == ("VT801", message)
    assert ("no room" in "".join(found.detail)) == ("no room" in script)
