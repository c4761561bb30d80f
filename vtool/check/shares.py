"""What several ask for of one thing that is too small: who asks for how much, the largest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vtool.base.records import record
from vtool.base.units import format_size
from vtool.reading.source import KeyPath

_SHOWN = 8


@record
class Share:
    """What one asks for: who, how much, and where that is written; ``of_key`` if only its key is."""

    who: str
    amount: int
    path: KeyPath
    of_key: bool = False


def largest_first(shares: Iterable[Share]) -> list[Share]:
    """Return shares of more than nothing, the largest first, else in the order of the file."""
    return sorted((share for share in shares if share.amount), key=lambda share: -share.amount)


def listed(shares: list[Share], show: Callable[[int], str] = format_size) -> str:
    """Write shares as words: the first eight, and what the others are together."""
    words = [f"{share.who} {show(share.amount)}" for share in shares[:_SHOWN]]
    if rest := shares[_SHOWN:]:
        words.append(f"{len(rest)} more {show(sum(share.amount for share in rest))}")
    return ", ".join(words)
