"""Whatever is done to a topology, the answer is a plan or located diagnostics, never another exception."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from tests.property.beside import copy_beside
from vtool.cli.common import prepare
from vtool.diagnostics import Span, VtoolError
from vtool.diagnostics.codes import every_code
from vtool.render import render

CODES = every_code()

ROOT = Path(__file__).parents[2]
TOPOLOGIES = sorted(
    path
    for folder in ("topology/examples", "tests/topologies", "tests/language")
    for path in ROOT.glob(f"{folder}/*.yaml")
)
# `VTOOL_MUTATIONS=20000 pytest tests/property/test_mutations.py` looks further.
MUTATIONS = int(os.environ.get("VTOOL_MUTATIONS", "1200")) // len(TOPOLOGIES)
# fmt: off
ODD = [
    "0", "-1", "1e9", "0x_", "''", "[]", "{}", "null", "true", "999999999999TiB", "é", '"\\UFFFFFFFF"', "*a", "&a x",
    "!!binary x", "!!str x", "! x", '"\\uD800"', '"\\e[2J"', "1048577KiB",
    "192.0.2.2/255.255.255.0", "[host, host]", "0x" + "f" * 40, "9" * 5000, "%", "{{", "'; rm", "\x00",
    "192.0.2.2/99", "kvm", "pool", "a" * 300, "${guest}", "${guest_cpus}x", "${", "$${x}", "${nobody}", "[board.yaml]",
    "mutated.yaml", "[../mutated.yaml]", "[parts/pool.yaml]", "{a: 1}",
    "pci", "qemu", "passt", "viommu", "bar", "libvirt", "[0, 0]",
]
# fmt: on


def mutate(text: str, dice: random.Random) -> bytes:
    lines = text.splitlines(keepends=True)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(lines))
        kind = dice.randrange(6)
        if kind == 0 and len(lines) > 1:
            del lines[at]
        elif kind == 1:
            lines.insert(dice.randrange(len(lines)), lines[at])
        elif kind == 2 and ":" in lines[at]:
            lines[at] = f"{lines[at].split(':')[0]}: {dice.choice(ODD)}\n"
        elif kind == 3:
            lines[at] = " " * dice.randint(0, 8) + lines[at].lstrip()
        elif kind == 4:
            other = dice.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            place = dice.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:place] + chr(dice.randrange(1, 256)) + lines[at][place:]
    data = "".join(lines).encode()
    return data + bytes([dice.randrange(256)]) if dice.random() < 0.05 else data


def through(path: Path) -> None:
    for board in prepare(path, keep=False).plan.boards:
        render(board)


def assert_inside(span: Span | None, folder: Path) -> None:
    assert span is not None and span.path.resolve().is_relative_to(folder), span
    # Line ends as YAML counts them; the end of a block, and of the file, is the line after its last.
    lines = [*re.split("\r\n|[\n\r\x85\u2028\u2029]", span.path.read_bytes().decode(errors="replace")), ""]
    assert (1, 1) <= (span.line, span.column) <= (span.end_line, span.end_column), span
    assert span.end_line <= len(lines), span
    assert span.column <= len(lines[span.line - 1]) + 1, span


@pytest.mark.parametrize("example", TOPOLOGIES, ids=lambda path: path.stem)
def test_mutated_topologies(example: Path, tmp_path: Path) -> None:
    copy_beside(example, tmp_path)
    path = tmp_path / "mutated.yaml"
    texts = {path: example.read_text()}
    for part in example.parent.glob("parts/*.yaml"):
        texts[tmp_path / "parts" / part.name] = part.read_text()
        (tmp_path / "parts").mkdir(exist_ok=True)
    rejected = 0
    for seed in range(MUTATIONS):
        dice = random.Random(seed)
        mutated = dice.choice(list(texts))
        for file, text in texts.items():
            file.write_bytes(mutate(text, dice) if file == mutated else text.encode())
        try:
            through(path)
        except VtoolError as error:
            rejected += 1
            assert error.diagnostics
            for found in error.diagnostics:
                assert found.code in CODES, seed
                if found.code != "VT420":
                    assert_inside(found.span, tmp_path)
    assert rejected > MUTATIONS // 4
