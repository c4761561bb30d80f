"""One fault in a sound topology, facts file or inventory is one error, at its place, in vtool's own words."""

from __future__ import annotations

import base64
import copy
import json
import os
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.property.beside import copy_beside
from vtool.board.inventory import Inventory
from vtool.cli.common import examine
from vtool.diagnostics import Diagnostic, VtoolError, format_diagnostic
from vtool.model.validate import known_facts, read_facts
from vtool.reading.language import load_topology
from vtool.reading.source import KeyPath, load, parse, read

ROOT = Path(__file__).parents[2]
FOLDERS = ("topology/examples", "tests/topologies")
TOPOLOGIES = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.yaml"))
# `VTOOL_FAULTS=20000 pytest tests/property/test_single_faults.py` looks further.
FAULTS = int(os.environ.get("VTOOL_FAULTS", "400"))
NOT_FAULTS_OF_THE_FILE = ("VT510", "VT511")
"""Warnings that some of the topologies have as they are."""
ODD: list[Any] = [
    None, "", [], {}, True, False, "5MB", "x_y", "Ab", -1, 0, 10**30, [""], [None], {"a": 1}, ["a", "a"], [[1]], "0x",
    "kvmm", "3.5", "a" * 3000, "é", "-", "${", [True], [{}], "\u0085x",
]  # fmt: skip
LIBRARY = re.compile(
    r"[Pp]ydantic|yaml_|\b(None|True|False|tuple|dict|str|int|bool|[Ii]nput should|validation|JSON|regex|literal|"
    r"[Ee]xtra (inputs?|fields?)|forbidden|discriminator|instance|object|[Tt]raceback|[Ee]xception|"
    r"should (be|have|match))\b|\{\}|\[\]|\{'|\['"
)
"""Words of pydantic, PyYAML and Python that no message of vtool's has."""
INVENTORY = f"""
version: 1
boards:
  desk0: {{driver: emulated, facts: qemu-virt}}
  rack1:
    driver: ssh
    facts: rpi4
    host: board.example
    port: 2222
    user: root
    host_key: ssh-ed25519 {base64.b64encode(bytes([0, 0, 0, 11]) + b"ssh-ed25519" + b"k" * 36).decode()}
    power:
      "on": [switch, rack1, "on", hunter2]
      "off": [switch, rack1, "off", hunter2]
      status: [switch, rack1, hunter2]
    console: {{join: [telnet, rack1, hunter2]}}
  lab1:
    driver: labgrid
    facts: rpi4
    tags: {{board: rpi4}}
    wait_s: 60
    known_hosts_file: known_hosts
"""


def walk(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, child in inner:
        yield (*path, part)
        yield from walk(child, (*path, part))


def at(value: Any, path: KeyPath) -> Any:
    for part in path:
        value = value[part]
    return value


def spoilt(value: Any, dice: random.Random) -> tuple[str, KeyPath, str]:
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
        marked = {**around, "\u0001": around[name]}  # another value, if wrong, would be a second fault
        around.clear()
        around.update(marked)
        return json.dumps(value, indent=1).replace('"\\u0001"', json.dumps(name)), path, "twice"
    old = around[name]
    words = (f"{old}?", old.upper(), old[:-1], f"{old}x") if isinstance(old, str) else (f"{old}", f"{old}?")
    around[name] = new = dice.choice((dice.choice(ODD), dice.choice(words)))
    return json.dumps(value, indent=1), path, "several" if new and isinstance(new, list | dict) else "value"


def assert_one_error(found: Sequence[Diagnostic], file: Path, path: KeyPath, how: str, said: str) -> None:
    """Check what is said of one fault; of a fault of shape that it is all that is said."""
    for one in found:
        words = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "", " ".join((one.message, *one.hints)))
        assert not LIBRARY.search(words), (said, one.message, one.hints)
        begin = one.message.split()[0]
        quoted = "'" in begin or "`" in begin
        assert quoted or begin == begin.lower() or begin == begin.upper(), (said, one.message)
        assert len(format_diagnostic(replace(one, span=None, hints=(), labels=()))) < 600, (said, one.message)
        assert one.span is not None, (said, one.message)
    of_shape = [one for one in found if one.code.startswith(("VT1", "VT2"))]
    if not of_shape or how == "several":
        return
    assert len(found) == 1, (said, [(one.code, str(one.span), one.message) for one in found])
    document = read(file)
    places = [document.span(path), document.span(path, key=True)]
    spans = [found[0].span, *(label.span for label in found[0].labels)]  # of a repeated key the second, and the first
    assert any(place.line <= span.line <= place.end_line for place in places for span in spans if span), (said, found)


def dice_for(kind: str, part: int, parts: int) -> Iterator[tuple[random.Random, str]]:
    for seed in range(part, max(FAULTS, parts), parts):
        yield random.Random(f"{kind} {seed}"), f"{kind}, seed {seed}"


@pytest.mark.parametrize("example", TOPOLOGIES, ids=lambda path: path.stem)
def test_topologies(example: Path, tmp_path: Path) -> None:
    copy_beside(example, tmp_path)
    value, file = load_topology(example).value, tmp_path / "topology.yaml"
    for dice, said in dice_for("topology", TOPOLOGIES.index(example), len(TOPOLOGIES)):
        text, path, how = spoilt(value, dice)
        file.write_text(text)
        try:
            found: Sequence[Diagnostic] = examine(file).findings
        except VtoolError as error:
            found = error.diagnostics
        found = [one for one in found if one.code not in NOT_FAULTS_OF_THE_FILE]
        assert_one_error(found, file, path, how, f"{said}, {how} {path}")


@pytest.mark.parametrize("name", known_facts())
def test_facts(name: str, tmp_path: Path) -> None:
    value, file = load(ROOT / "topology" / "boards" / f"{name}.yaml").value, tmp_path / "facts.yaml"
    for dice, said in dice_for("facts", known_facts().index(name), len(known_facts())):
        text, path, how = spoilt(value, dice)
        file.write_text(text)
        try:
            read_facts(file)
        except VtoolError as error:
            assert_one_error(error.diagnostics, file, path, how, f"{said}, {how} {path}")


def test_inventories(tmp_path: Path) -> None:
    (tmp_path / "known_hosts").touch()
    value, file = parse(INVENTORY, tmp_path / "inventory.yaml").value, tmp_path / "inventory.yaml"
    for dice, said in dice_for("inventory", 0, 2):
        text, path, how = spoilt(value, dice)
        file.write_text(text)
        try:
            Inventory(file)
        except VtoolError as error:
            shown = "\n".join(map(format_diagnostic, error.diagnostics))
            assert "hunter2" not in shown, (said, shown)
            assert_one_error(error.diagnostics, file, path, how, f"{said}, {how} {path}")
