"""From values to types: pydantic's findings as diagnostics with a place, all of them."""

from __future__ import annotations

import functools
import json
import types
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from vtool.diagnostics import Diagnostic, VtoolError, in_order, nearest
from vtool.model.board_facts import BoardFacts
from vtool.model.topology import Topology
from vtool.records import record
from vtool.rooms import room
from vtool.source import DataPathTuple, Document, load

ModelType = TypeVar("ModelType", bound=BaseModel)


@record
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
    return read_facts(_facts_folder() / f"{name}.yaml")


def read_facts(path: Path) -> LoadedFacts:
    """Read a facts file; one that many boards share is read once. Raises VtoolError VT1xx or VT2xx."""
    try:
        about = path.stat()
    except OSError:
        return _read_facts(path)  # which says what is wrong with it
    return _read_facts(path, about.st_ino, about.st_size, about.st_mtime_ns)


@functools.cache
def _read_facts(path: Path, *_as_it_is: int) -> LoadedFacts:
    document = load(path)
    return LoadedFacts(validate_as(BoardFacts, document), document)


def facts_of(document: Document, topology: Topology) -> dict[str, LoadedFacts]:
    """Read the facts of every board: shipped ones by name, others beside the topology.

    Left out is what does not exist (rule VT301 says so). Raises VtoolError VT1xx or VT2xx.
    """
    shipped, found = known_facts(), {}
    for name, board in topology.boards.items():
        if board.facts in shipped:
            found[name] = load_facts(board.facts)
        elif is_path(board.facts) and (path := document.path.parent / board.facts).is_file():
            found[name] = read_facts(path)
    return found


def is_path(reference: str) -> bool:
    """Tell whether a reference to facts is a file beside the topology, not a name."""
    return "/" in reference or reference.endswith(".yaml")


def _facts_folder() -> Path:
    return room("topology") / "boards"


