"""Shape: what a document's values may be, said in vtool's words at the place, one finding a fault.

Enter at ``shape_of``. What else is found depends on nothing that is found here (``vtool.model.partial``).
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo

from vtool.diagnostics import Diagnostic, Label, Span, in_order, nearest
from vtool.model.follow import choices, description_at, fits, models_at, path_in, type_of, types_at
from vtool.model.salvage import salvage
from vtool.model.types import MayHoldSecrets, Model
from vtool.records import record
from vtool.source import DataPathTuple, Document

ModelType = TypeVar("ModelType", bound=BaseModel)


def shape_of(model: type[ModelType], document: Document) -> tuple[ModelType | None, list[Diagnostic]]:
    """Return a document as a model with everything VT2xx that is wrong with its shape, in the order of the file.

    What is wrong, and what the document's own faults leave open, is not known there (``vtool.model.partial``); of what
    is no mapping nothing is.
    """
    if not isinstance(document.value, dict):
        return None, [Diagnostic("VT200", "the file must be a mapping of keys to values", document.span(()))]
    findings: list[Diagnostic] = []
    for _ in range(_MOST_MISSPELT):
        try:
            # As JSON, because pydantic's strict mode takes words for enums and lists for tuples only there.
            checked = model.model_validate_json(json.dumps(document.value))
            faults: list[_Fault] = []
        except ValidationError as error:
            faults = _faults(model, document, error)
        misspelt = [fault for fault in faults if fault.kind == "extra_forbidden" and fault.meant is not None]
        if not misspelt:
            break
        findings += [_unknown_key(model, document, fault) for fault in misspelt]
        for fault in misspelt:
            document = _renamed(document, fault.path, str(fault.meant))
    if document.value.get("version") is True:  # which equals 1 to Python, and so to pydantic
        faults.append(_Fault(("version",), "literal_error", True, {"expected": "1"}))
    faults += _nothing_behind(document, faults)
    if not faults and not document.unsound and not document.open and not document.lacking:
        return checked, in_order(findings)
    findings += _said_once(model, document, faults)
    names = [fault.path for fault in faults if fault.of_key]
    document = replace(document, open=document.open | _open_places(document, faults))
    wrong = {place for fault in faults for place in fault.places} | document.unsound
    return salvage(model, document, wrong, names), in_order(findings)


def _nothing_behind(document: Document, faults: list[_Fault]) -> Iterator[_Fault]:
    """Yield the keys that may be left out and are written with nothing behind them (``~``, ``null``).

    Of keys that are needed pydantic says it; a null that took a key of an earlier file away is gone by now.
    """
    said = {fault.path for fault in faults} | document.unsound
    for path in _nulls(document.value, ()):
        if not any(path[:length] in said for length in range(len(path) + 1)):
            yield _Fault(path, _NOTHING, None, {})


def _nulls(value: Any, path: DataPathTuple) -> Iterator[DataPathTuple]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if inner is None:
            yield (*path, key)
        elif isinstance(inner, dict | list):
            yield from _nulls(inner, (*path, key))


def _open_places(document: Document, faults: list[_Fault]) -> frozenset[DataPathTuple]:
    """Return the mappings of which more could be meant: without a known key, or with one that could stand for any."""
    unknown: dict[DataPathTuple, list[_Fault]] = {}
    for fault in faults:
        if fault.kind == "extra_forbidden":
            unknown.setdefault(fault.path[:-1], []).append(fault)
    missing = {fault.path for fault in faults if fault.missing is not None}
    found = {path for path in missing if path in unknown or not _at(document.value, path)}
    for path, keys in unknown.items():
        if len(keys) == len(_at(document.value, path)) or any(not fault.perhaps for fault in keys):
            found.add(path)
    return frozenset(found)


def _at(value: Any, path: DataPathTuple) -> Any:
    for part in path:
        value = value[part]
    return value


_NOTHING = "nothing"
_MOST_MISSPELT = 20
"""So many levels of misspelt keys, one inside the other, are looked into."""
_ALIKE = 0.8
"""Keys that are so much alike are the same key misspelt; what is less alike is a hint only."""


@record
class _Fault:
    """One finding of pydantic's: where, its kind, the value there, and what it says of it.

    ``of_key`` tells that the key at ``path`` is meant. ``missing`` is a key that is not there. Of an unknown key
    ``meant`` is the known one that it is misspelt of, ``perhaps`` are those that it could stand for otherwise: none
    where it could be any.
    """

    path: DataPathTuple
    kind: str
    got: Any
    context: Mapping[str, Any]
    of_key: bool = False
    missing: str | None = None
    meant: str | None = None
    perhaps: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[DataPathTuple, ...]:
        """Return the places of which nothing is known."""
        if self.missing is not None:
            return ((*self.path, self.missing),)
        return (self.path, *((*self.path[:-1], key) for key in self.perhaps))


def _faults(model: type[BaseModel], document: Document, error: ValidationError) -> list[_Fault]:
    """Return what pydantic found, one fault a place, without what follows from another fault."""
    found: dict[tuple[DataPathTuple, str | None], _Fault] = {}
    for fault in _items(model, document, error):
        under = [fault.path[:length] for length in range(len(fault.path) + 1)]
        if any(place in document.unsound for place in under):
            continue
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


def _items(model: type[BaseModel], document: Document, error: ValidationError) -> Iterator[_Fault]:
    for item in error.errors(include_url=False):
        location, kind = item["loc"], item["type"]
        context = item.get("ctx", {})
        path = path_in(model, document.value, location)
        of_key = bool(path) and location[-1] == "[key]"
        if kind == "missing":
            yield _Fault(path, kind, None, context, missing=str(location[-1]))
        elif kind in ("union_tag_not_found", "union_tag_invalid"):
            tag = context["discriminator"].strip("'")
            if kind == "union_tag_not_found":
                yield _Fault(path, "missing", None, context, missing=tag)
            else:
                yield _Fault((*path, tag), "literal_error", item["input"][tag], {"expected": context["expected_tags"]})
            yield from _of_any_kind(model, document, path, tag)
        elif kind == "extra_forbidden":
            yield _placed(model, document, _Fault(path, kind, item["input"], context))
        else:
            yield _Fault(path, kind, item["input"], context, of_key)


def _of_any_kind(model: type[BaseModel], document: Document, path: DataPathTuple, tag: str) -> Iterator[_Fault]:
    """Yield what is wrong in a mapping whose tag tells no kind: what any kind has may stand there."""
    value = _at(document.value, path)
    kinds = models_at(model, path, document.value)
    fields: dict[str, list[FieldInfo]] = {}
    for kind in kinds:
        for key, field in kind.model_fields.items():
            fields.setdefault(key, []).append(field)
    for key, alike in fields.items():
        if key not in (tag, *value) and len(alike) == len(kinds) and all(field.is_required() for field in alike):
            yield _Fault(path, "missing", None, {}, missing=key)
    for key in value:
        if key not in fields:
            yield _placed(model, document, _Fault((*path, key), "extra_forbidden", value[key], {}))
        elif key != tag and len({str(field) for field in fields[key]}) == 1:
            field_type = type_of(fields[key][0])
            one = create_model("AnyKind", __base__=Model, **{key: (field_type, ...)})  # type: ignore[call-overload]
            try:
                one.model_validate_json(json.dumps({key: value[key]}))
            except ValidationError as error:
                inside = replace(document, value={key: value[key]})
                for fault in _items(one, inside, error):
                    yield replace(fault, path=(*path, *fault.path))


def _placed(model: type[BaseModel], document: Document, fault: _Fault) -> _Fault:
    """Return the fault of an unknown key with what it could stand for: keys of its place that are not there."""
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


def _renamed(document: Document, path: DataPathTuple, key: str) -> Document:
    """Return a document in which a key is another one, at the same place."""

    def moved(way: DataPathTuple) -> DataPathTuple:
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


def _said_once(model: type[BaseModel], document: Document, faults: list[_Fault]) -> list[Diagnostic]:
    """Return faults as findings: what is missing in a mapping as one, which is that of an unknown key in it if any."""
    unknown = {fault.path[:-1] for fault in faults if fault.kind == "extra_forbidden"}
    missing: dict[DataPathTuple, list[str]] = {}
    for fault in faults:
        if fault.missing is not None:
            missing.setdefault(fault.path, []).append(fault.missing)
    findings = []
    of_variables: dict[tuple[str, tuple[Label, ...]], int] = {}
    for fault in faults:
        if fault.kind == "extra_forbidden":
            findings.append(_unknown_key(model, document, fault, missing.get(fault.path[:-1], ())))
        elif fault.missing is None:
            found = _diagnostic(model, document, fault)
            notes = document.notes.get(fault.path, ())
            first = of_variables.setdefault((found.message, notes), len(findings)) if notes else len(findings)
            if first == len(findings):
                findings.append(replace(found, labels=(*found.labels, *notes)))
            elif found.span is not None:
                labels = (*findings[first].labels, Label(found.span, "it stands here, too"))
                findings[first] = replace(findings[first], labels=labels)
    for path, keys in missing.items():
        if path not in unknown:
            findings.append(_missing(document, path, keys))
    return findings


def _missing(document: Document, path: DataPathTuple, keys: Sequence[str]) -> Diagnostic:
    names = [repr(key) for key in keys]
    which = f"key {names[0]} is" if len(names) == 1 else f"keys {', '.join(names[:-1])} and {names[-1]} are"
    hints = [f"for example `{_EXAMPLES[key]}`" for key in keys if key in _EXAMPLES]
    return Diagnostic("VT202", f"the {which} missing", document.span(path, key=True), hints=tuple(hints))


_EXAMPLES: Mapping[str, str] = {"version": "version: 1"}


def _diagnostic(model: type[BaseModel], document: Document, fault: _Fault) -> Diagnostic:
    if _may_hold_secrets(model, document, fault.path):
        hidden = replace(fault, got=_HIDDEN) if isinstance(fault.got, str | int) else fault
        found = _diagnostic_of(model, document, hidden)
        return replace(found, span=_showing(found.span, "..."), hints=())
    return _diagnostic_of(model, document, fault)


class _Hidden(dict[str, Any]):
    """Stands for a value that may hold a secret."""


_HIDDEN = _Hidden()


def _may_hold_secrets(model: type[BaseModel], document: Document, path: DataPathTuple) -> bool:
    above = (path[:length] for length in range(1, len(path) + 1))
    return any(
        isinstance(note, MayHoldSecrets)
        for place in above
        for annotation in types_at(model, place, document.value)
        for field in get_args(annotation)[1:]
        for note in getattr(field, "metadata", ())
    )


def _showing(span: Span | None, text: str) -> Span | None:
    """Return a place that is shown with a text instead of its line."""
    end = span.column + len(text) if span else 0
    return span and replace(span, end_line=span.line, end_column=end, text=" " * (span.column - 1) + text)


def _diagnostic_of(model: type[BaseModel], document: Document, fault: _Fault) -> Diagnostic:
    path, kind = fault.path, fault.kind
    if kind == _NOTHING:
        plain = [choice for one in types_at(model, path, document.value) for choice in choices(one)]
        words = [
            member.value
            for choice in plain
            if isinstance(choice, type) and issubclass(choice, Enum)
            for member in choice
        ]
        hint = "write a value, or leave the key out"
        if "null" in words:
            hint = f'write `{path[-1]}: "null"` with the quotes: without them it is YAML\'s word for nothing'
        return Diagnostic("VT203", f"nothing is written behind '{path[-1]}'", document.span(path), hints=(hint,))
    if kind in ("enum", "literal_error"):
        allowed = [word.strip("' ") for word in fault.context["expected"].replace(" or ", ", ").split(",")]
        return _bad_choice(document, path, fault.got, allowed)
    if fault.of_key:
        message = f"{_shown(path[-1])} is not {description_at(model, path, document.value, key=True)}"
        return Diagnostic("VT204", message, document.span(path, key=True))
    described = description_at(model, path, document.value)
    lists = [
        choice
        for one in types_at(model, path, document.value)
        for choice in choices(one)
        if get_origin(choice) is tuple
    ]
    read = (str, int, list) if lists else (str, int)  # of anything else the type's own reader has no words
    odd = kind == "value_error" and type(fault.got) not in read
    if (kind in _OF_FORM or odd) and described:
        return Diagnostic("VT203", f"{_shown(fault.got)} is not {described}", document.span(path))
    return Diagnostic("VT203", _wrong_value(fault), document.span(path))


def _unknown_key(model: type[BaseModel], document: Document, fault: _Fault, missing: Sequence[str] = ()) -> Diagnostic:
    path, name = fault.path, str(fault.path[-1])
    allowed = sorted({key for choice in models_at(model, path[:-1], document.value) for key in choice.model_fields})
    close = (f"did you mean '{fault.meant}'?",) if fault.meant else nearest(name, allowed)
    absent = (f"missing here: {', '.join(missing)}",) if missing and not fault.meant else ()
    span: Span | None = document.span(path, key=True)
    if getattr(model, "unknown_keys_hold_secrets", False):
        span = _showing(span, f"{name}: ...")
    return Diagnostic(
        "VT201",
        f"the key {_shown(name)} is not known here",
        span,
        hints=(*close, *absent, f"known here: {', '.join(allowed)}"),
    )


def _bad_choice(document: Document, path: DataPathTuple, got: Any, allowed: list[str]) -> Diagnostic:
    choice = f"one of {', '.join(repr(word) for word in allowed)}" if len(allowed) > 1 else allowed[0]
    hints = nearest(got, allowed) if isinstance(got, str) else ()
    return Diagnostic("VT203", f"{_shown(got)} is not {choice}", document.span(path), hints=hints)


_OF_FORM = ("string_pattern_mismatch", "string_too_short", "string_too_long", "string_type")
_KINDS: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def _wrong_value(fault: _Fault) -> str:  # noqa: PLR0911 - one return a kind of fault reads best
    got, context = fault.got, fault.context
    match fault.kind:
        case "value_error":
            return _shortened(str(context["error"]), 200)
        case "greater_than_equal":
            return f"{_shown(got)} is too small; the least is {context['ge']}"
        case "less_than_equal":
            return f"{_shown(got)} is too large; the most is {context['le']}"
        case "less_than":
            return f"{_shown(got)} is too large; the most is {context['lt'] - 1}"
        case "too_short":
            return f"at least {_entries(context['min_length'])} needed here"
        case "too_long":
            return f"{len(got)} entries are too many; the most is {context['max_length']}"
        case kind:
            return f"{_shown(got)} is not {_KINDS.get(kind, 'what can stand here')}"


def _entries(number: int) -> str:
    return "1 entry is" if number == 1 else f"{number} entries are"


def _shown(value: Any) -> str:
    """Write a value as it could stand in the file, on one line and not too long."""
    if value is _HIDDEN:
        return "this"
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
