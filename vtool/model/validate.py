"""From values to types: pydantic's findings as diagnostics with a place, all of them."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from vtool.diagnostics import Diagnostic, VtoolError
from vtool.model.board_facts import BoardFacts
from vtool.model.topology import Topology
from vtool.rooms import room
from vtool.source import DataPathTuple, Document, load

ModelType = TypeVar("ModelType", bound=BaseModel)


@dataclass(frozen=True)
class LoadedFacts:
    """A board's facts with the file they come from, so that a rule can point into it."""

    facts: BoardFacts
    document: Document


def validate(document: Document) -> Topology:
    """Check the shape of a topology. Raises VtoolError with every VT2xx finding."""
    return validate_as(Topology, document)


def known_facts() -> list[str]:
    """Return the names of the facts files vtool ships."""
    return sorted(path.stem for path in _facts_folder().glob("*.yaml"))


def load_facts(name: str) -> LoadedFacts:
    """Read ``topology/boards/<name>.yaml``. Raises VtoolError VT1xx or VT2xx."""
    document = load(_facts_folder() / f"{name}.yaml")
    return LoadedFacts(validate_as(BoardFacts, document), document)


def _facts_folder() -> Path:
    return room("topology") / "boards"


def validate_as(model: type[ModelType], document: Document) -> ModelType:
    """Check a document's shape against a model; all findings in one VtoolError."""
    if not isinstance(document.value, dict):
        raise VtoolError(Diagnostic("VT200", "the file must be a mapping of keys to values", document.span(())))
    try:
        # As JSON, because pydantic's strict mode takes words for enums and lists for tuples only there.
        return model.model_validate_json(json.dumps(document.value))
    except ValidationError as error:
        findings = [_diagnostic(model, document, dict(item)) for item in error.errors(include_url=False)]
        raise VtoolError(findings) from None


def _diagnostic(  # noqa: PLR0911 - one return a kind of finding reads best
    model: type[BaseModel], document: Document, item: dict[str, Any]
) -> Diagnostic:
    path = _path_in(document.value, item["loc"])
    kind, name = item["type"], str(item["loc"][-1]) if item["loc"] else ""
    if kind == "extra_forbidden":
        return _unknown_key(model, document, path, name)
    if kind == "missing":
        return Diagnostic("VT202", f"the key '{name}' is missing", document.span(path, key=True), hints=_example(name))
    if kind == "union_tag_not_found":
        tag = item["ctx"]["discriminator"].strip("'")
        return Diagnostic("VT202", f"the key '{tag}' is missing", document.span(path, key=True))
    if kind == "union_tag_invalid":
        tag = item["ctx"]["discriminator"].strip("'")
        allowed = [word.strip("' ") for word in item["ctx"]["expected_tags"].split(",")]
        return _bad_choice(document, (*path, tag), str(item["ctx"]["tag"]), allowed)
    if kind in ("enum", "literal_error"):
        allowed = [word.strip("' ") for word in item["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return _bad_choice(document, path, str(item["input"]), allowed)
    if path and item["loc"] and item["loc"][-1] == "[key]":
        return Diagnostic("VT204", _name_rule(str(path[-1])), document.span(path, key=True))
    return Diagnostic("VT203", _wrong_value(kind, item), document.span(path))


def _path_in(value: Any, location: tuple[str | int, ...]) -> DataPathTuple:
    """Follow pydantic's location through the data, skipping what is not in it (union tags, "[key]")."""
    path: list[str | int] = []
    for part in location:
        if isinstance(value, list) and isinstance(part, int) and part < len(value):  # noqa: SIM114
            value = value[part]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _unknown_key(model: type[BaseModel], document: Document, path: DataPathTuple, name: str) -> Diagnostic:
    allowed = sorted(_keys_at(model, path[:-1], document.value))
    return Diagnostic(
        "VT201",
        f"the key '{name}' is not known here",
        document.span(path, key=True),
        hints=(*nearest(name, allowed), f"known here: {', '.join(allowed)}"),
    )


def _bad_choice(document: Document, path: DataPathTuple, got: str, allowed: list[str]) -> Diagnostic:
    return Diagnostic(
        "VT203",
        f"'{got}' is not one of {', '.join(repr(word) for word in allowed)}",
        document.span(path),
        hints=nearest(got, allowed),
    )


def nearest(name: str, known: list[str]) -> tuple[str, ...]:
    """Return a hint with the known name that looks most like this one, or nothing."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return (f"did you mean '{close[0]}'?",) if close else ()


def _example(name: str) -> tuple[str, ...]:
    examples: Mapping[str, str] = {"version": "version: 1", "memory": "memory: 256MiB"}
    return (f"for example `{examples[name]}`",) if name in examples else ()


def _name_rule(name: str) -> str:
    return f"'{name}' is not a name: lower-case letters, digits and '-', beginning with a letter, at most 31 characters"


def _wrong_value(kind: str, item: dict[str, Any]) -> str:
    got = item["input"]
    shown = "nothing" if got is None else repr(got)
    if kind == "value_error":
        return str(item["ctx"]["error"])
    if kind == "string_pattern_mismatch":
        return f"{shown} does not have the form {item['ctx']['pattern']}"
    message = item["msg"][0].lower() + item["msg"][1:]
    return f"{message.replace('input should be', 'this should be')}, not {shown}"


def _keys_at(model: Any, path: DataPathTuple, value: Any) -> set[str]:
    """Return the keys allowed at a place, following the model's types along the data."""
    candidates = _models_in(model)
    for part in path:
        value = value[part]
        following: list[Any] = []
        for candidate in candidates:
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                field = candidate.model_fields.get(str(part))
                following += _models_in(field.annotation) if field else []
            else:
                following += _models_in(get_args(candidate)[-1])
        candidates = following
    models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
    fitting = [m for m in models if _tag_fits(m, value)] or models
    return {key for candidate in fitting for key in candidate.model_fields}


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    origin = get_origin(annotation)
    if origin is Annotated:
        return _models_in(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [found for argument in get_args(annotation) for found in _models_in(argument)]
    if origin in (dict, tuple):
        return [annotation] if origin is dict else _models_in(get_args(annotation)[0])
    return []


def _tag_fits(model: type[BaseModel], value: Any) -> bool:
    """Tell whether literal fields (a union's tag) of a model agree with the data."""
    for key, field in model.model_fields.items():
        literals = [a for a in get_args(field.annotation) if isinstance(a, str | int | Enum)]
        if isinstance(value, dict) and key in value and literals and value[key] not in literals:
            return False
    return True
