"""The types of what stands at a place: a model followed along the data, as far as the data tells which is meant."""

from __future__ import annotations

import json
import types
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from vtool.model.types import FoundByTag
from vtool.reading.source import KeyPath


def models_at(model: Any, path: KeyPath, value: Any) -> list[type[BaseModel]]:
    """Return the models that a mapping at a place may be of."""
    found = types_at(model, path, value)
    for part in path:
        value = value[part]
    fitting = fitting_choices([choice for annotation in found for choice in choices(annotation)], value)
    return [choice for choice in fitting if is_model(choice)]


def types_at(model: Any, path: KeyPath, value: Any) -> list[Any]:
    """Return the types a value at a place may have, following the model's types along the data."""
    found = [model]
    for part in path:
        fitting = fitting_choices([choice for annotation in found for choice in choices(annotation)], value)
        found = [inner for choice in fitting for inner in _inside(choice, part)]
        value = value[part]
    return found


def _inside(choice: Any, part: str | int) -> list[Any]:
    """Return the types of what stands under a key, or an index, of a plain type."""
    if is_model(choice):
        field = choice.model_fields.get(str(part))
        return [Annotated[field.annotation, field]] if field else []
    arguments = list(get_args(choice))
    return arguments[1:] if get_origin(choice) is dict else arguments[:1] if get_origin(choice) is tuple else []


def description_at(model: Any, path: KeyPath, value: Any, *, key: bool = False) -> str | None:
    """Return what the model says in words of the value at a place, or of its key."""
    if key:
        mappings = [t for a in types_at(model, path[:-1], value) for t in choices(a) if get_origin(t) is dict]
        return next((text for mapping in mappings if (text := _description(get_args(mapping)[0]))), None)
    return next((text for found in types_at(model, path, value) if (text := _description(found))), None)


def _description(annotation: Any) -> str | None:
    inner, *notes = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    texts = [getattr(note, "description", None) for note in notes]
    if get_origin(inner) in (Union, types.UnionType):
        texts += [_description(argument) for argument in get_args(inner)]
    return next((text for text in texts if text), None)


def path_in(model: type[BaseModel], value: Any, location: tuple[str | int, ...]) -> KeyPath:
    """Follow pydantic's location through the data, without what it adds: a union's tag, "[key]", what is missing."""
    path: list[str | int] = []
    found: list[Any] = [model]
    parts = list(location)
    while parts:
        plain = [choice for annotation in found for choice in choices(annotation)]
        models = sum(is_model(choice) for choice in plain)
        # Of one model beside words, the tag is the model's name.
        if len(parts) > 1 and (models > 1 or (len(plain) > 1 and parts[0] in _names(plain))):
            parts.pop(0)  # the tag
        part = parts.pop(0)
        if isinstance(value, list) and isinstance(part, int) and part < len(value):  # noqa: SIM114
            inner = value[part]
        elif isinstance(value, dict) and part in value:
            inner = value[part]
        else:
            break
        found = [kind for choice in fitting_choices(plain, value) for kind in _inside(choice, part)]
        value = inner
        path.append(part)
    return tuple(path)


def _names(plain: list[Any]) -> set[str]:
    return {choice.__name__ for choice in plain if is_model(choice)}


def fits(field: FieldInfo, value: Any) -> bool:
    """Whether a value may be one of a field; of a mapping, whether the field is any."""
    if isinstance(value, dict):
        return any(is_model(choice) or get_origin(choice) is dict for choice in choices(field.annotation))
    try:
        TypeAdapter(type_of(field)).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    return True


def type_of(field: FieldInfo) -> Any:
    """Return the type of a field with all that is said of it."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def choices(annotation: Any) -> list[Any]:
    """Take annotations and unions off a type until only plain types are left."""
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        found = next((note for note in notes if isinstance(note, FoundByTag)), None)
        return list(found.every()) if found else choices(inner)
    if get_origin(annotation) in (Union, types.UnionType):
        return [choice for argument in get_args(annotation) for choice in choices(argument)]
    return [annotation]


def fitting_choices(found: list[Any], value: Any) -> list[Any]:
    """Leave out models whose tag says they are another; keep all when none fits."""
    others = [choice for choice in found if is_model(choice) and not _tag_fits(choice, value)]
    models = sum(map(is_model, found))
    return [choice for choice in found if choice not in others] if len(others) < models else found


def is_model(choice: Any) -> bool:
    """Whether a plain type is a model."""
    return isinstance(choice, type) and issubclass(choice, BaseModel)


def _tag_fits(model: type[BaseModel], value: Any) -> bool:
    """Whether literal fields (a union's tag) of a model agree with the data."""
    for key, field in model.model_fields.items():
        literals = [a for a in get_args(field.annotation) if isinstance(a, str | int | Enum)]
        if isinstance(value, dict) and key in value and literals and value[key] not in literals:
            return False
    return True
