"""A record is what a frozen dataclass is."""

from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from vtool.base.records import record


def _made(decorate: Any) -> Any:
    class Place:
        base: int
        names: tuple[str, ...] = ()
        tags: list[str] = field(default_factory=list)

    return decorate(Place)


RECORD = _made(record)
FROZEN = _made(dataclass(frozen=True))


@pytest.mark.parametrize("show", [repr, asdict, lambda place: [f.name for f in fields(place)]])
@pytest.mark.parametrize("arguments", [{"base": 1}, {"base": 2, "names": ("a",), "tags": ["x"]}])
def test_is_shown_as_a_frozen_dataclass(show: Any, arguments: dict[str, Any]) -> None:
    assert show(RECORD(**arguments)) == show(FROZEN(**arguments))


def test_is_compared_and_hashed_by_its_fields() -> None:
    other = record(type("Other", (), {"__annotations__": {"base": int}}))
    assert RECORD(1, ("a",)) == RECORD(1, ("a",)) != RECORD(1, ("b",))
    assert RECORD(1) != other(1)
    assert {other(1), other(1), other(2)} == {other(2), other(1)}
    with pytest.raises(TypeError, match="unhashable"):
        hash(RECORD(1))


def test_is_changed_only_in_a_copy() -> None:
    place = RECORD(1)
    for change in (
        lambda: setattr(place, "base", 2),
        lambda: setattr(place, "other", 2),
        lambda: delattr(place, "base"),
    ):
        with pytest.raises(FrozenInstanceError):
            change()
    assert (place, replace(place, base=2)) == (RECORD(1), RECORD(2))
