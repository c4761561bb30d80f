"""What pages show of verbs that need no board, for files that are here, is what vtool prints."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from vtool.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SHOWN = re.compile(
    r"^    \$ vtool ((?:map|graph|paths|dt|plan|validate|explain)(?: .*)?)\n((?:    (?!\$ ).*\n|\n(?=    ))+)",
    re.MULTILINE,
)
CASES = [
    pytest.param(command, output, id=f"{page.stem}: {command}")
    for page in sorted((ROOT / "docs").rglob("*.md"))
    for command, output in SHOWN.findall(page.read_text())
    if " -o " not in command and " --base " not in command
]


@pytest.mark.parametrize(("command", "output"), CASES)
def test_a_page_shows_what_is_printed(
    command: str, output: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line is printed, in this order, however far it is indented; an ellipsis stands for what is left out."""
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(command)) == 0
    printed = iter(capsys.readouterr().out.splitlines())
    for line in filter(None, map(str.strip, output.splitlines())):
        assert line == "…" or any(line == other.strip() for other in printed), line


def test_there_are_pages_that_show_something() -> None:
    assert len(CASES) >= 5
