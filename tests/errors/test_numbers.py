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
    "VT363-longer-than-qemus": (r"write (\d+)", r"queue_size: \d+", "queue_size: {}"),
    "VT363-over-mmio": (r"write (\d+)", r"queue_size: \d+", "queue_size: {}"),
    "VT363-not-a-power-of-two": (r"write (\d+)", r"queue_size: \d+", "queue_size: {}"),
    "VT363-shorter-than-a-networks": (r"write (\d+)", r"queue_size: \d+", "queue_size: {}"),
    "VT363-two-pairs-of-passt": (r"write (\d+)", r"queues: \d+", "queues: {}"),
    "VT332-bridge-with-two-addresses": (
        r"backend_address: (\S+)`",
        r"backend_address: \S+(?=  # VT332)",
        "backend_address: {}",
    ),
    "VT344-one-cid": (r"address (\d+) is free", r"cid: \d+(?=  # VT344)", "cid: {}"),
    "VT344-one-tcp-port": (r"port (\d+) is free", r"tcp_port: \d+(?=  # VT344)", "tcp_port: {}"),
    "VT377-port-taken": (r"or write (\d+), which is free", "fe0: 7}(?=  # VT377)", "fe0: {}}}"),
    "VT413-not-a-power-of-two": (rf"write {SIZE}", "alignment: 3MiB", "alignment: {}"),
    "VT445-in-xls-order": (r"can be at (0x[0-9a-f]+)", r"address: \S+(?=  # VT445)", "address: {}"),
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


WITH_ADDRESSES = ("VT352", "VT376", "VT401", "VT404", "VT450", "VT452")
ELSEWHERE = [path for path in CASES if path.name[:5] in WITH_ADDRESSES and path.stem != "VT352-more-than-the-layout"]


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


NETWORKS = [path for path in CASES if path.name[:5] in ("VT331", "VT333", "VT345", "VT428")]


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_addresses_and_ports_of_a_hint_are_free(path: Path, tmp_path: Path) -> None:
    code, mended = path.name[:5], tmp_path / path.name
    mended.write_text(path.read_text())
    found = [d for d in found_in(path) if d.code == code and d.hints]
    assert found
    for diagnostic in found:
        assert diagnostic.span
        hint, lines, at = diagnostic.hints[0], mended.read_text().splitlines(), diagnostic.span.line - 1
        pairs = dict(re.findall(r"`((?:back|front)end_address): ([\d./]+)`", hint))
        if one := re.match(r"([\d./]+) is free in|TCP port (\d+) is free", hint):
            (key, number) = re.search(r"(\w+_address): |- '?(\d+):", lines[at]).groups()  # type: ignore[union-attr]
            pairs = {key or number: one[1] or one[2]}
        assert pairs, hint
        for index in range(max(at - 1, 0), min(at + 2, len(lines))):
            for key, value in pairs.items():
                lines[index] = re.sub(rf"{key}: [^,}}#]*", f"{key}: {value} ", lines[index])
                lines[index] = re.sub(rf"(?<=- '){key}(?=:)", value, lines[index])
        mended.write_text("\n".join(lines) + "\n")
    assert [d.message for d in found_in(mended) if d.code == code and d.hints] == []
