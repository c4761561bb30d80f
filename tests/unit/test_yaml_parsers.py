"""libyaml's parser and PyYAML's own read the same of every file here, whole and damaged."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from vtool.diagnostics import VtoolError
from vtool.reading import source
from vtool.reading.source import Document, parse

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path for folder in ("topology", "tests", "inventory", "playbooks") for path in (ROOT / folder).rglob("*.yaml")
)
SPECIAL = [
    *"\n :-[]{},'\"#&*!|>%@`\\~<=0xé😀",
    "\n- ",
    "\n  ",
    "---\n",
    "...\n",
    "? ",
    "!!str ",
    "&a ",
    "*a",
    "|\n",
    ">+\n",
]


def _read(text: str, path: Path, *, own: bool = False) -> Document | list[str]:
    with pytest.MonkeyPatch.context() as patch:
        if own:
            patch.setattr(source, "_READ_OTHERWISE", re.compile(""))
        try:
            return parse(text, path)
        except VtoolError as error:
            return [str(finding) for finding in error.diagnostics]


def _texts() -> dict[Path, str]:
    found = {}
    for path in FILES:
        data = path.read_bytes()
        if data.isascii():
            found[path] = data.decode()
    return found


def test_every_file_is_read_the_same() -> None:
    for path, text in _texts().items():
        assert _read(text, path) == _read(text, path, own=True), path


def test_so_are_damaged_ones() -> None:
    dice, texts, read = random.Random(18), list(_texts().values()), 0
    for _ in range(1500):
        lines = dice.choice(texts).splitlines(keepends=True)
        first = dice.randrange(max(1, len(lines) - 20))
        text = "".join(lines[first : first + 20])
        at = dice.randrange(len(text))
        text = text[:at] + dice.choice(SPECIAL) + text[at + dice.randrange(3) :]
        fast, own = _read(text, Path("x")), _read(text, Path("x"), own=True)
        read += isinstance(fast, Document)
        if isinstance(fast, Document) and isinstance(own, Document):
            assert fast.value == own.value, text
            # Of nothing between braces one names the place before the comma, the other the place behind it.
            there = [
                way for way, span in own.values.items() if (span.line, span.column) != (span.end_line, span.end_column)
            ]
            assert {way: fast.values[way] for way in there} == {way: own.values[way] for way in there}, text
        else:  # of several faults each may meet another one first
            assert isinstance(fast, list) and isinstance(own, list), text
    assert read > 300
