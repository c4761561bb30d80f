"""Faults of shape in words: what is wrong, with the value as it could stand in the file, and what is known there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from vtool.base.records import record
from vtool.diagnostics import Diagnostic, Label, Span, nearest
from vtool.diagnostics.codes import declare
from vtool.model.follow import choices, description_at, models_at, types_at
from vtool.model.types import MayHoldSecrets
from vtool.reading.source import Document, KeyPath

NOTHING = "nothing"


@record
class Fault:
    """One finding of pydantic's: where, its kind, the value there, and what it says of it.

    ``of_key`` tells that the key at ``path`` is meant. ``missing`` is a key that is not there. Of an unknown key
    ``meant`` is the known one that it is misspelt of, ``perhaps`` are those that it could stand for otherwise: none
    where it could be any.
    """

    path: KeyPath
    kind: str
    got: Any
    context: Mapping[str, Any]
    of_key: bool = False
    missing: str | None = None
    meant: str | None = None
    perhaps: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[KeyPath, ...]:
        """Return the places of which nothing is known."""
        if self.missing is not None:
            return ((*self.path, self.missing),)
        return (self.path, *((*self.path[:-1], key) for key in self.perhaps))


def said_once(model: type[BaseModel], document: Document, faults: list[Fault]) -> list[Diagnostic]:
    """Return faults as findings: what is missing in a mapping as one, which is that of an unknown key in it if any."""
    unknown = {fault.path[:-1] for fault in faults if fault.kind == "extra_forbidden"}
    missing: dict[KeyPath, list[str]] = {}
    for fault in faults:
        if fault.missing is not None:
            missing.setdefault(fault.path, []).append(fault.missing)
    findings = []
    of_variables: dict[tuple[str, tuple[Label, ...]], int] = {}
    for fault in faults:
        if fault.kind == "extra_forbidden":
            findings.append(unknown_key(model, document, fault, missing.get(fault.path[:-1], ())))
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


declare(
    "VT202",
    what="a key is missing",
    why="vtool does not guess what only you can know.",
    example="a region without size",
    fix="Add the key.",
)


def _missing(document: Document, path: KeyPath, keys: Sequence[str]) -> Diagnostic:
    names = [repr(key) for key in keys]
    which = f"key {names[0]} is" if len(names) == 1 else f"keys {', '.join(names[:-1])} and {names[-1]} are"
    hints = [f"for example `{_EXAMPLES[key]}`" for key in keys if key in _EXAMPLES]
    of_list = bool(path) and isinstance(path[-1], int)
    return Diagnostic("VT202", f"the {which} missing", document.span(path, key=not of_list), hints=tuple(hints))


_EXAMPLES: Mapping[str, str] = {"version": "version: 1"}


def _diagnostic(model: type[BaseModel], document: Document, fault: Fault) -> Diagnostic:
    if _may_hold_secrets(model, document, fault.path):
        hidden = replace(fault, got=_HIDDEN) if isinstance(fault.got, str | int) else fault
        found = _diagnostic_of(model, document, hidden)
        return replace(found, span=_showing(found.span, "..."), hints=())
    return _diagnostic_of(model, document, fault)


class _Hidden(dict[str, Any]):
    """Stands for a value that may hold a secret."""


_HIDDEN = _Hidden()


def _may_hold_secrets(model: type[BaseModel], document: Document, path: KeyPath) -> bool:
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


declare(
    "VT204",
    what="a name has the wrong form",
    why="Names become unit names, device-tree nodes and xl names.",
    example="Front_End:",
    fix="Use lower-case letters, digits and '-', beginning with a letter, at most 31 characters.",
)


declare(
    "VT203",
    what="a value has the wrong form",
    why="Sizes have IEC units, words come from a list, addresses are numbers.",
    example="size: 16MB",
    fix="Write what the message says.",
)


def _diagnostic_of(model: type[BaseModel], document: Document, fault: Fault) -> Diagnostic:
    path, kind = fault.path, fault.kind
    if kind == NOTHING:
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


declare(
    "VT201",
    what="a key is unknown",
    why="A misspelt key would otherwise be silently ignored.",
    example="cpu: 2",
    fix=(
        "Use the name in the hint. A misspelt key is read as the one that it was meant to be, to find what else is "
        "wrong."
    ),
)


def unknown_key(model: type[BaseModel], document: Document, fault: Fault, missing: Sequence[str] = ()) -> Diagnostic:
    """Return the finding (VT201) of a key that is not known, with those that are ``missing`` there."""
    path, name = fault.path, str(fault.path[-1])
    models = [model, *models_at(model, path[:-1], document.value)]
    allowed = sorted({key for choice in models[1:] for key in choice.model_fields})
    close = (f"did you mean '{fault.meant}'?",) if fault.meant else nearest(name, allowed)
    absent = (f"missing here: {', '.join(missing)}",) if missing and not fault.meant else ()
    span: Span | None = document.span(path, key=True)
    if any(getattr(choice, "unknown_keys_hold_secrets", False) for choice in models):
        span = _showing(span, f"{name}: ...")
    return Diagnostic(
        "VT201",
        f"the key {_shown(name)} is not known here",
        span,
        hints=(*close, *absent, f"known here: {', '.join(allowed)}"),
    )


def _bad_choice(document: Document, path: KeyPath, got: Any, allowed: list[str]) -> Diagnostic:
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


def _wrong_value(fault: Fault) -> str:  # noqa: PLR0911 - one return a kind of fault reads best
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
