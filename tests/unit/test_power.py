"""Power drivers: every file has what an inventory and the documentation need, and is reached by its word."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Literal

import pytest

from vtool.board.inventory import Inventory
from vtool.board.power import DEFAULT, DRIVERS, PowerSettings, table, told_apart, word_of
from vtool.board.protocols import NoPower, Power
from vtool.diagnostics import Diagnostic, VtoolError, format_diagnostic
from vtool.model.shape import shape_of
from vtool.model.types import Model
from vtool.reading.source import read

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/how-to/reach-boards.md"
FOLDER = ROOT / "vtool/board/power"
SSH = """
version: 1
boards:
  rack1:
    driver: ssh
    facts: rpi4
    host: board.example
    known_hosts_file: known
"""
EACH = pytest.mark.parametrize("settings", DRIVERS, ids=word_of)


class Other(PowerSettings):
    """Another supply."""

    example = "{driver: other, port: 2}"
    driver: Literal["other"]
    port: int

    def supply(self, board: str) -> Power:
        return NoPower()


def load(folder: Path, power: Any) -> Inventory:
    (folder / "known").touch()
    path = folder / "inventory.yaml"
    path.write_text(f"{SSH}    power: {json.dumps(power)}\n")
    return Inventory(path)


def example(settings: type[PowerSettings], folder: Path) -> dict[str, Any]:
    path = folder / "example.yaml"
    path.write_text(settings.example)
    return {"driver": word_of(settings)} | read(path).value


def refusal(folder: Path, power: Any) -> Diagnostic:
    with pytest.raises(VtoolError) as caught:
        load(folder, power)
    return caught.value.diagnostics[0]


def test_a_driver_is_the_file_that_is_named_like_its_word() -> None:
    files = {path.stem.replace("_", "-") for path in FOLDER.glob("*.py")} - {"--init--", "base"}
    assert {word_of(settings) for settings in DRIVERS} == files and DEFAULT in files


@EACH
def test_an_inventory_chooses_it_and_gets_its_supply(settings: type[PowerSettings], tmp_path: Path) -> None:
    power = load(tmp_path, example(settings, tmp_path)).board("rack1").power
    assert power.can_switch and callable(power.on) and callable(power.off) and callable(power.is_on)


@EACH
def test_its_keys_are_asked_for_and_never_shown(settings: type[PowerSettings], tmp_path: Path) -> None:
    said = example(settings, tmp_path)
    for key in [key for key, field in settings.model_fields.items() if key != "driver" and field.is_required()]:
        assert refusal(tmp_path, {name: value for name, value in said.items() if name != key}).code == "VT202"
        wrong = refusal(tmp_path, said | {key: {"hunter2": 1}})
        assert wrong.code == "VT203" and "hunter2" not in format_diagnostic(wrong)
    assert refusal(tmp_path, said | {"another": 1}).code == "VT201"


def test_the_page_has_the_table() -> None:
    """VTOOL_GOLDEN=write makes the page follow the drivers."""
    page = PAGE.read_text()
    wanted, tables = re.subn(r"^\| `driver` \| switches by .*\n(\|.*\n)+", lambda _: table(), page, flags=re.M)
    assert tables == 1
    if os.environ.get("VTOOL_GOLDEN") == "write":
        PAGE.write_text(wanted)
    assert PAGE.read_text() == wanted


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("{on: [a], off: [b], status: [c]}", "", ""),
        ("{driver: commands, on: [a], off: [b], status: [c]}", "", ""),
        ("{driver: other, port: 2}", "", ""),
        ("{driver: other, port: two}", "VT203", "is not a whole number"),
        ("{on: a, off: [b], status: [c]}", "VT203", "is not a list"),
        ("{driver: another}", "VT203", "is not one of 'commands', "),
        ("{driver: [a], on: [b]}", "VT203", "is not one of 'commands', "),
        ("on", "VT203", "is not a mapping"),
        ("{driver: other}", "VT202", "the key 'port' is missing"),
        ("{driver: other, prt: 2}", "VT201", "'prt' is not known"),
        ("{port: 2}", "VT201", "'port' is not known"),
    ],
)
def test_several_drivers_are_told_apart_by_their_word(said: str, code: str, words: str, tmp_path: Path) -> None:
    kinds = told_apart([*DRIVERS, Other])

    class Entry(Model):
        power: kinds  # type: ignore[valid-type]

    path = tmp_path / "entry.yaml"
    path.write_text(f"power: {said}\n")
    entry, findings = shape_of(Entry, read(path))
    assert [(found.code, found.span and found.span.line) for found in findings] == ([(code, 1)] if code else [])
    if code:
        assert words in findings[0].message
    else:
        assert entry is not None and word_of(type(entry.power)) == ("other" if "other" in said else "commands")
