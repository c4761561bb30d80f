"""Shape: what a document's values may be, said in vtool's words at the place, one finding a fault.

Enter at ``shape_of``. What else is found depends on nothing that is found here (``vtool.model.partial``).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo

from vtool.diagnostics import Diagnostic, in_order
from vtool.diagnostics.codes import declare
from vtool.model.follow import fits, models_at, path_in, type_of
from vtool.model.salvage import salvage
from vtool.model.shape_words import NOTHING, Fault, said_once, unknown_key
from vtool.model.types import Model
from vtool.reading.source import Document, KeyPath

ModelType = TypeVar("ModelType", bound=BaseModel)


declare(
    "VT200",
    what="the file is not a mapping",
    why="A topology is keys with values.",
    example="[a, b]",
    fix="Start from topology/examples.",
)


def shape_of(model: type[ModelType], document: Document) -> tuple[ModelType | None, list[Diagnostic]]:
    """Return a document as a model with everything VT2xx that is wrong with its shape, in the order of the file.

    What is wrong, and what the document's own faults leave open, is not known there (``vtool.model.partial``); of what
    is no mapping nothing is.
    """
    if not isinstance(document.value, dict):
        return None, [Diagnostic("VT200", "the file must be a mapping of keys to values", document.span(()))]
    findings = list(dict.fromkeys(_of_rivals(model, document)))  # of a key both would say the same
    for _ in range(_MOST_MISSPELT):
        try:
            # As JSON, because pydantic's strict mode takes words for enums and lists for tuples only there.
            checked = model.model_validate_json(json.dumps(document.value))
            faults: list[Fault] = []
        except ValidationError as error:
            faults = _faults(model, document, error)
        misspelt = [fault for fault in faults if fault.kind == "extra_forbidden" and fault.meant is not None]
        if not misspelt:
            break
        findings += [unknown_key(model, document, fault) for fault in misspelt]
        for fault in misspelt:
            document = _renamed(document, fault.path, str(fault.meant))
    if document.value.get("version") is True:  # which equals 1 to Python, and so to pydantic
        faults.append(Fault(("version",), "literal_error", True, {"expected": "1"}))
    faults += _nothing_behind(document, faults)
    if not faults and not document.unsound and not document.open and not document.lacking:
        return checked, in_order(findings)
    findings += said_once(model, document, faults)
    names = [fault.path for fault in faults if fault.of_key]
    document = replace(document, open=document.open | _open_places(document, faults))
    wrong = {place for fault in faults for place in fault.places} | document.unsound
    return salvage(model, document, wrong, names), in_order(findings)


def _of_rivals(model: type[ModelType], document: Document) -> Iterator[Diagnostic]:
    """Yield what is wrong in each value of a repeated key, of which the document has one and takes none."""
    rivals = [(way, rival) for way, rivals in document.rivals.items() for rival in rivals]
    for way, (value, values, keys) in rivals[:_MOST_RIVALS]:
        if "${" in json.dumps(value):
            continue  # what it becomes is not known here
        whole = copy.deepcopy(document.value)
        try:
            _at(whole, way[:-1])[way[-1]] = value
            known = {path: span for path, span in document.values.items() if path[: len(way)] != way}
            other = replace(
                document, value=whole, values={**known, **values}, keys={**document.keys, **keys},
                unsound=frozenset(path for path in document.unsound if path[: len(way)] != way),
            )  # fmt: skip
            model.model_validate_json(json.dumps(whole))
        except ValidationError as error:
            faults = _faults(model, other, error)
            yield from said_once(model, other, [fault for fault in faults if fault.path[: len(way)] == way])
        except (KeyError, IndexError, TypeError):
            continue  # a later file has something else there


def _nothing_behind(document: Document, faults: list[Fault]) -> Iterator[Fault]:
    """Yield the keys that may be left out and are written with nothing behind them (``~``, ``null``).

    Of keys that are needed pydantic says it; a null that took a key of an earlier file away is gone by now.
    """
    said = {fault.path for fault in faults} | document.unsound
    for path in _nulls(document.value, ()):
        if not any(path[:length] in said for length in range(len(path) + 1)):
            yield Fault(path, NOTHING, None, {})


def _nulls(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if inner is None:
            yield (*path, key)
        elif isinstance(inner, dict | list):
            yield from _nulls(inner, (*path, key))


def _open_places(document: Document, faults: list[Fault]) -> frozenset[KeyPath]:
    """Return the mappings of which more could be meant: without a known key, or with one that could stand for any."""
    unknown: dict[KeyPath, list[Fault]] = {}
    for fault in faults:
        if fault.kind == "extra_forbidden":
            unknown.setdefault(fault.path[:-1], []).append(fault)
    missing = {fault.path for fault in faults if fault.missing is not None}
    found = {path for path in missing if path in unknown or not _at(document.value, path)}
    for path, keys in unknown.items():
        if len(keys) == len(_at(document.value, path)) or any(not fault.perhaps for fault in keys):
            found.add(path)
    return frozenset(found)


def _at(value: Any, path: KeyPath) -> Any:
    for part in path:
        value = value[part]
    return value


_MOST_MISSPELT = 20
"""So many levels of misspelt keys, one inside the other, are looked into."""
_MOST_RIVALS = 40
"""So many values of repeated keys are looked into."""
_ALIKE = 0.8
"""Keys that are so much alike are the same key misspelt; what is less alike is a hint only."""


def _faults(model: type[BaseModel], document: Document, error: ValidationError) -> list[Fault]:
    """Return what pydantic found, one fault a place, without what follows from another fault."""
    found: dict[tuple[KeyPath, str | None], Fault] = {}
    holding = {place[:length] for place in document.unsound for length in range(len(place))}
    for fault in _items(model, document, error):
        under = [fault.path[:length] for length in range(len(fault.path) + 1)]
        if any(place in document.unsound for place in under):
            continue
        if fault.kind == "value_error" and fault.path in holding:
            continue  # what is read as a whole, such as a list of CPUs, is not known where a part of it is not
        if fault.missing is not None and (
            document.lacking or fault.path in document.open or (*fault.path, fault.missing) in document.unsound
        ):
            continue
        if fault.kind == "too_short" and (document.lacking or fault.path in document.open):
            continue
        found.setdefault((fault.path, fault.missing), fault)
    places = [*(fault.path for fault in found.values()), *document.unsound]
    above = {path[:length] for path in places for length in range(len(path))}
    # pydantic counts what is sound of a list.
    return [
        fault
        for fault in found.values()
        if not (fault.kind == "too_short" and fault.path in above and len(fault.got) >= fault.context["min_length"])
    ]


def _items(model: type[BaseModel], document: Document, error: ValidationError) -> Iterator[Fault]:
    for item in error.errors(include_url=False):
        location, kind = item["loc"], item["type"]
        context = item.get("ctx", {})
        path = path_in(model, document.value, location)
        of_key = bool(path) and location[-1] == "[key]"
        if kind == "missing":
            yield Fault(path, kind, None, context, missing=str(location[-1]))
        elif kind in ("union_tag_not_found", "union_tag_invalid"):
            tag = context["discriminator"].strip("'()")  # a key, or the function of its name that reads it
            if kind == "union_tag_not_found":
                yield Fault(path, "missing", None, context, missing=tag)
            else:
                yield Fault((*path, tag), "literal_error", item["input"][tag], {"expected": context["expected_tags"]})
            yield from _of_any_kind(model, document, path, tag)
        elif kind == "extra_forbidden":
            yield _placed(model, document, Fault(path, kind, item["input"], context))
        else:
            yield Fault(path, kind, item["input"], context, of_key)


def _of_any_kind(model: type[BaseModel], document: Document, path: KeyPath, tag: str) -> Iterator[Fault]:
    """Yield what is wrong in a mapping whose tag tells no kind: what any kind has may stand there."""
    value = _at(document.value, path)
    kinds = models_at(model, path, document.value)
    fields: dict[str, list[FieldInfo]] = {}
    for kind in kinds:
        for key, field in kind.model_fields.items():
            fields.setdefault(key, []).append(field)
    for key, alike in fields.items():
        if key not in (tag, *value) and len(alike) == len(kinds) and all(field.is_required() for field in alike):
            yield Fault(path, "missing", None, {}, missing=key)
    for key in value:
        if key not in fields:
            yield _placed(model, document, Fault((*path, key), "extra_forbidden", value[key], {}))
        elif key != tag and len({str(field) for field in fields[key]}) == 1:
            field_type = type_of(fields[key][0])
            one = create_model("AnyKind", __base__=Model, **{key: (field_type, ...)})  # type: ignore[call-overload]
            try:
                one.model_validate_json(json.dumps({key: value[key]}))
            except ValidationError as error:
                inside = replace(document, value={key: value[key]})
                for fault in _items(one, inside, error):
                    yield replace(fault, path=(*path, *fault.path))


def _placed(model: type[BaseModel], document: Document, fault: Fault) -> Fault:
    """Return the fault of an unknown key with what it could stand for: keys of its place that are not there."""
    import difflib  # noqa: PLC0415 - only faults need it

    above, name = fault.path[:-1], str(fault.path[-1])
    value = _at(document.value, above)
    fields = {
        key: field
        for choice in models_at(model, above, document.value)
        for key, field in choice.model_fields.items()
        if key not in value and fits(field, fault.got)
    }
    alike = difflib.get_close_matches(name, fields, n=1, cutoff=_ALIKE)
    if alike:
        return replace(fault, meant=alike[0])
    says_nothing = fault.got is None or fault.got == ""
    return replace(fault, perhaps=() if says_nothing else tuple(fields))


def _renamed(document: Document, path: KeyPath, key: str) -> Document:
    """Return a document in which a key is another one, at the same place."""

    def moved(way: KeyPath) -> KeyPath:
        return (*path[:-1], key, *way[len(path) :]) if way[: len(path)] == path else way

    value = copy.deepcopy(document.value)
    around = value
    for part in path[:-1]:
        around = around[part]
    entries = {key if name == path[-1] else name: entry for name, entry in around.items()}
    around.clear()
    around.update(entries)
    return replace(
        document,
        value=value,
        values={moved(way): span for way, span in document.values.items()},
        keys={moved(way): span for way, span in document.keys.items()},
        notes={moved(way): labels for way, labels in document.notes.items()},
        unsound=frozenset(map(moved, document.unsound)),
        open=frozenset(map(moved, document.open)),
    )
