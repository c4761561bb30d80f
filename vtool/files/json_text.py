"""JSON in files and in what tools print: whatever is wrong with it is one kind of error, and has a place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any


def from_json(text: str | bytes) -> Any:
    """Return what a JSON text says. ValueError, also where it is nested deeper than Python calls itself."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


_BETWEEN = re.compile(r"[\s,:]*")


def place_of(text: str, path: Sequence[str | int]) -> tuple[int, int] | None:
    """Return where the value at a path of keys and indices stands: [start, end) in characters; None where it is not.

    Of a path that leads further than there are values, the last one.
    """
    decoder, start = json.JSONDecoder(), _after_space(text, 0)
    found: tuple[int, int] | None = None
    try:
        for step in path:
            for name, value in _members(text, start, decoder):
                if name == step:
                    start = value
                    found = (start, decoder.raw_decode(text, start)[1])
                    break
            else:
                break
    except (ValueError, RecursionError):
        pass
    return found


def _members(text: str, start: int, decoder: json.JSONDecoder) -> Iterator[tuple[str | int, int]]:
    """Yield the keys or indices of an object or array, each with where its value begins."""
    opening = text[start : start + 1]
    at, index = _after_space(text, start + 1), 0
    while opening in ("{", "[") and text[at : at + 1] not in ("}", "]", ""):
        name: str | int = index
        if opening == "{":
            name, end = decoder.raw_decode(text, at)
            at = _after_space(text, end)
        yield name, at
        at, index = _after_space(text, decoder.raw_decode(text, at)[1]), index + 1


def _after_space(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return found.end() if found else at
