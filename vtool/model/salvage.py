"""A value of a model from a document in which some places are wrong: what is sound is there, the rest is not known."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from inspect import getattr_static, isfunction
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter

from vtool.model.follow import choices, fitting_choices, is_model, type_of
from vtool.model.partial import Partial, Unsound, derived, known
from vtool.reading.source import Document, KeyPath

ModelType = TypeVar("ModelType", bound=BaseModel)


def salvage(
    model: type[ModelType], document: Document, wrong: Iterable[KeyPath], names: Iterable[KeyPath]
) -> ModelType:
    """Return a document as a model of which the ``wrong`` places are not known (``vtool.model.partial``).

    Everywhere else the document fits the model. ``names`` are the entries of tables whose names are wrong.
    """
    made: ModelType = _Salvage(document, frozenset(wrong), frozenset(names)).of_type(model, document.value, ())
    return made


class _Salvage:
    def __init__(self, document: Document, wrong: frozenset[KeyPath], names: frozenset[KeyPath]) -> None:
        self._document, self._wrong, self._names = document, wrong | names, names
        self._open = document.open
        places = self._wrong | self._open
        self._above = {path[:length] for path in places for length in range(len(path) + 1)}

    def of_type(self, annotation: Any, value: Any, path: KeyPath) -> Any:
        """Return a value of a type. Raises Unsound where it is not known, or not whole and neither model nor table."""
        if path in self._wrong:
            raise Unsound
        if path not in self._above and not (self._document.lacking and isinstance(value, dict)):
            return TypeAdapter(annotation).validate_json(json.dumps(value))
        fitting = [choice for choice in fitting_choices(choices(annotation), value) if is_model(choice)]
        if isinstance(value, dict) and fitting:
            made = self._model(_common(fitting), value, path)
            # What each kind answers in its own way is not known of a value whose kind is not known.
            made.__dict__.update(dict.fromkeys(_answered_by_kind(type(made), fitting), _not_known))
            return made
        tables = [choice for choice in choices(annotation) if get_origin(choice) is dict]
        if isinstance(value, dict) and tables:
            return self._table(get_args(tables[0])[1], value, path)
        raise Unsound

    def _model(self, model: type[BaseModel], value: dict[str, Any], path: KeyPath) -> Any:
        fields: dict[str, Any] = {}
        lost = set()
        is_open = self._document.lacking or path in self._open
        for name, field in model.model_fields.items():
            way = (*path, name)
            try:
                if name in value:
                    fields[name] = self.of_type(type_of(field), value[name], way)
                elif is_open or way in self._wrong:
                    raise Unsound
            except Unsound:
                lost.add(name)
        for name in sorted(lost):
            if any(get_origin(choice) is dict for choice in choices(model.model_fields[name].annotation)):
                fields[name] = Partial({}, is_open=True)
                lost.discard(name)
        made = model.model_construct(_fields_set={name for name in fields if name in value}, **fields)
        for name in lost:
            made.__dict__.pop(name, None)
        return made

    def _table(self, annotation: Any, value: dict[str, Any], path: KeyPath) -> Any:
        found: dict[str, Any] = {}
        lost = []
        for name in sorted(value, key=lambda name: (*path, name) in self._above):  # what is whole comes first
            try:
                found[name] = self.of_type(annotation, value[name], (*path, name))
            except Unsound:
                lost.append(name)
        misnamed = [name for name in lost if (*path, name) in self._names]
        return Partial(found, lost, is_open=self._document.lacking or path in self._open, misnamed=misnamed)


def _answered_by_kind(base: type[BaseModel], kinds: list[type[BaseModel]]) -> set[str]:
    """Return the methods of a base that some of its kinds have of their own."""
    methods = {name for name in dir(base) if not name.startswith("__") and isfunction(getattr_static(base, name))}
    return {name for name in methods if any(getattr(kind, name) is not getattr(base, name) for kind in kinds)}


def _not_known(*_: Any, **__: Any) -> Any:
    raise Unsound


def forget(value: Any, places: Iterable[KeyPath]) -> Any:
    """Return a model of which some more places are not known."""
    below: dict[str | int, set[KeyPath]] = {}
    for head, *rest in places:
        below.setdefault(head, set()).add(tuple(rest))
    if isinstance(value, BaseModel):
        made = value.model_copy()
        for name, rests in below.items():
            inner = made.__dict__.pop(str(name), None)
            with suppress(Unsound):
                if inner is not None and () not in rests:
                    made.__dict__[str(name)] = forget(inner, rests)
        return made
    if not isinstance(value, dict):
        raise Unsound
    entries = {name: entry for name, entry in known(value).items() if name not in below}
    lost = []
    for name, rests in below.items():  # what is whole comes first
        try:
            if () in rests:
                raise Unsound
            entries[str(name)] = forget(dict.__getitem__(value, str(name)), rests)
        except Unsound:
            lost.append(str(name))
    return derived(value, entries, lost)


def _common(models: list[type[BaseModel]]) -> type[BaseModel]:
    """Return what models have in common. Raises Unsound where that is nothing."""
    for base in models[0].__mro__:
        if issubclass(base, BaseModel) and base.model_fields and all(issubclass(model, base) for model in models):
            return base
    raise Unsound
