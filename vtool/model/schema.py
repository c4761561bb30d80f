"""The JSON Schema of a topology file, for editors: generated from the model, so it cannot lag behind it.

It says what the YAML reader accepts, before variables stand in it: where a value may be written, ``${name}``
may be written. It knows shape only; what ``vtool.check`` finds it cannot.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from pydantic import BaseModel

from vtool.model.topology import Topology
from vtool.reading.language import VARIABLE_NAME

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_USE = {
    "description": "text in which ${name} stands for a variable",
    "pattern": rf"\$\{{{VARIABLE_NAME}\}}",
    "type": "string",
}
_NOTHING = {"type": "null"}
_SCALARS = ("string", "integer", "number", "boolean")
_ABOUT = ("title", "description", "default")


def topology_schema() -> dict[str, Any]:
    """Return the schema of a topology (draft 2020-12) as plain data."""
    schema = _adapted(Topology.model_json_schema(), variables=True)
    schema["$defs"]["UseOfVariables"] = _USE
    _need_nothing_beside_include(schema)
    return {"$schema": DIALECT, **schema}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of another file, in which there are no variables."""
    return {"$schema": DIALECT, **_adapted(model.model_json_schema(), variables=False)}


def _need_nothing_beside_include(schema: dict[str, Any]) -> None:
    """Let a file that includes others leave the keys to them."""
    schema["anyOf"] = [{"required": ["include"]}, {"required": schema.pop("required")}]


def _adapted(schema: dict[str, Any], *, variables: bool) -> dict[str, Any]:
    """Rewrite pydantic's schema of a value: closed mappings, variables, keywords of the draft alone."""
    adapted: dict[str, Any] = {}
    inside = partial(_adapted, variables=variables)
    for keyword, inner in schema.items():
        if keyword in ("$defs", "properties", "patternProperties"):
            adapted[keyword] = {name: inside(child) for name, child in inner.items()}
        elif keyword == "anyOf" and _NOTHING in inner:
            # A key that may be left out: nothing behind it is refused.
            adapted |= inside({keyword: [child for child in inner if child != _NOTHING]})
        elif keyword == "anyOf" and len(inner) == 1:
            adapted |= inside(inner[0])
        elif keyword in ("anyOf", "oneOf", "prefixItems"):
            # Of a union's models several may fit while a variable stands for the tag.
            adapted["anyOf" if keyword == "oneOf" else keyword] = [inside(child) for child in inner]
        elif keyword in ("items", "additionalProperties") and isinstance(inner, dict):
            adapted[keyword] = inside(inner)
        elif keyword not in ("discriminator", "title") and (keyword, inner) != ("default", None):
            adapted[keyword] = inner
    if "patternProperties" in adapted:
        adapted.setdefault("additionalProperties", False)
    if not variables or not (adapted.get("type") in _SCALARS or "const" in adapted or "enum" in adapted):
        return adapted
    about = {keyword: adapted.pop(keyword) for keyword in _ABOUT if keyword in adapted}
    return {**about, "anyOf": [adapted, {"$ref": "#/$defs/UseOfVariables"}]}
