"""What is known of a document in which something is wrong, and how nothing false is concluded from the rest.

A part whose shape is wrong has no value: who asks for it is stopped by ``Unsound``. So a rule can be run over what is
left, and all that it found before it was stopped is true, whatever the wrong part should have been.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from contextlib import contextmanager
from typing import Any, TypeVar

Value = TypeVar("Value")
_SAME = 0.6


class Unsound(Exception):
    """Something depends on a part that is not known, since its shape is wrong."""


class Partial(dict[str, Value]):
    """A table of which not all is known: what ``unsound`` entries hold, or whether there are others (``is_open``).

    It is a plain table as far as it is known, which comes first. All that depends on the rest raises Unsound.
    ``misnamed`` are unsound entries whose name itself is wrong: what is much like one could be meant by it.
    """

    def __init__(
        self,
        known: Mapping[str, Value],
        unsound: Iterable[str] = (),
        *,
        is_open: bool = False,
        misnamed: Iterable[str] = (),
    ) -> None:
        super().__init__(dict.items(known) if isinstance(known, Partial) else known)
        self.unsound = tuple(unsound)
        self.is_open = is_open
        self.misnamed = tuple(misnamed)

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name) or name in self.unsound:
            return True
        if self.is_open or any(_alike(str(name), other) for other in self.misnamed):
            raise Unsound
        return False

    def __missing__(self, name: str) -> Value:
        if name in self:
            raise Unsound
        raise KeyError(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an entry, the default where there is none."""
        return self[name] if name in self else default  # noqa: SIM401 - this is get

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        yield from self.unsound
        if self.is_open:
            raise Unsound

    def __len__(self) -> int:
        if self.is_open:
            raise Unsound
        return super().__len__() + len(self.unsound)

    def __bool__(self) -> bool:
        return bool(super().__len__()) or len(self) > 0

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """Return the names, which are all known unless it is open."""
        return KeysView(self)

    def items(self) -> ItemsView[str, Value]:  # type: ignore[override]
        """Return names and entries, those that are known first."""
        return ItemsView(self)

    def values(self) -> ValuesView[Value]:  # type: ignore[override]
        """Return the entries, those that are known first."""
        return ValuesView(self)


def known(table: Mapping[str, Value]) -> dict[str, Value]:
    """Return the entries of a table that are known, at least in part."""
    return dict(dict.items(table)) if isinstance(table, Partial) else dict(table)


def known_names(table: Mapping[str, Any]) -> list[str]:
    """Return the names that are known, those of unsound entries, too."""
    return [*known(table), *lost_names(table)]


def lost_names(table: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the entries that are there and not known."""
    return table.unsound if isinstance(table, Partial) else ()


def is_whole(table: Mapping[str, Any]) -> bool:
    """Whether all of a table is known."""
    return not isinstance(table, Partial) or not (table.unsound or table.is_open)


def surely(condition: Callable[[], bool]) -> bool:
    """Whether something is known to be so."""
    try:
        return condition()
    except Unsound:
        return False


def derived(table: Mapping[str, Any], found: dict[str, Value], lost: Iterable[str] = ()) -> dict[str, Value]:
    """Return what was found for entries of a table; it is not known where they are not, nor for what was ``lost``."""
    if isinstance(table, Partial):
        return Partial(found, (*lost, *table.unsound), is_open=table.is_open, misnamed=table.misnamed)
    return Partial(found, gone) if (gone := tuple(lost)) else found


def _alike(name: str, other: str) -> bool:
    """Whether two names could be one, without what names cannot have."""
    import difflib  # noqa: PLC0415 - only faults need it

    one, two = (re.sub("[^a-z0-9]", "", text.lower()) for text in (name, other))
    return difflib.SequenceMatcher(None, one, two).ratio() >= _SAME


class Groups(dict[str, dict[str, Value]]):
    """Tables by name, each there once it is asked for; once ``is_open``, any of them may have further entries."""

    is_open = False

    def __missing__(self, name: str) -> dict[str, Value]:
        self[name] = Partial({}, is_open=True) if self.is_open else {}
        return self[name]

    def opened(self) -> None:
        """Make all of them open."""
        self.is_open = True
        for name, group in self.items():
            if not isinstance(group, Partial):
                self[name] = Partial(group, is_open=True)


@contextmanager
def opening(*groups: Groups[Any]) -> Iterator[None]:
    """Do something with an entry; where it is not known in which tables that belongs, they become open."""
    try:
        yield
    except Unsound:
        for group in groups:
            group.opened()
