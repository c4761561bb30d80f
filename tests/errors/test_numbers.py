"""No message tells a user to compute what vtool could: with the number that it gives, the error is gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.errors.test_errors import HERE, found_in

SIZE = r"(\d+[KMG]iB)"
NUMBERS = {
    "VT346-not-a-power-of-two": (rf"can be is {SIZE}", "size: 3MiB", "size: {}"),
    "VT346-too-small": (rf"can be is {SIZE}", r"size: \w+", "size: {}"),
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
