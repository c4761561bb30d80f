"""One fault in a sound topology, facts file or inventory is one error, at its place, in vtool's own words."""

from __future__ import annotations

import copy
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vtool.board.inventory import Inventory
from vtool.cli.common import examine
from vtool.diagnostics import Diagnostic, VtoolError
from vtool.language import load_topology
from vtool.model.validate import known_facts, read_facts
from vtool.source import DataPathTuple, load, read

ROOT = Path(__file__).parents[2]
TOPOLOGIES = sorted(path for folder in ("topology/examples", "tests/topologies") for path in ROOT.glob(f"{folder}/*.yaml"))
# `VTOOL_FAULTS=20000 pytest tests/property/test_single_faults.py` looks further.
FAULTS = int(os.environ.get("VTOOL_FAULTS", "400"))
NOT_FAULTS_OF_THE_FILE = ("VT510", "VT511")
"""Warnings that some of the topologies have as they are."""
ODD: list[Any] = [
    None, "", [], {}, True, False, "5MB", "x_y", "Ab", -1, 0, 10**30, [""], [None], {"a": 1}, ["a", "a"], [[1]], "0x",
    "kvmm", "3.5", "a" * 3000, "é", "-", "${", [True], [{}], "\u0085x",
]  # fmt: skip
LIBRARY = re.compile(
    r"pydantic|\bnone\b|\btrue\b is not true|\b(tuple|dict|str|int|bool|input|validation|valid|json|regex|pattern|enum|"
    r"literal|extra|forbidden|discriminator|instance|object|traceback|exception|type=|should (be|have|match))\b|\{\}|\[\]",
    re.IGNORECASE,
)


def walk(value: Any, path: DataPathTuple = ()) -> Iterator[DataPathTuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, child in inner:
        yield (*path, part)
        yield from walk(child, (*path, part))


def at(value: Any, path: DataPathTuple) -> Any:
    for part in path:
        value = value[part]
    return value


def spoilt(value: Any, dice: random.Random) -> tuple[str, DataPathTuple, str]:
    """Return a document's text with one fault, the fault's place, and what was done."""
    value = copy.deepcopy(value)
    path = dice.choice(list(walk(value)))
    around, name = at(value, path[:-1]), path[-1]
    kind = dice.choice(("value", "value", "value", "key", "gone", "twice"))
    if isinstance(around, dict) and kind == "key":
        assert isinstance(name, str)
        new = dice.choice((f"{name}x", name[:-1] or "x", f"x{name}", f"{name[:1]}_{name[1:]}", name.upper(), "xyzzy"))
        if new not in around:
            entries = {new if key == name else key: entry for key, entry in around.items()}
            around.clear()
            around.update(entries)
            return json.dumps(value, indent=1), (*path[:-1], new), "key"
    if isinstance(around, dict) and kind == "gone":
        del around[name]
        return json.dumps(value, indent=1), path[:-1], "gone"
    if isinstance(around, dict) and kind == "twice":
        marked = {**around, "\u0001": dice.choice((around[name], *ODD[:4]))}
        around.clear()
        around.update(marked)
        return json.dumps(value, indent=1).replace('"\\u0001"', json.dumps(name)), path, "twice"
    old = around[name]
    words = (f"{old}?", old.upper(), old[:-1], f"{old}x") if isinstance(old, str) else (f"{old}", f"{old}?")
    around[name] = dice.choice((dice.choice(ODD), dice.choice(words)))
    return json.dumps(value, indent=1), path, "value"


def assert_one_error(found: Sequence[Diagnostic], file: Path, path: DataPathTuple, how: str, said: str) -> None:
    """Check what is said of one fault; of a fault of shape that it is all that is said."""
    for one in found:
        words = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "", " ".join((one.message, *one.hints)))
        assert not LIBRARY.search(words), (said, one.message, one.hints)
        assert one.message[:1] == one.message[:1].lower() and len(one.message) < 600, (said, one.message)
        assert one.span is not None, (said, one.message)
    of_shape = [one for one in found if one.code.startswith(("VT1", "VT2"))]
    if not of_shape:
        return
    assert len(found) == 1, (said, [(one.code, str(one.span), one.message) for one in found])
    document = read(file)
    places = [document.span(path), document.span(path, key=True)]
    span = found[0].span
    assert span is not None and any(place.line <= span.line <= place.end_line for place in places), (said, found[0])
