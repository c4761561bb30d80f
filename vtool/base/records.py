"""Frozen dataclasses that are cheap to declare.

``@dataclass(frozen=True)`` compiles six methods for every class, which for the plan's classes was a tenth of what
``vtool validate`` takes. A record compiles ``__init__`` alone; the others are written once, here. To ``dataclasses``
(``replace``, ``fields``, ``asdict``) and to mypy a record is a frozen dataclass.
"""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, TypeVar, dataclass_transform

Class = TypeVar("Class")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[Class]) -> type[Class]:
    """Make a class a frozen dataclass: compared, hashed and shown by its fields, each of which is set once.

    All fields count: what has a field with ``compare=False`` or ``repr=False`` stays a dataclass.
    """
    methods = {
        "__eq__": _equals,
        "__hash__": _hash,
        "__repr__": _shown,
        "__setattr__": _set_once,
        "__delattr__": _never_delete,
    }
    for name, method in methods.items():
        setattr(cls, name, method)
    return dataclass(eq=False, repr=False)(cls)


def _values(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in self.__dataclass_fields__)


def _equals(self: Any, other: Any) -> Any:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _shown(self: Any) -> str:
    pairs = zip(self.__dataclass_fields__, _values(self), strict=True)
    return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in pairs)})"


def _set_once(self: Any, name: str, value: Any) -> None:
    if name in self.__dict__ or name not in self.__dataclass_fields__:
        raise FrozenInstanceError(f"cannot assign to field '{name}'")
    self.__dict__[name] = value


def _never_delete(_self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field '{name}'")
