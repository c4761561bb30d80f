"""The JSON Schema says what the model says, for editors that know nothing of vtool."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vtool.model.schema import topology_schema
from vtool.reading.language import load_topology
from vtool.reading.source import load

ROOT = Path(__file__).resolve().parents[2]
CHECKED_IN = ROOT / "topology" / "schema.json"
VALIDATOR = Draft202012Validator(topology_schema())
SOUND = sorted(
    path
    for folder in ("topology/examples", "tests/topologies", "tests/language")
    for path in ROOT.glob(f"{folder}/*.yaml")
)
WRONG = sorted(
    path for code in ("VT201", "VT202", "VT203", "VT204") for path in ROOT.glob(f"tests/errors/{code}-*.yaml")
)
# What a variable makes or another file holds.
UNSEEN = {"VT201-in-an-included-file", "VT203-by-a-variable"}


def test_the_schema_checked_in_is_the_models() -> None:
    assert json.loads(CHECKED_IN.read_text()) == topology_schema(), "run `vtool schema -o topology/schema.json`"


def test_it_is_a_schema_of_its_draft() -> None:
    Draft202012Validator.check_schema(topology_schema())
    assert topology_schema()["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.stem)
def test_what_is_sound_passes(path: Path) -> None:
    VALIDATOR.validate(load_topology(path).value)


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_what_has_the_wrong_shape_fails(path: Path) -> None:
    assert VALIDATOR.is_valid(load(path).value) is (path.stem in UNSEEN)


@pytest.mark.parametrize("path", sorted((ROOT / "topology" / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_lead_editors_to_it(path: Path) -> None:
    match = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())
    assert match is not None and (path.parent / match[1]).resolve() == CHECKED_IN


EXAMPLE = load(ROOT / "topology" / "examples" / "kvm-pool.yaml").value


@pytest.mark.parametrize(
    ("way", "value", "valid"),
    [
        ("domains.fe0.memory", 0x1000_0000, True),
        ("domains.fe0.memory", "0x1000_0000", True),
        ("domains.fe0.memory", "256 MiB", True),
        ("domains.fe0.memory", "256MB", False),
        ("domains.fe0.memory", "0MiB", False),
        ("domains.fe0.memory", 0, False),
        ("domains.fe0.memory", "${memory}", True),
        ("domains.fe0.memory", "${mib}MiB", True),
        ("domains.fe0.memory", "${MiB}", False),
        ("domains.fe0.cpus", "${cpus}", True),
        ("domains.fe0.cpus", "two", False),
        ("domains.fe0.role", "${role}", True),
        ("domains.fe0.role", "gest", False),
        ("domains.fe0", "${guest}", False),
        ("regions.pool0.address", "0x4000_0000", True),
        ("regions.pool0.address", -1, False),
        ("regions.pool0.borrowers", ["${host}"], True),
        ("regions.pool0.borrowers", "${hosts}", False),
        ("devices.disk0.type", "net", False),
        ("devices.disk0.type", "${type}", True),
        ("devices.${disk}", EXAMPLE["devices"]["disk0"], False),
        ("boards.board0.hypervisor.kind", "zen", False),
        ("include", ["base.yaml"], True),
        ("include", ["/base.yaml"], False),
        ("include", "base.yaml", False),
        ("variables", {"a": 1, "b": True, "c": "${a}"}, True),
        ("variables", {"A": 1}, False),
        ("variables", {"a": [1]}, False),
        ("name", None, False),
        ("domains.fe0.board", None, False),
    ],
)
def test_values(way: str, value: Any, valid: bool) -> None:
    topology = json.loads(json.dumps(EXAMPLE))
    inner = topology
    *around, last = way.split(".")
    for key in around:
        inner = inner[key]
    inner[last] = value
    assert VALIDATOR.is_valid(topology) is valid


def test_keys_may_be_missing_only_beside_an_include() -> None:
    for key in ("version", "name", "boards", "domains"):
        topology = {other: value for other, value in EXAMPLE.items() if other != key}
        assert not VALIDATOR.is_valid(topology), key
        assert VALIDATOR.is_valid({"include": ["base.yaml"], **topology}), key


def test_every_mapping_is_closed_and_every_union_open_to_variables() -> None:
    def objects(schema: Any) -> list[dict[str, Any]]:
        if isinstance(schema, list):
            return [found for inner in schema for found in objects(inner)]
        if not isinstance(schema, dict):
            return []
        return [schema, *(found for inner in schema.values() for found in objects(inner))]

    found = objects(topology_schema())
    assert not any("oneOf" in schema or "discriminator" in schema for schema in found)
    assert all("additionalProperties" in schema for schema in found if schema.get("type") == "object")