def validate_as(model: type[ModelType], document: Document) -> ModelType:
    """Check a document's shape against a model; all findings in one VtoolError."""
    if not isinstance(document.value, dict):
        raise VtoolError(Diagnostic("VT200", "the file must be a mapping of keys to values", document.span(())))
    try:
        # As JSON, because pydantic's strict mode takes words for enums and lists for tuples only there.
        checked = model.model_validate_json(json.dumps(document.value))
    except ValidationError as error:
        findings = []
        for item in error.errors(include_url=False):
            found = _diagnostic(model, document, dict(item))
            notes = document.notes.get(_path_in(document.value, item["loc"]), ())
            findings.append(replace(found, labels=(*found.labels, *notes)))
        raise VtoolError(in_order(findings)) from None
    if document.value.get("version") is True:  # which equals 1 to Python, and so to pydantic
        raise VtoolError(_bad_choice(document, ("version",), True, ["1"]))
    return checked


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
        return _bad_choice(document, (*path, tag), item["input"][tag], allowed)
    if kind in ("enum", "literal_error"):
        allowed = [word.strip("' ") for word in item["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return _bad_choice(document, path, item["input"], allowed)
    if path and item["loc"][-1] == "[key]":
        message = f"{_shown(path[-1])} is not {_description_at(model, path, document.value, key=True)}"
        return Diagnostic("VT204", message, document.span(path, key=True))
    described = _description_at(model, path, document.value)
    if kind in _OF_FORM and described:
        return Diagnostic("VT203", f"{_shown(item['input'])} is not {described}", document.span(path))
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


def _bad_choice(document: Document, path: DataPathTuple, got: Any, allowed: list[str]) -> Diagnostic:
    choice = f"one of {', '.join(repr(word) for word in allowed)}" if len(allowed) > 1 else allowed[0]
    hints = nearest(got, allowed) if isinstance(got, str) else ()
    return Diagnostic("VT203", f"{_shown(got)} is not {choice}", document.span(path), hints=hints)


def _example(name: str) -> tuple[str, ...]:
    examples: Mapping[str, str] = {"version": "version: 1", "memory": "memory: 256MiB"}
    return (f"for example `{examples[name]}`",) if name in examples else ()


_OF_FORM = ("string_pattern_mismatch", "string_too_short", "string_too_long", "string_type")
_KINDS: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def _wrong_value(kind: str, item: dict[str, Any]) -> str:
    got, context = item["input"], item.get("ctx", {})
    if kind == "value_error":
        return _shortened(str(context["error"]), 200)
    if kind in _KINDS:
        return f"{_shown(got)} is not {_KINDS[kind]}"
    if kind == "greater_than_equal":
        return f"{_shown(got)} is too small; the least is {context['ge']}"
    if kind == "less_than_equal":
        return f"{_shown(got)} is too large; the most is {context['le']}"
    if kind == "too_short":
        return f"at least {context['min_length']} entry is needed here"
    message = item["msg"][0].lower() + item["msg"][1:]
    return f"{message.replace('input should be', 'this should be')}, not {_shown(got)}"


def _shown(value: Any) -> str:
    """Write a value as it could stand in the file, on one line and not too long."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _shortened(repr(value), 70)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length // 2]}...{text[-10:]} ({len(text)} characters)"


def _description_at(model: Any, path: DataPathTuple, value: Any, *, key: bool = False) -> str | None:
    """Return what the model says in words of the value at a place, or of its key."""
    if key:
        mappings = [t for a in _types_at(model, path[:-1], value) for t in _choices(a) if get_origin(t) is dict]
        return next((text for mapping in mappings if (text := _description(get_args(mapping)[0]))), None)
    return next((text for found in _types_at(model, path, value) if (text := _description(found))), None)


def _description(annotation: Any) -> str | None:
    inner, *notes = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    texts = [getattr(note, "description", None) for note in notes]
    if get_origin(inner) in (Union, types.UnionType):
        texts += [_description(argument) for argument in get_args(inner)]
    return next((text for text in texts if text), None)


def _keys_at(model: Any, path: DataPathTuple, value: Any) -> set[str]:
    """Return the keys allowed at a place."""
    found = _types_at(model, path, value)
    for part in path:
        value = value[part]
    models = _fitting([choice for annotation in found for choice in _choices(annotation)], value)
    return {key for choice in models if _is_model(choice) for key in choice.model_fields}


def _types_at(model: Any, path: DataPathTuple, value: Any) -> list[Any]:
    """Return the types a value at a place may have, following the model's types along the data."""
    found = [model]
    for part in path:
        choices = _fitting([choice for annotation in found for choice in _choices(annotation)], value)
        found = [inner for choice in choices for inner in _inside(choice, part)]
        value = value[part]
    return found


def _inside(choice: Any, part: str | int) -> list[Any]:
    """Return the types of what stands under a key, or an index, of a plain type."""
    if _is_model(choice):
        field = choice.model_fields.get(str(part))
        return [Annotated[field.annotation, field]] if field else []
    arguments = list(get_args(choice))
    return arguments[1:] if get_origin(choice) is dict else arguments[:1] if get_origin(choice) is tuple else []


def _choices(annotation: Any) -> list[Any]:
    """Take annotations and unions off a type until only plain types are left."""
    if get_origin(annotation) is Annotated:
        return _choices(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [choice for argument in get_args(annotation) for choice in _choices(argument)]
    return [annotation]


def _fitting(choices: list[Any], value: Any) -> list[Any]:
    """Leave out models whose tag says they are another; keep all when none fits."""
    return [choice for choice in choices if not _is_model(choice) or _tag_fits(choice, value)] or choices


def _is_model(choice: Any) -> bool:
    return isinstance(choice, type) and issubclass(choice, BaseModel)


def _tag_fits(model: type[BaseModel], value: Any) -> bool:
    """Tell whether literal fields (a union's tag) of a model agree with the data."""
    for key, field in model.model_fields.items():
        literals = [a for a in get_args(field.annotation) if isinstance(a, str | int | Enum)]
        if isinstance(value, dict) and key in value and literals and value[key] not in literals:
            return False
    return True
