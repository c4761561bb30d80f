"""No message tells a user to compute what vtool could: with the number that it gives, the error is gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.errors.test_errors import CASES, HERE, found_in

SIZE = r"(\d+[KMG]iB)"
NUMBERS = {
    "VT320-not-sectors": (r"the next is (\S+)", r"size: \S+(?=  # VT320)", "size: {}"),
    "VT346-not-a-power-of-two": (rf"can be is {SIZE}", "size: 3MiB", "size: {}"),
    "VT346-too-small": (rf"can be is {SIZE}", r"size: \w+", "size: {}"),
    "VT377-port-taken": (r"or write (\d+), which is free", "fe0: 7}(?=  # VT377)", "fe0: {}}}"),
    "VT398-heap-too-small": (rf"make it {SIZE}", "size: 512MiB", "size: {}"),
    "VT401-carve-out": (r"or write (0x[0-9a-f]+),", r"address: 0x[0-9a-f_]+", "address: {}"),
    "VT403-pool-behind-odd-memory": (rf"with {SIZE} of memory", "memory: 256MiB", "memory: {}"),
    "VT403-memory-of-a-guest": (rf"the next is {SIZE}", r"memory: \S+(?=  # VT403)", "memory: {}"),
    "VT403-page-tables": (rf"the next is {SIZE}", r"p2m_memory: \S+(?=  # VT403)", "p2m_memory: {}"),
    "VT403-pool-size": (rf"the next is {SIZE}", r"size: \S+(?=  # VT403)", "size: {}"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_what_a_hint_gives_is_what_mends_it(case: str, tmp_path: Path) -> None:
    said, wrong, right = NUMBERS[case]
    code, text = case[:5], (HERE / f"{case}.yaml").read_text()
    (hint,) = (hint for found in found_in(HERE / f"{case}.yaml") if found.code == code for hint in found.hints[:1])
    number = re.search(said, hint)
    assert number is not None, hint
    mended, times = re.subn(wrong, right.format(number[1]), text)
    assert times
    (tmp_path / "mended.yaml").write_text(mended)
    assert [d.message for d in found_in(tmp_path / "mended.yaml") if d.code == code] == []


ELSEWHERE = [path for path in CASES if path.name[:5] in ("VT376", "VT401", "VT404", "VT450", "VT452")]


@pytest.mark.parametrize("path", ELSEWHERE, ids=lambda path: path.stem)
def test_what_a_hint_says_is_free_is_free(path: Path, tmp_path: Path) -> None:
    for each in HERE.iterdir():
        (tmp_path / each.name).symlink_to(each)
    (tmp_path / path.name).unlink()
    before, text = found_in(path), path.read_text()
    free = [(d, re.search("or write (0x[0-9a-f]+)", " ".join(d.hints))) for d in before if d.code == path.name[:5]]
    assert free and all(found and d.span for d, found in free)
    for diagnostic, found in free:
        assert found and diagnostic.span
        lines = text.splitlines()
        at = diagnostic.span.line - 1
        lines[at] = re.sub(r"0x[0-9a-fA-F_]+", found[1], lines[at], count=1)
        (tmp_path / path.name).write_text("\n".join(lines) + "\n")
        after = [d for d in found_in(tmp_path / path.name) if d.span and d.span.line == diagnostic.span.line]
        assert not after, f"{found[1]}: {after[0].message}"
