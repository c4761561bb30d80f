"""Frozen dataclasses that are cheap to declare and to make.

``@dataclass(frozen=True)`` compiles six methods for every class, which for the plan's classes was a tenth of what
``vtool validate`` takes. A record compiles ``__init__`` alone, when the first of its class is made: a run makes some of
half of the classes that it reads. The others are written once, here. To ``dataclasses`` (``replace``, ``fields``,
``asdict``) and to mypy a record is a frozen dataclass.
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

Class = TypeVar("Class")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[Class]) -> type[Class]:
    """Make a class a frozen dataclass: compared, hashed and shown by its fields, which are set when it is made.

    All fields count: what has a field with ``compare=False``, ``repr=False`` or ``init=False`` stays a dataclass, and
    so does what has a ``__post_init__``.
    """
    made = dataclass(init=False, eq=False, repr=False)(cls)
    methods = {
        "__init__": _first_init_of(made),
        "__eq__": _equals,
        "__hash__": _hash,
        "__repr__": _shown,
        "__setattr__": _never_set,
        "__delattr__": _never_delete,
    }
    for name, method in methods.items():
        setattr(made, name, method)
    return made


def _first_init_of(cls: Any) -> Any:
    """Return an ``__init__`` that compiles the one which takes its place."""

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        cls.__init__ = _init_of(cls)
        cls.__init__(self, *values, **named)

    return __init__


def _init_of(cls: Any) -> Any:
    """Compile the ``__init__`` of a record, without the annotations that dataclasses' own has."""
    names: dict[str, Any] = {"_set": object.__setattr__, "_MISSING": MISSING}
    parameters, lines = ["self"], []
    for one in fields(cls):
        parameter = value = one.name
        if one.default is not MISSING:
            names[f"_{one.name}"] = one.default
            parameter += f"=_{one.name}"
        elif one.default_factory is not MISSING:
            names[f"_{one.name}"] = one.default_factory
            parameter += "=_MISSING"
            value = f"_{one.name}() if {one.name} is _MISSING else {one.name}"
        parameters.append(parameter)
        lines.append(f"    _set(self, '{one.name}', {value})\n")
    found: dict[str, Any] = {}
    exec(f"def __init__({', '.join(parameters)}):\n{''.join(lines) or '    pass'}", names, found)  # noqa: S102
    found["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
    return found["__init__"]


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in self.__dataclass_fields__)


def _equals(self: Any, other: Any) -> Any:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _shown(self: Any) -> str:
    pairs = zip(self.__dataclass_fields__, _values(self), strict=True)
    return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in pairs)})"


def _never_set(_self: Any, name: str, _value: Any) -> None:
    raise FrozenInstanceError(f"cannot assign to field '{name}'")


def _never_delete(_self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field '{name}'")
